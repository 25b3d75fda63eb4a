"""Deliveries on NATS, over nodes that come, die, and stand still."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from engines.deliveries_contract import DurableDeliveriesContract, Opened
from scanstream.deliveries import Deliveries
from scanstream.engines.nats.connection import connected
from scanstream.engines.nats.options import NatsOptions
from scanstream.engines.nats.places import Own
from scanstream.engines.nats.queues import NatsQueues, open_queues
from scanstream.engines.nats.streams import of_scans, require_stream
from support.nats import NatsServer, options

LEASE = 1.0


@asynccontextmanager
async def node(given: NatsOptions) -> AsyncIterator[NatsQueues]:
    """One node of several."""
    async with connected(given) as connection:
        await require_stream(connection, of_scans(connection), 20)
        async with open_queues(connection, Own()) as queues:
            yield queues


@pytest.fixture
def given(nats: NatsServer) -> NatsOptions:
    """Of all nodes of one test."""
    return options(nats, lease=LEASE)


class TestDeliveries(DurableDeliveriesContract):
    @pytest.fixture
    def opened(self, given: NatsOptions) -> Opened:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Deliveries]:
            async with node(given) as queues:
                yield queues.deliveries

        return opened

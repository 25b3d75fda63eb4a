"""Another's scan costs what an unknown one costs over NATS, too: no read, and no barrier."""

from collections.abc import AsyncIterator

import pytest

from scanstream.engines.nats.store import NatsStore
from support.nats import NatsServer, options
from wire.test_anothers import (  # what is asked and counted, in the house of this file
    House,
    inhabited,
    test_nothing_more_is_done_for_anothers_scan,
)

__all__ = ["test_nothing_more_is_done_for_anothers_scan"]
pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, nats: NatsServer) -> AsyncIterator[House]:
    there = {"engine": nats.url, "namespace": options(nats).namespace, "data": str(tmp_path_factory.mktemp("node"))}
    async with inhabited(**there) as house:
        assert isinstance(house.core.store, NatsStore)
        yield house

"""NATS JetStream keeps the contract: on a server alone, and on three that hold each message together."""

import secrets

import pytest

from engines.contract import DurableContract, Engine
from engines.feed_contract import FeedContract
from scanstream.engines.nats.store import open_nats
from support.nats import NatsServer, options


class TestOneServer(DurableContract, FeedContract):
    @pytest.fixture
    def engine(self, nats: NatsServer) -> Engine:
        test = secrets.token_hex(4)
        return lambda place: open_nats(options(nats, namespace=f"{test}-{place}"), lag=0)

"""NATS JetStream keeps the contract: on a server alone, and on three that hold each message together."""

import secrets

import pytest

from engines.contract import RACERS, DurableContract, Engine, race
from engines.feed_contract import FeedContract
from scanstream.engines.nats.store import open_nats
from scanstream.model import ANYONE, ScanId
from support.nats import NatsServer, options
from support.stores import registration

ROUNDS = 20


class TestOneServer(DurableContract, FeedContract):
    @pytest.fixture
    def engine(self, nats: NatsServer) -> Engine:
        test = secrets.token_hex(4)
        return lambda place: open_nats(options(nats, namespace=f"{test}-{place}"), lag=0)


@pytest.mark.cluster
class TestThreeServers(DurableContract, FeedContract):
    """The same where each message is on three disks before it is acknowledged."""

    @pytest.fixture
    def engine(self, nats_three: list[NatsServer]) -> Engine:
        test = secrets.token_hex(4)
        return lambda place: open_nats(options(*nats_three, namespace=f"{test}-{place}"), lag=0)


@pytest.mark.cluster
@pytest.mark.anyio
async def test_of_racers_over_three_nodes_exactly_one_wins_and_all_hear_which(nats_three: list[NatsServer]) -> None:
    """Each node has its own connection and its own reading; a slot that is free is raced for, and one that is held."""
    here = options(*nats_three)
    async with open_nats(here) as one, open_nats(here) as two, open_nats(here) as three:
        for number in range(ROUNDS):
            holder: ScanId | None = None
            for attempt in ("new", "over"):
                racers = [registration(f"{attempt}{number}.{racer}", f"slot{number}") for racer in range(RACERS)]
                holder = await race(racers, holder, one, two, three)
            for store in (one, two, three):
                assert await store.holder(f"slot{number}") == holder
                assert len(await store.newest(ANYONE, 1000)) == 2 * (number + 1)

"""Nodes on one NATS look at one market: one has read it, the others take it, and work fetches what it stands on."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from market.test_common import Given
from market.test_panels import numbered
from scanstream.core import Core, open_core
from scanstream.log.scanlog import ScanLog
from scanstream.market.synthetic import SyntheticMarket
from scanstream.model import ANYONE, DiscoverRequest, ScanId
from scanstream.panel import Panel
from scanstream.server import serving
from scanstream.settings import Settings
from scanstream.worker import working
from support.nats import NatsServer
from support.wire import Answer, discover, request, until_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

WANTED = {"strategy_ids": ["tsmom"], "parameters": {"tsmom": {"walk_forward": 0}}}
REFRESH = 0.2


class Cluster:
    """Nodes that are told what their market is."""

    def __init__(self, nats: NatsServer, directory: Path, patch: pytest.MonkeyPatch, stack: AsyncExitStack) -> None:
        self._chosen: dict[str, Any] = {
            "engine": nats.url,
            "namespace": f"t{secrets.token_hex(4)}",
            "lease": 3.0,
            "refresh": REFRESH,
        }
        self._directory = directory
        self._patch = patch
        self._stack = stack
        self.count = 0

    def settings(self, market: Given, **others: Any) -> Settings:
        """Those of the next node."""
        self._patch.setattr(Settings, "open_market", lambda _: market)
        self.count += 1
        return Settings(**{**self._chosen, "data": str(self._directory / str(self.count)), **others})

    async def web(self, market: Given) -> str:
        """A node with doors, and no worker; its address."""
        return await self._stack.enter_async_context(serving(self.settings(market, port=0, workers=0)))

    async def worker(self, market: Given) -> Path:
        """A node that runs shards; where it keeps its panels."""
        await self._stack.enter_async_context(working(self.settings(market, workers=1)))
        return self._directory / str(self.count) / "market"


@pytest.fixture
async def cluster(nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    """A cluster without nodes yet."""
    async with AsyncExitStack() as stack:
        yield Cluster(nats, tmp_path, monkeypatch, stack)


class Always(Given):
    """A live market that gives something else each time."""

    def __init__(self) -> None:
        super().__init__(numbered(0), live=True)

    def load(self) -> Panel:
        """See `Market.load`."""
        self.panel = numbered(self.read)
        return super().load()


def wide(number: int) -> Panel:
    """A panel of enough bars for a strategy to be run, unlike the next one."""
    return SyntheticMarket(symbols=3, bars=400, seed=number).load()


async def test_a_worker_without_a_market_runs_what_the_cluster_scans(cluster: Cluster) -> None:
    url = await cluster.web(Given(wide(1)))
    directory = await cluster.worker(Given(None))
    with anyio.fail_after(60):
        ended = await until_terminal(url, (await discover(url, WANTED)).json()["scan_id"])
    assert ended["status"] == "complete", ended
    assert (directory / wide(1).digest).is_dir()


async def test_a_worker_that_was_there_first_fetches_what_its_shards_stand_on(cluster: Cluster) -> None:
    directory = await cluster.worker(Given(wide(2)))
    url = await cluster.web(Given(wide(3)))
    with anyio.fail_after(60):
        ended = await until_terminal(url, (await discover(url, WANTED)).json()["scan_id"])
    assert ended["status"] == "complete", ended
    assert (directory / wide(3).digest).is_dir()


async def test_equal_requests_on_two_nodes_meet_as_soon_as_one_has_shown_newer_data(cluster: Cluster) -> None:
    """A scan that one node starts the other joins, from the moment on at which either has shown what it is made on."""
    first, second = Given(numbered(0), live=True), Given(numbered(0), live=True)
    urls = [await cluster.web(first), await cluster.web(second)]
    answers: dict[str, Answer] = {}

    async def ask(url: str) -> None:
        answers[url] = await discover(url, {"strategy_ids": ["tsmom"]})

    ids: list[str] = []
    for number in range(1, 9):
        first.panel = second.panel = numbered(number)
        with anyio.fail_after(20):
            while await digest(urls[number % 2]) != numbered(number).digest:  # noqa: ASYNC110  # nobody tells
                await anyio.sleep(0.01)
        async with anyio.create_task_group() as asking:
            for url in urls:
                asking.start_soon(ask, url)
        [scan_id] = {answer.json()["scan_id"] for answer in answers.values()}
        ids.append(scan_id)
    assert len(set(ids)) == 8, "the market has changed each time"
    assert min(first.read, second.read) == 0, "one of them reads it"


async def digest(url: str) -> str:
    """Of the panel that a node shows now."""
    answer = await request(url, "GET", f"/opportunities/market/candles?symbol={numbered(0).symbols[0]}&bars=1")
    assert answer.status == 200, answer
    return answer.headers["etag"].strip('"')


async def test_equal_requests_are_two_scans_only_where_they_are_made_on_two_panels(cluster: Cluster) -> None:
    """Of those that are under way while the market changes some have come before and some behind it."""
    market = Always()
    async with (
        open_core(cluster.settings(market, workers=0, refresh=0.05)) as one,
        open_core(cluster.settings(market, workers=0, refresh=0.05)) as other,
    ):
        logs: list[ScanLog] = []

        async def ask(core: Core) -> None:
            ack = await core.desk.register(ANYONE, DiscoverRequest(strategy_ids=["tsmom"]))
            logs.append(await core.hub.until_known(ScanId(ack.scan_id)))

        with anyio.fail_after(30):
            while len(logs) < 120 or len({log.folded.registered.digest for log in logs}) <= 3:
                async with anyio.create_task_group() as asking:
                    asking.start_soon(ask, one)
                    asking.start_soon(ask, other)
        made = {(log.scan_id, log.folded.registered.digest) for log in logs}
        assert len(made) == len({scan_id for scan_id, _ in made}) == len({digest for _, digest in made})
        assert 3 < len(made) < len(logs)


async def test_who_reads_a_live_market_may_go(cluster: Cluster) -> None:
    first, second = Given(numbered(0), live=True), Given(numbered(7), live=True)
    serves, leave = anyio.Event(), anyio.Event()

    async def reader() -> None:
        async with serving(cluster.settings(first, port=0, workers=0)):
            serves.set()
            await leave.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)
        await serves.wait()
        async with serving(cluster.settings(second, port=0, workers=0)) as url:
            before = (await discover(url, {"strategy_ids": ["tsmom"]})).json()["scan_id"]
            assert second.read == 0
            leave.set()
            with anyio.fail_after(20):
                while (await discover(url, {"strategy_ids": ["tsmom"]})).json()["scan_id"] == before:  # noqa: ASYNC110
                    await anyio.sleep(0.05)
    assert second.read > 0

"""How much new work there may be is counted over all nodes: no limit is overshot, however close in time it comes."""

import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest
from msgspec.structs import replace

from cluster.harness import quick
from scanstream.core import Core, open_core
from scanstream.errors import ScanstreamError, TooManyScans
from scanstream.log.entry import CancelRequested
from scanstream.model import DiscoverRequest, IdempotencyKey, Principal, ScanId
from scanstream.scans import sweeper
from scanstream.scans.identity import new_scan_id
from scanstream.settings import Settings
from support.nats import NatsServer, options
from support.until import until

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

MOST = 5
ANN, BEN = Principal("ann"), Principal("ben")


@asynccontextmanager
async def nodes(nats: NatsServer, directory: Path, count: int = 2, **limits: Any) -> AsyncIterator[list[Core]]:
    """So many of one cluster, which run nothing: what is registered stays unfinished."""
    shared = {"engine": nats.url, "namespace": options(nats).namespace, "workers": 0, "port": 0, **limits}
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(open_core(Settings(data=str(directory / str(number)), **shared)))
            for number in range(count)
        ]


def wanted(**fixed: Any) -> DiscoverRequest:
    """A request that nobody else makes."""
    return msgspec.convert({**quick(), **fixed}, DiscoverRequest)


async def told(core: Core, principal: Principal, key: str = "") -> str:
    """What became of one more scan of this principal's here: that it was let in, or why not."""
    try:
        await core.desk.register(principal, wanted(), IdempotencyKey(key, "key") if key else None)
    except ScanstreamError as refusal:
        return refusal.code if refusal.retry_after else "refused without a time"
    return "let in"


async def burst(cores: list[Core], principal: Principal, each: int) -> Counter[str]:
    """What became of so many at each of them in one moment."""
    answers: list[str] = []

    async def ask(core: Core) -> None:
        answers.append(await told(core, principal))

    async with anyio.create_task_group() as asking:
        for _ in range(each):
            for core in cores:
                asking.start_soon(ask, core)
    return Counter(answers)


async def agree(cores: list[Core], principal: Principal, unfinished: int, ended: int = 0) -> None:
    """All nodes know of so many, and list no other ones but those that somebody was given."""
    for core in cores:
        await core.store.barrier()
        assert core.engine.owners.unfinished(principal) == unfinished
        assert len(await core.desk.newest(principal, 100)) == unfinished + ended


@pytest.mark.parametrize("count", [2, 4])
async def test_of_a_burst_at_many_nodes_as_many_are_let_in_as_may_be(
    nats: NatsServer, tmp_path: Path, count: int
) -> None:
    async with nodes(nats, tmp_path, count, max_own_scans=MOST, max_scans=MOST + 3) as cores:
        for ended in (0, MOST):
            answers = await burst(cores, ANN, 3 * MOST)
            assert answers["too_many_scans"] == answers.total() - answers["let in"]
            assert answers["let in"] == MOST
            await agree(cores, ANN, MOST, ended)
            async with anyio.create_task_group() as cancels:
                for log in await cores[0].desk.newest(ANN, 100):
                    cancels.start_soon(cores[0].desk.cancel, ANN, log.scan_id)
            await agree(cores, ANN, 0, ended + MOST)
        assert (await burst(cores, ANN, MOST))["let in"] == MOST
        assert await burst(cores, BEN, MOST) == {"let in": 3, "too_many_scans": count * MOST - 3}, "of all together"
        await agree(cores, BEN, 3)
        assert all(not core.admission._beyond and not core.admission._asking for core in cores)


async def test_what_a_principal_starts_in_a_minute_is_counted_over_all_nodes(nats: NatsServer, tmp_path: Path) -> None:
    async with nodes(nats, tmp_path, max_discovers=MOST) as cores:
        assert await burst(cores, ANN, MOST) == {"let in": MOST, "rate_limited": MOST}
        await agree(cores, ANN, MOST)
        assert [await told(core, ANN) for core in cores] == ["rate_limited"] * 2
        assert [await told(core, BEN) for core in cores] == ["let in"] * 2


async def test_nobody_is_given_a_scan_that_is_taken_back(nats: NatsServer, tmp_path: Path) -> None:
    """Many ask for the same ones, by request and by key, at all nodes: who has an ack has a scan that stays."""
    async with nodes(nats, tmp_path, 3, max_own_scans=2) as cores:
        same, acks = [wanted() for _ in range(6)], set[str]()

        async def ask(core: Core, number: int) -> None:
            key = IdempotencyKey(str(number), "key") if number % 2 else None
            with suppress(TooManyScans):
                acks.add((await core.desk.register(ANN, same[number], key)).scan_id)

        async with anyio.create_task_group() as asking:
            for _ in range(4):
                for number in range(len(same)):
                    for core in cores:
                        asking.start_soon(ask, core, number)
        assert len(acks) == 2
        await agree(cores, ANN, 2)
        for core in cores:
            assert {log.scan_id for log in await core.desk.newest(ANN, 100)} == acks


async def test_who_asks_for_one_that_is_about_to_be_taken_back_waits_until_it_is(
    nats: NatsServer, tmp_path: Path
) -> None:
    async with nodes(nats, tmp_path, max_own_scans=1) as cores:
        here, there = cores
        same = wanted()
        first = await here.desk.register(ANN, same)
        registered = here.hub.live()[0].folded.registered
        await here.desk.cancel(ANN, first.scan_id)
        await there.store.barrier()
        assert await told(there, ANN) == "let in"
        beyond = new_scan_id(here.store.key, ANN, here.store.now())
        await here.store.register(replace(registered, scan_id=beyond, at=here.store.now()), first.scan_id)
        await there.store.barrier()
        refused = anyio.Event()

        async def ask() -> None:
            with pytest.raises(TooManyScans):
                await there.desk.register(ANN, same)
            refused.set()

        async with anyio.create_task_group() as asking:
            asking.start_soon(ask)
            with anyio.move_on_after(0.3):
                await refused.wait()
            assert not refused.is_set()
            await here.store.append(beyond, CancelRequested(at=here.store.now()))
        assert (await there.hub.fetch(beyond)) is not None, "it waited for its end"


async def test_a_node_that_dies_before_it_takes_one_back_costs_no_place_and_starts_none_too_many(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of it is in the store and has no ack. It starts as soon as there is a place for it."""
    monkeypatch.setattr(sweeper, "UNRELEASED_AFTER_SECONDS", 0.2)
    async with nodes(nats, tmp_path, max_own_scans=2) as cores:
        here, there = cores
        acked = [await here.desk.register(ANN, wanted()) for _ in range(2)]
        for ack in acked:
            here.desk.release(ack.scan_id)
        left = new_scan_id(here.store.key, ANN, here.store.now())
        dead = replace(here.hub.live()[0].folded.registered, scan_id=left, slot="left", at=here.store.now())
        assert await here.store.register(dead, None) == left
        await until(lambda: not [one for core in cores for one, _ in core.engine.owners.unreleased() if one != left])
        for core in cores:
            for _ in range(3):
                await core.sweeper._look()
                await anyio.sleep(0.2)
            assert phase(core, left) == "init"
        assert [await told(core, ANN) for core in cores] == ["too_many_scans"] * 2
        await there.desk.cancel(ANN, acked[0].scan_id)
        await until(lambda: all(phase(core, left) == "queued" for core in cores))
        await there.desk.cancel(ANN, left)
        await until(lambda: all(core.engine.owners.unfinished(ANN) == 1 for core in cores))
        assert await told(there, ANN) == "let in"


def flood(url: str, namespace: str, directory: str) -> None:
    """A node of its own, that registers as many as it can from the word on that it is given, until it is killed."""

    async def run() -> None:
        settings = Settings(
            engine=url,
            namespace=namespace,
            data=directory,
            workers=0,
            port=0,
            max_own_scans=MOST,  # as the others
        )
        async with open_core(settings) as core:
            print("ready", flush=True)
            await anyio.to_thread.run_sync(sys.stdin.readline)
            while True:
                await burst([core], ANN, 4 * MOST)

    anyio.run(run)


@contextmanager
def flooding(url: str, namespace: str, directory: Path, count: int) -> Iterator[list[Popen[str]]]:
    """So many of these, ready; killed at the end with `kill -9`."""
    code = "import sys; from cluster.test_own_scans import flood; flood(*sys.argv[1:])"
    path = os.pathsep.join(sys.path)
    each = [
        Popen(
            [sys.executable, "-c", code, url, namespace, str(directory / f"flood{number}")],
            stdin=PIPE,
            stdout=PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for number in range(count)
    ]
    try:
        for one in each:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        yield each
    finally:
        for one in each:
            one.kill()
        for one in each:
            one.communicate()


async def test_nodes_that_are_killed_in_mid_burst_leave_no_place_taken_and_none_too_many_at_work(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "UNRELEASED_AFTER_SECONDS", 0.2)
    async with nodes(nats, tmp_path, max_own_scans=MOST) as cores:
        namespace = cores[0].store.connection.options.namespace  # type: ignore[attr-defined]  # of its engine
        with flooding(nats.url, namespace, tmp_path, 3) as floods:
            for one in floods:
                assert one.stdin is not None
                one.stdin.write("go\n")
                one.stdin.flush()
            await until(lambda: cores[0].engine.owners.unfinished(ANN), look=0.001)
        await until(lambda: not cores[0].admission.startable())
        for core in cores:
            started = [log for log in core.hub.live() if log.folded.state.phase != "init"]
            print("registered:", core.engine.owners.unfinished(ANN), "let in:", len(started))
            assert len(started) <= MOST
        while live := cores[0].hub.live():
            for log in live:
                await cores[0].desk.cancel(ANN, log.scan_id)
        await cores[1].store.barrier()
        assert (await burst(cores, ANN, 2 * MOST))["let in"] == MOST


def phase(core: Core, scan_id: ScanId) -> str:
    """What is known of a scan there."""
    log = core.hub.get(scan_id)
    return "unknown" if log is None else log.folded.state.phase

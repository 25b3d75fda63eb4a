"""Scans conducted and shards run by several nodes: whoever dies, leaves or stands still, a scan comes out the same."""

import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from cluster.farm import LEASE, PATIENCE, SPARE, Farm, ended, farm, found, outcome, started
from scanstream.core import open_core
from scanstream.log.entry import Planned, Registered, ShardFailed
from scanstream.log.scanlog import ScanLog
from scanstream.model import Problem, ScanId
from scanstream.settings import Settings
from support.nats import NatsServer, nats_server
from support.script import RunningShard, Script, scripting

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


@pytest.fixture
async def nodes(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Farm]:
    """A web node and no worker yet."""
    async with farm(nats, tmp_path) as one:
        yield one


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    async with scripting() as one:
        yield one


async def next_shard(script: Script) -> RunningShard:
    """The next one that is taken up, wherever."""
    with anyio.fail_after(PATIENCE):
        return await script.started()


async def plans(nodes: Farm, scan_id: ScanId) -> int:
    """How many plans are in the log of a scan."""
    return sum(isinstance(entry, Planned) for entry in await nodes.core.store.history(scan_id) or [])


async def test_states_and_opportunities_are_those_of_the_embedded_engine(nodes: Farm) -> None:
    await nodes.start(2, 1)
    scan_id = await nodes.scan()
    log = await nodes.ended(scan_id)
    async with open_core(Settings(port=0, data=":memory:", workers=2)) as core:
        alone_id = await started(core)
        alone = await ended(core, alone_id)
        assert await found(nodes.core, scan_id) == await found(core, alone_id)
    assert outcome(log.folded.state) == outcome(alone.folded.state)


async def test_a_worker_that_is_killed_in_mid_shard_is_followed_by_another(nodes: Farm, script: Script) -> None:
    await nodes.start(1, 1)
    scan_id = await nodes.scan(**script.request(shards=2))
    first, second = await next_shard(script), await next_shard(script)
    nodes.of(first.pid).kill()
    killed = time.monotonic()
    await second.tell("find 2", "end")
    again = await next_shard(script)
    took = time.monotonic() - killed
    assert again.number == first.number
    assert took < LEASE + SPARE
    await again.tell("find 3", "end")
    log = await nodes.ended(scan_id)
    assert log.folded.state.status == "complete"
    assert len(await found(nodes.core, scan_id)) == 5
    assert await plans(nodes, scan_id) == 1


async def test_whoever_conducts_a_scan_and_is_killed_is_followed_by_another(nodes: Farm, script: Script) -> None:
    (conductor,) = await nodes.start(1)
    scan_id = await nodes.scan(**script.request(shards=12))
    first = await next_shard(script)
    await nodes.start(1)
    second = await next_shard(script)
    assert nodes.of(first.pid) is conductor
    conductor.kill()
    await second.tell("find 1", "end")
    log = await _obeying(nodes, script, scan_id)
    assert log.folded.state.status == "complete"
    assert len(await found(nodes.core, scan_id)) == 12
    assert await plans(nodes, scan_id) == 1


async def _obeying(nodes: Farm, script: Script, scan_id: ScanId) -> ScanLog:
    """The log of the scan at its end; until then each of its shards finds one."""

    async def obey() -> None:
        while True:
            await (await script.started()).tell("find 1", "end")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(obey)
        log = await nodes.ended(scan_id)
        tasks.cancel_scope.cancel()
    return log


async def test_a_shard_that_kills_its_node_every_time_fails_and_the_scan_ends(nodes: Farm, script: Script) -> None:
    await nodes.start(1, 1)
    scan_id = await nodes.scan(**script.request(shards=2))
    deaths = 0
    while deaths < 3:
        shard = await next_shard(script)
        if shard.number == 1:
            await shard.tell("find 1", "end")
            continue
        deaths += 1
        worker = nodes.of(shard.pid)
        worker.kill()
        await nodes.restart(worker)
    log = await nodes.ended(scan_id)
    entries = await nodes.core.store.history(scan_id) or []
    (failure,) = [entry for entry in entries if isinstance(entry, ShardFailed)]
    assert (failure.shard, failure.code) == (0, "worker_died")
    error = log.folded.state.strategies["scripted"].error
    assert isinstance(error, Problem)
    assert error.code == "worker_died"
    assert len(await found(nodes.core, scan_id)) == 1


@pytest.mark.parametrize("how", ["it ends", "it stands still"])
async def test_nats_that_comes_back_is_no_death_of_the_nodes_that_live(
    tmp_path: Path, script: Script, how: str
) -> None:
    with nats_server(tmp_path / "nats") as server:
        async with farm(server, tmp_path) as nodes:
            await nodes.start(2, 2)
            scan_id = await nodes.scan(**script.request(shards=2))
            shards = [await next_shard(script) for _ in range(2)]
            for _ in range(3):  # as often as nodes may die with a shard
                server.kill() if how == "it ends" else server.pause()
                await anyio.sleep(1.5 * LEASE)
                server.start() if how == "it ends" else server.go_on()
                await anyio.sleep(2 * LEASE)
            assert all(worker.runs for worker in nodes.workers)
            with anyio.move_on_after(LEASE):
                pytest.fail(f"shard {(await script.started()).number} runs twice")
            for shard in shards:
                await shard.tell("find 1", "end")
            log = await _obeying(nodes, script, scan_id)
            assert log.folded.state.status == "complete", log.folded.state
            assert len(await found(nodes.core, scan_id)) == 2


async def test_a_worker_that_has_to_leave_gives_back_at_once_and_it_is_no_attempt(nodes: Farm, script: Script) -> None:
    await nodes.start(1, 1)
    scan_id = await nodes.scan(**script.request(shards=1))
    for _ in range(4):  # more often than a shard is tried
        shard = await next_shard(script)
        worker = nodes.of(shard.pid)
        began = time.monotonic()
        assert await worker.stop(5) == 0
        assert time.monotonic() - began < 5
        await nodes.restart(worker)
    await (await next_shard(script)).tell("find 1", "end")
    assert (await nodes.ended(scan_id)).folded.state.status == "complete"
    assert await plans(nodes, scan_id) == 1


async def test_a_worker_that_stands_still_loses_its_shard_and_does_no_harm_later(nodes: Farm, script: Script) -> None:
    await nodes.start(1, 1)
    scan_id = await nodes.scan(**script.request(shards=1))
    first = await next_shard(script)
    worker = nodes.of(first.pid)
    worker.pause()
    again = await next_shard(script)
    assert nodes.of(again.pid) is not worker
    await first.tell("find 2", "end")  # its worker hears of that as it goes on
    worker.go_on()
    await again.tell("find 2", "end")
    log = await nodes.ended(scan_id)
    assert (log.folded.state.status, log.folded.state.total_opportunities) == ("complete", 2)


async def test_a_lone_worker_that_stands_still_goes_on_with_its_shard_and_runs_it_once(
    nodes: Farm, script: Script
) -> None:
    (worker,) = await nodes.start(2)
    scan_id = await nodes.scan(**script.request(shards=1))
    first = await next_shard(script)
    worker.pause()
    await anyio.sleep(LEASE + 1)
    worker.go_on()
    with anyio.move_on_after(2 * LEASE):
        pytest.fail(f"shard {(await script.started()).number} was begun again")
    await nodes.core.desk.cancel(nodes.core.hub.get(scan_id).folded.registered.principal, scan_id)  # type: ignore[union-attr]
    with anyio.fail_after(PATIENCE):
        await first.until_gone()
    assert (await nodes.ended(scan_id)).folded.state.status == "cancelled"


async def test_a_scan_that_is_cancelled_stops_on_every_node(nodes: Farm, script: Script) -> None:
    await nodes.start(1, 1)
    scan_id = await nodes.scan(**script.request(shards=9))
    shards = [await next_shard(script), await next_shard(script)]
    await nodes.core.desk.cancel(nodes.core.hub.get(scan_id).folded.registered.principal, scan_id)  # type: ignore[union-attr]
    log = await nodes.ended(scan_id)
    assert log.folded.state.status == "cancelled"
    with anyio.fail_after(PATIENCE):
        for shard in shards:
            await shard.until_gone()
    other = await nodes.scan(**script.request(shards=2))
    for _ in range(2):
        await (await next_shard(script)).tell("find 1", "end")
    assert (await nodes.ended(other)).folded.state.status == "complete"


async def test_a_new_scan_does_not_wait_behind_a_long_one(nodes: Farm) -> None:
    await nodes.start(1, 1)
    long = await nodes.scan(strategy_ids=["scripted"], parameters={"scripted": {"shards": 400, "pause": 0.1}})
    await nodes.core.hub.until(long, lambda log: log.folded.state.progress.shards_completed > 5)
    short = await nodes.scan(strategy_ids=["scripted"], parameters={"scripted": {"shards": 4, "pause": 0.1}})
    await nodes.ended(short)
    log = nodes.core.hub.get(long)
    assert log is not None
    assert not log.ended
    assert log.folded.state.progress.shards_completed < 200
    await nodes.core.desk.cancel(log.folded.registered.principal, long)
    await nodes.ended(long)


async def test_scans_that_run_together_take_turns(nodes: Farm) -> None:
    parameters = {"scripted": {"shards": 60, "pause": 0.1}}
    scans = [await nodes.scan(strategy_ids=["scripted"], parameters=parameters) for _ in range(3)]
    await nodes.start(1, 1)  # now: the first one had got on alone until the last one was there
    done: Counter[ScanId] = Counter()
    await nodes.core.hub.until(scans[0], lambda log: log.folded.state.progress.shards_completed >= 40)
    for scan_id in scans:
        log = nodes.core.hub.get(scan_id)
        assert log is not None
        done[scan_id] = log.folded.state.progress.shards_completed
    assert min(done.values()) > max(done.values()) / 3
    for scan_id in scans:
        assert (await nodes.ended(scan_id)).folded.state.status == "complete"


async def until_done(nodes: Farm, scan_id: ScanId, shards: int) -> None:
    """Wait until so many shards have an outcome."""
    with anyio.fail_after(120):
        await nodes.core.hub.until_known(scan_id)
        await nodes.core.hub.until(scan_id, lambda log: log.folded.state.progress.shards_completed >= shards)


def children(pid: int) -> list[int]:
    """The processes that it has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


async def test_workers_come_and_go_while_a_scan_runs(nodes: Farm) -> None:
    await nodes.start(1)
    scan_id = await nodes.scan(
        strategy_ids=["scripted"], parameters={"scripted": {"shards": 160, "found": 1, "pause": 0.1}}
    )
    await until_done(nodes, scan_id, 4)
    await nodes.start(1, 1, 1)
    await until_done(nodes, scan_id, 80)
    await nodes.stop(nodes.workers[1:])
    log = await nodes.ended(scan_id)
    assert (log.folded.state.status, log.folded.state.total_opportunities) == ("complete", 160)
    assert await plans(nodes, scan_id) == 1
    assert [worker.process.returncode for worker in nodes.workers] == [None, 0, 0, 0]


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_small_scans_get_on_beside_thousands_of_shards_whose_workers_memory_is_flat(
    nodes: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two scans of the most shards that a plan may have, and small ones beside them all the time."""
    (worker,) = await nodes.start(2)

    def held() -> float:
        return max(map(resident, (worker.pid, *children(worker.pid)))) / 1024**2

    sizes: list[float] = []
    took: list[float] = []
    for number in range(2):
        parameters = {"scripted": {"shards": 4000, "found": 1, "work": number}}
        long = await nodes.scan(strategy_ids=["scripted"], parameters=parameters)
        for done in (500, 1500, 2500, 3500):
            await until_done(nodes, long, done)
            began = time.monotonic()
            await nodes.ended(await nodes.scan(strategy_ids=["scripted"], parameters={"scripted": {"shards": 4}}))
            took.append(time.monotonic() - began)
            sizes.append(held())
        log = await nodes.ended(long)
        assert (log.folded.state.status, log.folded.state.total_opportunities) == ("complete", 4000)
    with capsys.disabled():
        print(f"\na small scan beside a large one: {' '.join(f'{one:.1f}' for one in took)} s")
        print(f"the largest process of the worker: {' '.join(f'{one:.0f}' for one in sizes)} MB")
    assert sizes[-1] - sizes[1] < 20
    assert max(took) < 10


def limit_strategies(nodes: Farm, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """From now on scans are registered with so short a budget for each strategy."""
    register = nodes.core.store.register

    async def shorter(scan: Registered, replaces: Any) -> ScanId:
        return await register(replace(scan, budgets=dict.fromkeys(scan.budgets, seconds)), replaces)

    monkeypatch.setattr(nodes.core.store, "register", shorter)


async def test_a_strategy_over_its_budget_ends_wherever_its_shards_run(
    nodes: Farm, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_strategies(nodes, monkeypatch, 3.0)
    await nodes.start(1, 1)
    scan_id = await nodes.scan(**script.request(shards=9))
    shards = [await next_shard(script), await next_shard(script)]
    for shard in shards:
        await shard.tell("hang")
    log = await nodes.ended(scan_id)
    strategy = log.folded.state.strategies["scripted"]
    assert (strategy.status, strategy.shards_completed) == ("timed_out", 9)
    with anyio.fail_after(PATIENCE):
        for shard in shards:
            await shard.until_gone()


async def test_the_time_of_shards_on_other_nodes_is_the_strategys(
    nodes: Farm, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_strategies(nodes, monkeypatch, 4.0)
    await nodes.start(1, 1)
    scan_id = await nodes.scan(strategy_ids=["scripted"], parameters={"scripted": {"shards": 60, "pause": 0.5}})
    log = await nodes.ended(scan_id)  # 30 s of work on two places are 15, and there are 4
    strategy = log.folded.state.strategies["scripted"]
    assert strategy.status == "timed_out"
    assert log.folded.tallies is not None
    assert 8 <= log.folded.tallies["scripted"].measured <= 24


async def test_a_worker_whose_directory_takes_nothing_leaves_its_work_to_another(nodes: Farm, tmp_path: Path) -> None:
    """Its disk is full, or its directory was taken away: what it holds is not held for as long as that lasts."""
    (poor,) = await nodes.start(1)
    market = tmp_path / poor.name / "market"
    shutil.rmtree(market)
    market.write_bytes(b"")
    scan_id = await nodes.scan(strategy_ids=["tsmom"], parameters={"tsmom": {"walk_forward": 0}})
    with anyio.fail_after(PATIENCE):
        while "out of" not in poor.errors:  # noqa: ASYNC110  # another process
            await anyio.sleep(0.05)
    await nodes.start(1)
    log = await nodes.ended(scan_id)
    assert log.folded.state.status == "complete"
    assert poor.runs
    assert len(poor.errors.splitlines()) < 10, poor.errors

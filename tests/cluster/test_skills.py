"""Nodes with other strategies than others: what one cannot run another does, and what nobody can run waits."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from cluster.farm import PATIENCE, Farm, farm, found
from scanstream.model import Problem, ScanId
from support.installing import finding, plug_in, python_path
from support.nats import NatsServer
from support.until import until

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

MODULE = """
from collections.abc import AsyncIterator, Iterator
import anyio, os, time
from scanstream.strategies.strategy import AsyncStrategy, Strategy
from scripted import found

UNITS, CHUNK = {units}, {chunk}

class Odd(Strategy):
    id = "odd"
    name = "Odd"
    opportunity_type = "odd"
    description = "Finds one a unit."
    source = "tests/cluster/test_skills.py"
    chunk = CHUNK
    budget_seconds = 60.0

    def units(self, panel, parameters):
        return UNITS

    def scan(self, panel, units, parameters):
        time.sleep(0.05)
        for unit in units:
            yield found(panel, unit, 0)

class Feed(AsyncStrategy):
    id = "feed"
    name = "Feed"
    opportunity_type = "feed"
    description = "Finds one a unit, as it waits."
    source = "tests/cluster/test_skills.py"
    chunk = CHUNK
    budget_seconds = 60.0

    def units(self, panel, parameters):
        return UNITS

    async def scan(self, panel, units, parameters):
        await anyio.sleep(0.05)
        for unit in units:
            yield found(panel, unit, 0)
"""
ONE = MODULE.format(units=24, chunk=1)
OTHER = MODULE.format(units=10, chunk=5)


@pytest.fixture
def has(tmp_path: Path) -> dict[str, str]:
    """PYTHONPATH of nodes with the plug-in, with the same of another make, without it."""
    one = plug_in(tmp_path / "one", "odds", ONE, "Odd", "Feed")
    other = plug_in(tmp_path / "other", "odds", OTHER, "Odd", "Feed")
    return {"one": python_path(one), "other": python_path(other), "without": python_path()}


@pytest.fixture
async def nodes(nats: NatsServer, tmp_path: Path, has: dict[str, str]) -> AsyncIterator[Farm]:
    """A web node that has the plug-in, and no worker yet."""
    with finding(tmp_path / "one"):
        async with farm(nats, tmp_path) as one:
            yield one


async def run(nodes: Farm, strategy: str) -> ScanId:
    return await nodes.scan(strategy_ids=[strategy])


async def whole(nodes: Farm, scan_id: ScanId, units: int = 24) -> None:
    """It ends complete, with all that is to be found."""
    log = await nodes.ended(scan_id)
    assert log.folded.state.status == "complete", log.folded.state
    assert len(await found(nodes.core, scan_id)) == units


@pytest.mark.parametrize("strategy", ["odd", "feed"])
async def test_what_a_node_has_not_is_run_by_those_that_have_it(
    nodes: Farm, has: dict[str, str], strategy: str
) -> None:
    await nodes.start(2, 2, python_path=has["without"])
    await nodes.start(1, python_path=has["one"])
    for _ in range(2):
        await whole(nodes, await run(nodes, strategy))
    assert not any("not installed" in worker.errors for worker in nodes.workers)


@pytest.mark.parametrize("strategy", ["odd", "feed"])
async def test_shards_are_run_by_the_release_that_has_cut_them(nodes: Farm, has: dict[str, str], strategy: str) -> None:
    """One release cuts 24 units into 24 shards, the other 10 into 2: mixed up, they would find something else."""
    await nodes.start(1, python_path=has["one"])
    await nodes.start(1, python_path=has["other"])
    for _ in range(4):
        log = await nodes.ended(scan_id := await run(nodes, strategy))
        assert log.folded.state.status == "complete", log.folded.state
        shards, units = log.folded.state.strategies[strategy].total_shards, len(await found(nodes.core, scan_id))
        assert (shards, units) in {(24, 24), (2, 10)}


async def test_what_nobody_has_waits_is_named_and_is_run_when_somebody_has_it(nodes: Farm, has: dict[str, str]) -> None:
    (worker,) = await nodes.start(1, python_path=has["without"])
    scan_id = await run(nodes, "odd")
    other = await nodes.scan(strategy_ids=["scripted"], parameters={"scripted": {"shards": 2, "found": 1}})
    await whole(nodes, other, 2)
    await until(lambda: f"{scan_id} waits: no node that runs shards has odd" in worker.errors)
    await nodes.start(1, python_path=has["one"])
    await whole(nodes, scan_id)


async def test_shards_that_nobody_can_run_any_more_wait_for_who_can(nodes: Farm, has: dict[str, str]) -> None:
    (able,) = await nodes.start(1, python_path=has["one"])
    await nodes.start(1, python_path=has["without"])
    scan_id = await run(nodes, "odd")
    await nodes.core.hub.until(scan_id, lambda log: log.folded.state.progress.shards_completed > 2)
    await able.stop(15)
    await until(lambda: any("no node that runs shards has odd" in worker.errors for worker in nodes.workers))
    await nodes.restart(able)
    await whole(nodes, scan_id)


async def test_a_scan_that_nobody_can_run_fails_after_its_budget_and_says_why(
    nodes: Farm, has: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes.core.desk, "_limits", nodes.core.desk._limits._replace(budget=4.0))
    await nodes.start(1, python_path=has["without"])
    log = await nodes.ended(await run(nodes, "odd"))
    state = log.folded.state
    assert isinstance(state.error, Problem)
    assert (state.status, state.error.code) == ("failed", "timed_out")
    assert "No node that runs shards has odd" in state.error.detail


@pytest.mark.parametrize("update", ["raise ImportError('half an update')\n", OTHER], ids=["broken", "another make"])
async def test_a_plug_in_that_is_changed_as_a_node_runs_is_left_to_others(
    nodes: Farm, has: dict[str, str], tmp_path: Path, update: str
) -> None:
    """Its worker processes, which start later, do not find it, or find what no node says that it has."""
    changed = plug_in(tmp_path / "changed", "odds", ONE, "Odd", "Feed")
    (worker,) = await nodes.start(2, python_path=python_path(changed))
    (changed / "odds.py").write_text(update)
    scan_id = await run(nodes, "odd")
    await until(lambda: "the strategy odd is not installed here any more" in worker.errors)
    await nodes.start(1, python_path=has["one"])
    with anyio.fail_after(PATIENCE):
        await whole(nodes, scan_id)

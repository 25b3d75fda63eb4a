"""Strategies that end their node, as they are planned or run: after the third death that is told, and others get on."""

import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from cluster.farm import PATIENCE, Farm, farm
from scanstream.model import Problem, ScanId
from support.installing import finding, plug_in
from support.nats import NatsServer
from support.until import until

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

MODULE = """
import anyio, os, pathlib, signal, time
from scanstream.strategies.strategy import AsyncStrategy, Strategy
from scripted import found

class Planned(Strategy):
    id = "planned"
    name = opportunity_type = "Planned"
    description = "Ends its node as it is planned."
    source = "tests/cluster/test_poison.py"
    chunk = 1
    budget_seconds = 60.0

    def units(self, panel, parameters):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(10)

    def scan(self, panel, units, parameters):
        yield from ()

class Slow(Planned):
    id = "slow"

    def units(self, panel, parameters):
        marks = pathlib.Path(os.environ["MARKS"])
        (marks / f"{time.monotonic()}").touch()
        until = time.monotonic() + 9
        while not (marks / "go").exists() and time.monotonic() < until:
            time.sleep(0.05)
        return 1

class Run(Planned):
    id = "run"

    def units(self, panel, parameters):
        return 2

    def scan(self, panel, units, parameters):
        if units.start == 0:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(10)
        time.sleep(0.5)
        yield found(panel, units.start, 0)

class Feed(AsyncStrategy):
    id = "feed"
    name = opportunity_type = "Feed"
    description = "Ends its node, as one of its shards has waited."
    source = "tests/cluster/test_poison.py"
    chunk = 1
    budget_seconds = 60.0

    def units(self, panel, parameters):
        return 2

    async def scan(self, panel, units, parameters):
        await anyio.sleep(0.2)
        if units.start == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        yield found(panel, units.start, 0)

class Patient(Feed):
    id = "patient"

    def units(self, panel, parameters):
        return 4

    async def scan(self, panel, units, parameters):
        await anyio.sleep(6)
        yield found(panel, units.start, 0)
"""
HEALTHY = 20


@pytest.fixture
async def nodes(nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Farm]:
    """A web node that has them, and no worker yet."""
    site = plug_in(tmp_path / "site", "poison", MODULE, "Planned", "Slow", "Run", "Feed", "Patient")
    (tmp_path / "marks").mkdir()
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    with finding(site):
        async with farm(nats, tmp_path) as one:
            yield one


@asynccontextmanager
async def supervised(nodes: Farm) -> AsyncIterator[list[float]]:
    """Whoever dies in here is started again, as by systemd; when they died."""
    deaths: list[float] = []

    async def watch() -> None:
        while True:
            for worker in nodes.workers:
                if not worker.runs:
                    assert worker.process.returncode == -signal.SIGKILL, worker.errors
                    deaths.append(time.monotonic())
                    worker.start()
            await anyio.sleep(0.02)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        yield deaths
        tasks.cancel_scope.cancel()


async def healthy(nodes: Farm) -> list[ScanId]:
    """Scans that would get on with anybody."""
    parameters = {"scripted": {"shards": 3, "found": 1, "pause": 0.4}}
    return [await nodes.scan(strategy_ids=["scripted"], parameters=parameters) for _ in range(HEALTHY)]


@pytest.mark.parametrize("strategy", ["planned", "run", "feed"])
async def test_what_ends_its_node_has_failed_after_the_third_and_costs_nobody_else(nodes: Farm, strategy: str) -> None:
    await nodes.start(2, 2)
    async with supervised(nodes) as deaths:
        scan_id = await nodes.scan(strategy_ids=[strategy])
        others = await healthy(nodes)
        with anyio.fail_after(3 * PATIENCE):
            for one in (scan_id, *others):
                await nodes.core.hub.until(one, lambda log: log.ended)
        state = (await nodes.ended(scan_id)).folded.state
        assert state.status == "failed", state
        error = state.error if strategy == "planned" else state.strategies[strategy].error
        assert isinstance(error, Problem)
        assert error.code == "worker_died"
        assert "each of 3 nodes" in error.detail
        assert len(deaths) == 3
        for one in others:
            state = (await nodes.ended(one)).folded.state
            assert state.status == "complete", state


async def test_who_waited_beside_it_each_time_gets_on(nodes: Farm) -> None:
    """All of these are with the node that dies, three times: only one of them is why."""
    await nodes.start(1)
    async with supervised(nodes) as deaths:
        waits = await nodes.scan(strategy_ids=["patient"])
        await nodes.core.hub.until(waits, lambda log: log.folded.state.strategies["patient"].status == "running")
        poison = await nodes.scan(strategy_ids=["feed"])
        with anyio.fail_after(3 * PATIENCE):
            await nodes.core.hub.until(poison, lambda log: log.ended)
            await nodes.core.hub.until(waits, lambda log: log.ended)
        assert len(deaths) == 3
        assert (await nodes.ended(poison)).folded.state.strategies["feed"].status == "failed"
        state = (await nodes.ended(waits)).folded.state
        assert (state.status, state.total_opportunities) == ("complete", 4), state


async def test_to_be_told_to_end_as_a_scan_is_planned_is_no_death(nodes: Farm, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    await nodes.start(1, 1)
    scan_id = await nodes.scan(strategy_ids=["slow"])
    for planned in range(1, 5):  # more often than it is tried
        await until(lambda planned=planned: len(list(marks.iterdir())) >= planned)  # type: ignore[misc]
        began = time.monotonic()
        for worker in nodes.workers:
            assert await worker.stop(10) == 0
            await nodes.restart(worker)
        assert time.monotonic() - began < 2 * PATIENCE
    (marks / "go").touch()
    state = (await nodes.ended(scan_id)).folded.state
    assert state.status == "complete", (state.error, state.strategies)

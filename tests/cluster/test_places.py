"""A worker ends, dies or stands still at each place where it matters: the scan comes out as on the embedded engine."""

import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from cluster.farm import LEASE, PATIENCE, Farm, ended, farm, found, outcome, started
from onemachine.node import Worker
from scanstream.core import open_core
from scanstream.settings import Settings
from support.installing import finding, plug_in, python_path
from support.nats import NatsServer
from support.until import until

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

MODULE = """
import os, pathlib, sys, time
import anyio
from scanstream.strategies.strategy import AsyncStrategy, Strategy
from scripted import found

class Quick(Strategy):
    id = "quick"
    name = opportunity_type = "Quick"
    description = "Finds three a unit."
    source = "tests/cluster/test_places.py"
    chunk = 1
    budget_seconds = 60.0

    def units(self, panel, parameters):
        return 8

    def scan(self, panel, units, parameters):
        for number in range(3):
            time.sleep(0.1)
            yield found(panel, units.start, number)

class Feed(AsyncStrategy):
    id = "feed"
    name = opportunity_type = "Feed"
    description = "Finds three a unit, as it waits."
    source = "tests/cluster/test_places.py"
    chunk = 1
    budget_seconds = 60.0

    def units(self, panel, parameters):
        return 8

    async def scan(self, panel, units, parameters):
        for number in range(3):
            yield found(panel, units.start, number)
            await anyio.sleep(0.4)

def spring(place):
    trap = pathlib.Path(os.environ["TRAPS"], place)
    taken = trap.with_name(f"{place}-{os.getpid()}")
    try:
        trap.rename(taken)
    except FileNotFoundError:
        return
    os.kill(os.getpid(), int(taken.read_text()))

def trap(place, owner, name, *kinds, after=False):
    inner = getattr(owner, name)

    async def outer(*given, **more):
        meant = not kinds or any(isinstance(one, kinds) for one in given)
        if meant and not after:
            spring(place)
        result = await inner(*given, **more)
        if meant and after:
            spring(place)
        return result

    setattr(owner, name, outer)

if "worker" in sys.argv:
    from scanstream.engines.nats.calls import NatsCall
    from scanstream.engines.nats.jobs import NatsJobs, NatsLease
    from scanstream.engines.nats.pull import Held
    from scanstream.log.entry import Planned, ShardDone, ShardStarted
    from scanstream.market.common import CommonPanels
    from scanstream.scans.appending import Appender
    from scanstream.scans.inquiry import Inquiry
    from scanstream.scans.runner import Runner

    trap("a panel is lost", CommonPanels, "restore")
    trap("a scan is planned", Inquiry, "ask")
    trap("a plan is written", Appender, "append", Planned, after=True)
    trap("shards are queued", NatsJobs, "put", after=True)
    trap("a shard is fetched", Runner, "_attempt")
    trap("a shard is said to start", Appender, "append", ShardStarted)
    trap("something was found", Runner, "_keep", after=True)
    trap("the end of a shard is written", Appender, "append", ShardDone)
    trap("a shard is done", NatsLease, "done")
    trap("a lease is extended", Held, "extend")
    trap("a scan is over", NatsCall, "done")
"""
PLACES = [line.split('"')[1] for line in MODULE.splitlines() if line.startswith('    trap("')]
WHOLE = {"strategy_ids": ["quick", "feed"]}


@pytest.fixture
async def nodes(nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Farm]:
    """A web node, and two workers with traps."""
    site = plug_in(tmp_path / "site", "places", MODULE, "Quick", "Feed")
    (tmp_path / "traps").mkdir()
    monkeypatch.setenv("TRAPS", str(tmp_path / "traps"))
    with finding(site):
        async with farm(nats, tmp_path) as one:
            await one.start(1, 1, python_path=python_path(site))
            yield one


async def alone() -> tuple[Any, list[str]]:
    """The same scan on the embedded engine."""
    async with open_core(Settings(port=0, data=":memory:", workers=2)) as core:
        scan_id = await started(core, **WHOLE)
        return outcome((await ended(core, scan_id)).folded.state), await found(core, scan_id)


def lose_panels(directory: Path) -> None:
    """What the workers have of the market on their disks is gone."""
    lost = list(directory.glob("worker-*/market/*"))
    assert lost
    for panel in lost:
        shutil.rmtree(panel)


async def sprung(traps: Path, place: str, nodes: Farm) -> Worker:
    """The worker that went into the trap."""

    def it() -> list[Worker]:
        pids = {int(one.name.rpartition("-")[2]) for one in traps.glob(f"{place}-*")}
        return [worker for worker in nodes.workers if worker.pid in pids]

    await until(lambda: bool(it()), PATIENCE)
    return it()[0]


@pytest.mark.parametrize("places", [PLACES[::2], PLACES[1::2]], ids=["some", "others"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
async def test_whatever_a_worker_is_at(nodes: Farm, tmp_path: Path, number: signal.Signals, places: list[str]) -> None:
    expected = await alone()
    traps = tmp_path / "traps"
    for place in places:
        if place == "a panel is lost":
            lose_panels(tmp_path)
        (traps / place).write_text(str(int(number)))
        scan_id = await nodes.scan(**WHOLE)
        worker = await sprung(traps, place, nodes)
        if number == signal.SIGSTOP:
            await anyio.sleep(LEASE + 1)
            worker.go_on()
        else:
            assert await worker.until_gone(15) == (0 if number == signal.SIGTERM else -number), worker.errors
        log = await nodes.ended(scan_id)
        assert (outcome(log.folded.state), await found(nodes.core, scan_id)) == expected, place
        if number != signal.SIGSTOP:
            await nodes.restart(worker)

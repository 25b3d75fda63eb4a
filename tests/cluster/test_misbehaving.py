"""Strategies that do what none should, on workers: the scan ends as on the embedded engine, and so do the others."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.farm import Farm, ended, farm, found, outcome, started
from scanstream.core import open_core
from scanstream.settings import Settings
from support.installing import finding, plug_in, python_path
from support.nats import NatsServer

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

MODULE = """
import asyncio, os, signal, time
import anyio
from scanstream.strategies.strategy import AsyncStrategy, Note, Strategy
from scripted import found

class Good(Strategy):
    id = "good"
    name = opportunity_type = "Good"
    description = "Finds two a unit."
    source = "tests/cluster/test_misbehaving.py"
    chunk = 1
    budget_seconds = 60.0

    def units(self, panel, parameters):
        return 4

    def scan(self, panel, units, parameters):
        for number in range(2):
            yield found(panel, units.start, number)
        if units.start == 3:
            self.then()

    def then(self):
        pass

class Raises(Good):
    id = "raises"
    def then(self): raise ValueError("as it should not")

class Exits(Good):
    id = "exits"
    def then(self): os._exit(7)

class Ends(Good):
    id = "ends"
    def then(self): raise SystemExit(7)

class Hangs(Good):
    id = "hangs"
    budget_seconds = 4.0
    def then(self): time.sleep(1000)

class Refuses(Good):
    id = "refuses"
    budget_seconds = 4.0
    def then(self):
        while True:
            try: time.sleep(1000)
            except BaseException: pass

class Floods(Good):
    id = "floods"
    def scan(self, panel, units, parameters):
        yield from (found(panel, units.start, number) for number in range(20_001 if units.start == 3 else 2))

class Talks(Good):
    id = "talks"
    def scan(self, panel, units, parameters):
        yield from (Note("x" * 1000) for number in range(20_001 if units.start == 3 else 2))

class Twice(Good):
    id = "twice"
    def scan(self, panel, units, parameters):
        yield found(panel, units.start, 0)
        yield found(panel, units.start, 0 if units.start == 3 else 1)

class Much(Good):
    id = "much"
    def scan(self, panel, units, parameters):
        yield from (found(panel, units.start, number) for number in range(5_000))
        if units.start == 3:
            os.kill(os.getpid(), signal.SIGKILL)

class Unplanned(Good):
    id = "unplanned"
    def units(self, panel, parameters): os._exit(7)

class Waits(AsyncStrategy):
    id = "waits"
    name = opportunity_type = "Waits"
    description = "Finds two a unit, as it waits."
    source = "tests/cluster/test_misbehaving.py"
    chunk = 1
    budget_seconds = 60.0
    many = 2

    def units(self, panel, parameters):
        return 4

    async def scan(self, panel, units, parameters):
        for number in range(self.many):
            yield found(panel, units.start, number)
        await anyio.sleep(0.1)
        if units.start == 3:
            await self.then()

    async def then(self):
        pass

class WaitsRaises(Waits):
    id = "waits_raises"
    many = 100
    async def then(self): raise ValueError("as it should not")

class WaitsHangs(Waits):
    id = "waits_hangs"
    budget_seconds = 4.0
    async def then(self): await anyio.sleep_forever()

class WaitsEnds(Waits):
    id = "waits_ends"
    async def then(self): raise SystemExit(7)

class WaitsCancels(Waits):
    id = "waits_cancels"
    async def then(self):
        asyncio.current_task().cancel()
        await anyio.sleep(1)
"""
CLASSES = [line.split()[1].split("(")[0] for line in MODULE.splitlines() if line.startswith("class ")]
IDS = [line.split('"')[1] for line in MODULE.splitlines() if line.startswith('    id = "')]


@pytest.fixture
async def nodes(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Farm]:
    """A web node, and two workers."""
    site = plug_in(tmp_path / "site", "misbehaving", MODULE, *CLASSES)
    with finding(site):
        async with farm(nats, tmp_path) as one:
            await one.start(1, 1, python_path=python_path(site))
            yield one


async def test_whatever_strategies_do_scans_end_as_on_the_embedded_engine(nodes: Farm) -> None:
    scan_id = await nodes.scan(strategy_ids=IDS)
    async with open_core(Settings(port=0, data=":memory:", workers=2)) as core:  # at the same time
        alone_id = await started(core, strategy_ids=IDS)
        expected = outcome((await ended(core, alone_id)).folded.state)
        ids = await found(core, alone_id)
    got = outcome((await nodes.ended(scan_id)).folded.state)
    differs = {name: (one, expected[3][name]) for name, one in got[3].items() if one != expected[3][name]}
    assert not differs, differs
    assert got == expected
    assert await found(nodes.core, scan_id) == ids
    assert all(worker.runs for worker in nodes.workers)

"""Binds what carries scans to their end on this node: who lets them in, cuts them, runs their shards, foresees the end.

The other half of the core (core.py) registers scans and shows them. As there, concrete names meet.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from scanstream.engine import Engine
from scanstream.log.entry import Queued
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.market.panels import Panels
from scanstream.model import now
from scanstream.scans.appending import Appender
from scanstream.scans.budget import Budgets, Clock
from scanstream.scans.explaining import Rooms
from scanstream.scans.forecast import Capacity, Forecast
from scanstream.scans.inquiry import Inquiry
from scanstream.scans.pace import Pace
from scanstream.scans.places import Places
from scanstream.scans.planner import Planner
from scanstream.scans.ranks import Ranks
from scanstream.scans.returns import LastTry
from scanstream.scans.runner import Runner
from scanstream.scans.shortages import Shortages
from scanstream.scans.skills import Skills
from scanstream.scans.supply import Windows
from scanstream.scans.tries import Tries
from scanstream.scans.view import View
from scanstream.scans.work.processes import Processes
from scanstream.scans.work.waiting import Lanes
from scanstream.settings import Settings
from scanstream.strategies.installed import registry

PLANNING_PROCESSES = 2
"""Beside the workers: a plan does not wait behind long shards, nor a second one behind a strategy that hangs."""


class Conducting:
    """The rooms that work on scans."""

    def __init__(self, settings: Settings, engine: Engine, hub: Hub, panels: Panels, directory: Path) -> None:
        store = engine.store
        self._engine = engine
        self.clock = Clock()
        self.budgets = Budgets(self.clock)
        self.machine = Shortages(self.budgets)
        self.writing = Shortages(self.budgets)
        self.appender = Appender(store, self.writing, store.now if store.shared else None)
        idle = settings.worker_priority == "idle"
        self.planning = Processes(directory, most=PLANNING_PROCESSES, idle=idle)
        self.workers = Processes(directory, most=max(1, settings.workers), idle=idle)
        tries = Tries(self.machine, panels.restore, shared=store.shared)
        self.inquiry = Inquiry(self.planning, self.clock, tries)
        self.ranks = Ranks(engine.line)
        self.skills = Skills(engine.own, engine.anybody, shared=store.shared)
        self._waits = {strategy.id for strategy in registry().values() if strategy.waits}
        self._bind(settings, hub, tries)
        self.pace = Pace(panels.current.market, lambda: len(panels.current.symbols))
        capacity = partial(_capacity, settings, engine)
        self.forecast = Forecast(self.pace, self.ranks.rank, self._waits, capacity, self.ranks.behind)

    def _bind(self, settings: Settings, hub: Hub, tries: Tries) -> None:
        """Planner and runner, which have most in common."""
        engine, budgets, skills = self._engine, self.budgets, self.skills
        jobs, view, last_try = Lanes(engine.computing, engine.waiting), View(engine.store, hub, self.writing), LastTry()
        places: Places = lambda strategy_id: engine.places(strategy_id in self._waits)  # noqa: E731
        windows: Windows = lambda owner, waiting: engine.window(self.ranks.sharing(owner), waiting)  # noqa: E731
        conduct = partial(Planner, self.appender, hub, jobs, engine.calls, self.inquiry, budgets, view)
        self.planner = conduct(places, skills, last_try, windows)
        run = partial(Runner, self.appender, hub, jobs, self.workers, budgets, tries, view, places, skills, last_try)
        self.runner = run(most_in_loop=settings.max_in_loop) if settings.workers else None

    def rooms(self, max_running: int) -> Rooms:
        """Whose state says what a scan waits for."""
        ranks = self.ranks
        return Rooms(ranks.rank, self.runner, self.machine, self.writing, self.skills, ranks.running, max_running)

    def released(self, log: ScanLog) -> Queued:
        """The entry of a scan whose ack is out: it may start, or where nodes let scans in it may have to wait."""
        permissions = self._engine.permissions
        return Queued(at=now()) if permissions is None else permissions.asked(log)

    def depth(self) -> int:
        """How many shards wait for their turn."""
        return self._engine.computing.depth() + self._engine.waiting.depth()

    def watchers(self) -> list[Callable[[ScanLog], None]]:
        """Those among them who hear of every change of every scan."""
        shared = [self.budgets.notice] if self._engine.store.shared else []
        return [*self._engine.watchers, self.ranks.notice, self.forecast.notice, *shared]

    def parts(self) -> list[Callable[[], Awaitable[object]]]:
        """What is to run as long as the node does."""
        planner = self.planner if self.runner or not self._engine.store.shared else None  # else others plan
        permissions = self._engine.permissions
        let_in = [] if permissions is None else [partial(permissions.run, self.appender.append)]
        return [*(part.run for part in (self.clock, planner, self.runner) if part is not None), *let_in]


def _capacity(settings: Settings, engine: Engine) -> Capacity:
    """What runs at once, over all nodes."""
    if not engine.store.shared:
        in_loop = min(settings.max_in_loop, settings.max_in_loop_per_scan * settings.max_running)
        return Capacity(settings.workers, in_loop, settings.max_running)
    return Capacity(engine.places(False), engine.places(True) * settings.max_running, settings.max_running)

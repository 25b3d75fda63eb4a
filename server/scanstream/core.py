"""Binds the rooms into a core: settings → store → hub → desk. Only here, in conducting.py and in engine.py are concrete
names known."""

import logging
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import anyio
from anyio import to_thread

from scanstream.conducting import Conducting
from scanstream.descriptors import places as places_of
from scanstream.engine import Engine, open_engine
from scanstream.errors import EngineUnusable, StoreUnavailable
from scanstream.exporting import tracer_provider
from scanstream.instruments import of_node, of_notify, of_push, of_scans, of_store, of_tls, of_work
from scanstream.log.hub import Hub
from scanstream.market.common import open_common
from scanstream.market.directory import panel_directory
from scanstream.market.panels import Panels, open_panels
from scanstream.metrics import Metrics
from scanstream.notify.addresses import Lookup
from scanstream.notify.courier import Courier
from scanstream.notify.notices import Notices
from scanstream.notify.sending import Sender, open_sender
from scanstream.notify.signing import Signing
from scanstream.panel import Panel
from scanstream.pulse import Pulse
from scanstream.push.answers import StatusAnswers
from scanstream.push.attendance import Attendance
from scanstream.push.drain import Drain
from scanstream.push.fanout import Fanout
from scanstream.push.listing import listing
from scanstream.push.transport.listener import Sight
from scanstream.push.transport.tls import Handshakes
from scanstream.push.vigil import Vigil
from scanstream.scans.admission import Admission
from scanstream.scans.desk import Limits as DeskLimits
from scanstream.scans.desk import ScanDesk
from scanstream.scans.explaining import Explainer
from scanstream.scans.readiness import Readiness
from scanstream.scans.releases import Releases
from scanstream.scans.selection import known_symbols
from scanstream.scans.sweeper import Sweeper
from scanstream.security.guard import Guard
from scanstream.security.opening import open_guard
from scanstream.security.seats import Seats
from scanstream.settings import Settings
from scanstream.strategies.installed import registry, require_all
from scanstream.traces import Traces

logger = logging.getLogger("scanstream")

BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024), "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024)}
"""Of glibc's malloc: arrays that come and go by the thousand are not given back to the kernel each time. That took
60,000 page faults a second in two workers, a sixth of their time."""


class Core:
    """Everything of a server that is no socket: the store, the hub, and the rooms that work on them."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        panels: Panels,
        directory: Path,
        guard: Guard,
        sender: Sender | None = None,
    ) -> None:
        """`sender`: sends to those who are told of ends; None: nobody is told here."""
        self.store = engine.store
        self.engine = engine
        self.panels = panels
        self.guard = guard
        self._refresh = settings.refresh
        self.hub = Hub(engine.store)
        self.drain = Drain()
        self.fanout = Fanout(self.hub, tick=settings.tick)
        self.attendance = Attendance()
        self.vigil = Vigil(guard) if guard.required else None
        self.seats = Seats(lambda: settings.sockets(places_of(settings.workers), told_apart=guard.required))
        self.conducting = conducting = Conducting(settings, engine, self.hub, panels, directory)
        self.answers = StatusAnswers(conducting.ranks.rank)
        self.admission = Admission(settings.new_work(told_apart=guard.required), engine.owners, engine.store.now)
        self.desk = self._desk(settings)
        signing = Signing(engine.store.key)
        self.notices = Notices(engine.store, engine.deliveries, signing, settings.told)
        self.courier = self._courier(settings, signing, sender)
        startable = self.admission.startable if engine.store.shared else None
        self.sweeper = Sweeper(engine.store, self.hub, self.desk.release, self.notices.due, startable)
        self.readiness = Readiness(engine.store, conducting.machine, lambda: self.drain.begun)
        self.explainer = Explainer(engine.store, conducting.rooms(settings.max_running))
        self.traces = self._traces()
        self.pulse = Pulse()
        self.sight = Sight()
        self.handshakes = Handshakes(lambda: settings.handshakes(places_of(settings.workers)))
        self.metrics = self._metrics()

    def _desk(self, settings: Settings) -> ScanDesk:
        conducting = self.conducting
        return ScanDesk(
            self.store,
            self.hub,
            self.panels.newest,
            registry(),
            conducting.ranks.rank,
            conducting.inquiry.judged,
            conducting.forecast.seconds,
            DeskLimits(budget=settings.budget, retention=settings.retention, fresh=settings.fresh_seconds),
            self.admission,
            Releases(self.hub, conducting.appender, conducting.released),
            conducting.machine,
        )

    def _courier(self, settings: Settings, signing: Signing, sender: Sender | None) -> Courier:
        find, now = self.desk.find, self.store.now
        leaving = lambda: self.drain.begun  # noqa: E731
        deliveries, alone = self.engine.deliveries, not self.store.shared
        return Courier(deliveries, find, signing, settings.told, sender, now, leaving, alone=alone)

    def _traces(self) -> Traces | None:
        if (provider := tracer_provider()) is None:
            return None
        traces = Traces(provider, self.store.history, self.fanout.telling, self.attendance.start)
        self.desk.registered, self.conducting.planner.on_let_in = traces.registered, traces.let_in
        return traces

    def _metrics(self) -> Metrics:
        conducting = self.conducting
        pools = {"shards": conducting.workers, "plans": conducting.planning}
        engine, lacking = "nats" if self.store.shared else "sqlite", (conducting.machine, conducting.writing)
        instruments = [
            *of_node(engine, self.pulse, self.engine.away, *lacking),
            *of_store(self.engine.commits),
            *of_scans(self.hub, conducting.ranks, self.desk),
            *of_work(conducting.runner, conducting.appender.outcomes, conducting.depth, pools, registry()),
            *of_push(self.fanout, self.drain, self.seats, self.sight),
            *of_tls(self.handshakes),
            *of_notify(self.courier),
        ]
        return Metrics(instruments, registry())

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Those who hear of every change of every scan."""
        with ExitStack() as stack:
            shown = [
                part.notice for part in (self.sweeper, self.metrics, self.answers, self.traces) if part is not None
            ]
            for watcher in (*self.conducting.watchers(), self.admission.notice, *shown):
                stack.enter_context(self.hub.watching_all(watcher))
            yield

    async def _caught_up(self) -> None:
        """Wait until the hub has read what the store holds: as long as that takes."""
        while True:
            try:
                await self.store.barrier()
            except StoreUnavailable as error:
                logger.warning("the server waits for its store: %s", error.detail)
                await anyio.sleep(1)
            else:
                return

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Replay what the store holds, then take up unfinished scans; on the way out let go of everything."""
        async with (
            self.conducting.planning.open(),
            self.conducting.workers.open(),
            self.attendance.open(),
            anyio.create_task_group() as tasks,
        ):
            with self._watching():
                await self.conducting.pace.recall(self.store)
                tasks.start_soon(_for_ever, self.hub.run)
                await self._caught_up()
                self.panels.forget(self.hub.digests())
                tasks.start_soon(self.conducting.pace.keep, self.store)
                tasks.start_soon(self.panels.keep_fresh, self._refresh, self.hub.digests)
                rooms = (self.pulse, self.desk, self.sweeper, self.courier, self.vigil)
                shown = [part.run for part in rooms if part is not None]
                for run in (*self.conducting.parts(), *shown):
                    tasks.start_soon(_for_ever, run)
                try:
                    yield
                finally:
                    tasks.cancel_scope.cancel()
                    if self.traces is not None:
                        await self.traces.close()


def _prepared(panel: Panel) -> Panel:
    """The panel, with all computed that requests ask of it: of a large one that takes longer than the loop has."""
    known_symbols(panel)
    listing(panel.prepared())
    return panel


async def _for_ever(run: Callable[[], Awaitable[object]]) -> None:
    """A part of the core: without it the others would answer, and nothing would get on.

    :raises RuntimeError: if it ends, and be it that somebody has cancelled its task; that ends the server
    """
    try:
        await run()
    except anyio.get_cancelled_exc_class():
        if anyio.current_effective_deadline() == -math.inf:
            raise
    raise RuntimeError(f"{getattr(run, '__qualname__', run)} has ended, and was to go on as long as the server")


async def _panels(settings: Settings, engine: Engine, directory: Path, reads: bool) -> Panels:
    market = settings.open_market()
    if engine.library is None:
        return await open_panels(market, directory, _prepared)
    try:
        return await open_common(market, directory, engine.library, _prepared, refresh=settings.refresh, reads=reads)
    except StoreUnavailable as error:
        raise EngineUnusable(f"The market data of the cluster cannot be read: {error.detail}") from error


@asynccontextmanager
async def open_core(settings: Settings, *, reads: bool = True, guard: Guard | None = None) -> AsyncIterator[Core]:
    """The core of a server with these settings, running.

    :param reads: whether the market of the settings is read here; else that of the other nodes, if there is one yet
    :param guard: who knows the callers, in place of whom the settings name
    :raises SetupError: if the data directory, the market or a setting is not as it must be
    """
    for name in BLAS_THREADS:  # inherited by the workers: one thread each, as they share the cores
        os.environ.setdefault(name, "1")
    for name, size in KEPT_MEMORY.items():
        os.environ.setdefault(name, size)
    await to_thread.run_sync(require_all, abandon_on_cancel=True)  # a plug-in may take long over its import
    sender = await open_sender(Lookup(), settings.private) if settings.told else None
    async with open_engine(settings) as engine, open_guard(settings, engine.store.key) as named:
        with panel_directory(settings.directory) as directory:
            panels = await _panels(settings, engine, directory, reads)
            core = Core(settings, engine, panels, directory, guard or named, sender)
            async with core.running():
                yield core

"""From queued to ended: lets scans in, at most so many at once, cuts them into shards, and waits for their end."""

import logging
from collections.abc import Callable, Iterable
from functools import partial

import anyio
from anyio import to_thread

from scanstream.errors import MarketError
from scanstream.jobs import Jobs, Shard
from scanstream.log.entry import AnyEntry, Cancelled, Cut, Planned, Registered, ScanFailed, ShardFailed
from scanstream.log.fold import Folded
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import Milliseconds, ScanId
from scanstream.panel import Panel
from scanstream.scans.appending import append, now
from scanstream.scans.selection import symbols_of
from scanstream.strategies.strategy import NothingToScan, Strategy, registry

MOST_SHARDS = 4096
"""Shards in one plan: logs stay short, and are kept whole."""

logger = logging.getLogger("scanstream")


class Planner:
    """The queue of scans, and the conduct of those that run."""

    def __init__(
        self, store: Store, hub: Hub, jobs: Jobs, panel_of: Callable[[str], Panel], *, max_running: int
    ) -> None:
        self._store = store
        self._hub = hub
        self._jobs = jobs
        self._panel_of = panel_of
        self._places = anyio.Semaphore(max_running)
        self._queue: dict[ScanId, None] = {}
        self._running: set[ScanId] = set()
        self._arrived = anyio.Event()

    async def run(self) -> None:
        """Conduct every queued scan, those of before a restart first."""
        with self._hub.watching_all(self._notice):
            for log in self._hub.live():
                self._notice(log)
            async with anyio.create_task_group() as conducted:
                while True:
                    await self._places.acquire()
                    conducted.start_soon(self._conduct, await self._next())

    def waiting(self) -> int:
        """How many scans wait."""
        return len(self._queue)

    def rank(self, scan_id: ScanId) -> int | None:
        """1 for the scan that is let in next; None for one that does not wait."""
        if scan_id not in self._queue:
            return None
        return list(self._queue).index(scan_id) + 1

    def _notice(self, log: ScanLog) -> None:
        scan_id = log.scan_id
        if log.ended:
            self._queue.pop(scan_id, None)
        elif log.folded.state.phase != "init" and scan_id not in self._running and scan_id not in self._queue:
            self._queue[scan_id] = None
            self._arrived.set()

    async def _next(self) -> ScanId:
        while not self._queue:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        scan_id = next(iter(self._queue))
        del self._queue[scan_id]
        self._running.add(scan_id)
        return scan_id

    async def _conduct(self, scan_id: ScanId) -> None:
        try:
            log = self._hub.get(scan_id)
            if log is None or log.ended:
                return
            if log.folded.tallies is None:
                entries = await to_thread.run_sync(self._plan, log.folded.registered)
                await append(self._store, scan_id, *entries)
            await self._hub.until(scan_id, lambda log: log.ended or log.folded.tallies is not None)
            await self._jobs.put(missing(log.folded))
            await self._attend(log)
        finally:
            with anyio.CancelScope(shield=True):
                await self._jobs.drop(scan_id)
            self._running.discard(scan_id)
            self._places.release()

    async def _attend(self, log: ScanLog) -> None:
        """See a running scan to its end: cancel it where that was asked for, end what is over its budget."""
        since = now()
        while not log.ended:
            seen = log.changed  # before what is appended here: that is a change, too, and may be the end
            if log.folded.state.phase == "cancelling":
                await append(self._store, log.scan_id, Cancelled(at=now()))
            elif late := overdue(log.folded, since, now()):
                await append(self._store, log.scan_id, *late)
            patience = max(0, next_deadline(log.folded, since) - now()) / 1000
            with anyio.move_on_after(patience):
                await self._hub.until(log.scan_id, partial(_changed_since, seen))

    def _plan(self, scan: Registered) -> list[AnyEntry]:
        try:
            panel = self._panel_of(scan.digest)
            return plan(scan, panel.select(symbols_of(scan.request, panel)), registry())
        except MarketError as error:
            logger.error("%s: %s", scan.scan_id, error.detail)  # noqa: TRY400  # said in full, and no place for a trace
            return [ScanFailed(at=now(), code=error.code, detail="Its market data is gone; start a new scan")]
        except Exception:  # a defect costs this scan, not the server with all the others
            logger.exception("%s cannot be planned", scan.scan_id)
            return [ScanFailed(at=now(), code="internal", detail="The server failed to plan it; its log says why")]


def plan(scan: Registered, panel: Panel, strategies: dict[str, Strategy]) -> list[AnyEntry]:
    """The plan of a scan as entries: the cuts, and the failure of a strategy that cannot even say what it needs."""
    cuts: dict[str, Cut] = {}
    failures: list[AnyEntry] = []
    for strategy_id in scan.budgets:
        try:
            strategy = strategies[strategy_id]
            strategy.require(panel)
            parameters = strategy.parse((scan.request.parameters or {}).get(strategy_id, {}))
            cuts[strategy_id] = Cut(strategy.units(panel, parameters), strategy.chunk)
        except NothingToScan as reason:
            cuts[strategy_id] = Cut(0, note=f"Nothing to scan: {strategy_id} {reason}")
        except MarketError as error:
            cuts[strategy_id] = Cut(1)
            failures.append(_unplanned(strategy_id, error.code, error.detail))
        except Exception as error:  # a plug-in's defect is that strategy's outcome, not the scan's
            logger.exception("%s: %s cannot be planned", scan.scan_id, strategy_id)
            cuts[strategy_id] = Cut(1)
            detail = f"cannot be planned: {type(error).__name__}: {error}"
            failures.append(_unplanned(strategy_id, "strategy_error", detail))
    total = sum(cut.shards for cut in cuts.values())
    if total > MOST_SHARDS:
        detail = f"The plan has {total} shards, and at most {MOST_SHARDS} are run; select fewer symbols or strategies"
        return [ScanFailed(at=now(), code="plan_too_large", detail=detail)]
    return [Planned(at=now(), cuts=cuts), *failures]


def _unplanned(strategy_id: str, code: str, detail: str) -> ShardFailed:
    return ShardFailed(at=now(), strategy_id=strategy_id, shard=0, reason="failed", code=code, detail=detail)


def _changed_since(seq: int, log: ScanLog) -> bool:
    return log.changed > seq


def next_deadline(folded: Folded, since: Milliseconds) -> Milliseconds:
    """When the next budget of a running scan runs out. Time before `since`, when nobody ran it, does not count."""
    scan = folded.registered
    begun = max(since, folded.started_at)
    deadlines = [begun + round(scan.budget * 1000)]
    for strategy_id, tally in (folded.tallies or {}).items():
        if tally.started_at is not None and tally.completed < tally.total:
            deadlines.append(max(since, tally.started_at) + round(scan.budgets[strategy_id] * 1000))
    return min(deadlines)


def overdue(folded: Folded, since: Milliseconds, at: Milliseconds) -> list[AnyEntry]:
    """The outcome of every missing shard whose strategy, or scan, is over its budget."""
    scan = folded.registered
    whole_scan = at >= max(since, folded.started_at) + round(scan.budget * 1000)
    late: list[AnyEntry] = []
    for strategy_id, tally in (folded.tallies or {}).items():
        budget = scan.budgets[strategy_id]
        strategy = tally.started_at is not None and at >= max(since, tally.started_at) + round(budget * 1000)
        if whole_scan or strategy:
            detail = f"The scan is over its budget of {scan.budget:g} s" if whole_scan else ""
            detail = detail or f"The strategy is over its budget of {budget:g} s"
            late += [
                ShardFailed(
                    at=at, strategy_id=strategy_id, shard=shard, reason="timed_out", code="timed_out", detail=detail
                )
                for shard in tally.missing()
            ]
    return late


def missing(folded: Folded) -> Iterable[Shard]:
    """The plan less the outcomes: what is still to run, the strategies in turn, so that each shows life early."""
    if folded.ended or folded.tallies is None:
        return []
    scan = folded.registered
    shards = [
        Shard(
            scan_id=scan.scan_id,
            strategy_id=strategy_id,
            number=number,
            start=number * cut.chunk,
            stop=min(cut.units, (number + 1) * cut.chunk),
            digest=scan.digest,
            request=scan.request,
            budget_seconds=scan.budgets[strategy_id],
        )
        for strategy_id, tally in folded.tallies.items()
        for number in tally.missing()
        for cut in [folded.cuts[strategy_id]]
    ]
    return sorted(shards, key=lambda shard: shard.number)

"""From queued to ended: lets scans in, at most so many at once, cuts them into shards, and waits for their end."""

import logging
from collections.abc import Iterable
from functools import partial

import anyio
import msgspec

from scanstream.jobs import Jobs, Shard
from scanstream.log.entry import AnyEntry, Cancelled, Cut, Planned, Registered, ScanFailed, ShardFailed
from scanstream.log.fold import Folded
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import Milliseconds, Problem, ScanId
from scanstream.scans import planning
from scanstream.scans.appending import append, now
from scanstream.scans.planning import Part, Parts, PlanJob
from scanstream.scans.processes import WORKER_DIED, Processes

MOST_SHARDS = 4096
"""Shards in one plan: logs stay short, and are kept whole."""
SECONDS_TOGETHER = 3.0
"""In which all strategies of a scan say how much there is to do; else each is asked alone, to find who hangs …"""
SECONDS_ALONE = 10.0
"""… in this time, or in its own budget where that is less."""
MOST_ATTEMPTS = 3
"""How often a strategy is asked before its worker's death counts as its answer."""

logger = logging.getLogger("scanstream")


class Planner:
    """The queue of scans, and the conduct of those that run."""

    def __init__(self, store: Store, hub: Hub, jobs: Jobs, processes: Processes, *, max_running: int) -> None:
        self._store = store
        self._hub = hub
        self._jobs = jobs
        self._processes = processes
        self._places = anyio.Semaphore(max_running)
        self._queue: dict[ScanId, None] = {}
        self._ranks: dict[ScanId, int] | None = None
        """The places in the queue, counted anew when somebody asks after it has moved."""
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
        if self._ranks is None:
            self._ranks = {waiting: index for index, waiting in enumerate(self._queue, start=1)}
        return self._ranks.get(scan_id)

    def _notice(self, log: ScanLog) -> None:
        scan_id = log.scan_id
        if log.ended:
            self._queue.pop(scan_id, None)
            self._ranks = None
        elif log.folded.state.phase != "init" and scan_id not in self._running and scan_id not in self._queue:
            self._queue[scan_id] = None
            self._ranks = None
            self._arrived.set()

    async def _next(self) -> ScanId:
        while not self._queue:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        scan_id = next(iter(self._queue))
        del self._queue[scan_id]
        self._ranks = None
        self._running.add(scan_id)
        return scan_id

    async def _conduct(self, scan_id: ScanId) -> None:
        try:
            log = self._hub.get(scan_id)
            if log is None or log.ended:
                return
            if log.folded.tallies is None and not await self._plan(log):
                return
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

    async def _plan(self, log: ScanLog) -> bool:
        """Append the plan; whether that was still wanted: a scan that ends meanwhile is not waited for."""
        entries: list[AnyEntry] = []
        with anyio.CancelScope() as scope:
            with self._hub.watching(log.scan_id, lambda log: scope.cancel() if log.ended else None):
                entries = await self._entries(log.folded.registered)
        if log.ended:
            return False
        await append(self._store, log.scan_id, *entries)
        return True

    async def _entries(self, scan: Registered) -> list[AnyEntry]:
        try:
            parts = await self._parts(scan)
        except Exception:  # a defect costs this scan, not the server with all the others
            logger.exception("%s cannot be planned", scan.scan_id)
            return [ScanFailed(at=now(), code="internal", detail="The server failed to plan it; its log says why")]
        if isinstance(parts.problem, Problem):
            return [ScanFailed(at=now(), code=parts.problem.code, detail=parts.problem.detail)]
        return plan(scan, parts.of)

    async def _parts(self, scan: Registered) -> Parts:
        """What the strategies say: together; where that fails each on its own, so that one costs the others nothing."""
        names = list(scan.budgets)
        if len(names) > 1:
            try:
                return await self._asked(scan, names, SECONDS_TOGETHER)
            except (TimeoutError, *WORKER_DIED):
                logger.warning("%s: its strategies cannot be planned together; each is asked alone", scan.scan_id)
        answers: dict[str, Parts] = {}
        async with anyio.create_task_group() as asking:
            for name in names:
                asking.start_soon(self._alone, scan, name, answers)
        problem = next((answer.problem for answer in answers.values() if answer.problem is not msgspec.UNSET), None)
        if problem is not None:
            return Parts(problem=problem)
        return Parts(of={name: answers[name].of[name] for name in names})

    async def _alone(self, scan: Registered, name: str, answers: dict[str, Parts]) -> None:
        seconds = min(SECONDS_ALONE, scan.budgets[name])
        problem = Problem("worker_died", f"its worker process died {MOST_ATTEMPTS} times as it was planned")
        for _ in range(MOST_ATTEMPTS):
            try:
                answers[name] = await self._asked(scan, [name], seconds)
            except TimeoutError:
                problem = Problem("timed_out", f"units() took longer than {seconds:g} s")
                break
            except WORKER_DIED:
                continue
            else:
                return
        logger.warning("%s: %s cannot be planned: %s", scan.scan_id, name, problem.detail)
        answers[name] = Parts(of={name: Part(problem=problem)})

    async def _asked(self, scan: Registered, names: list[str], seconds: float) -> Parts:
        job = PlanJob(scan_id=scan.scan_id, digest=scan.digest, request=scan.request, strategy_ids=names)
        encoded = await self._processes.run(planning.plan, msgspec.msgpack.encode(job), seconds=seconds)
        return msgspec.msgpack.decode(encoded, type=Parts)


def plan(scan: Registered, parts: dict[str, Part]) -> list[AnyEntry]:
    """The plan of a scan as entries: the cuts, and the failure of each strategy that could not say what it needs."""
    cuts: dict[str, Cut] = {}
    failures: list[AnyEntry] = []
    for strategy_id in scan.budgets:
        part = parts[strategy_id]
        cut = Cut(part.units, part.chunk, note=part.note)
        problem = part.problem
        if problem is msgspec.UNSET and cut.shards > MOST_SHARDS:
            problem = Problem("plan_too_large", f"It has {cut.shards:,} shards, and at most {MOST_SHARDS:,} are run")
        if isinstance(problem, Problem):
            cut = Cut(1)
            failures.append(_unplanned(strategy_id, problem))
        cuts[strategy_id] = cut
    total = sum(cut.shards for cut in cuts.values())
    if total > MOST_SHARDS:
        detail = f"The plan has {total} shards, and at most {MOST_SHARDS} are run; select fewer symbols or strategies"
        return [ScanFailed(at=now(), code="plan_too_large", detail=detail)]
    return [Planned(at=now(), cuts=cuts), *failures]


def _unplanned(strategy_id: str, problem: Problem) -> ShardFailed:
    late = problem.code == "timed_out"
    return ShardFailed(
        at=now(),
        strategy_id=strategy_id,
        shard=0,
        reason="timed_out" if late else "failed",
        code=problem.code,
        detail=problem.detail,
    )


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

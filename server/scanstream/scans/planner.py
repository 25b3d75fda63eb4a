"""From let in to ended: cuts scans into shards, and waits for their end."""

import heapq
import logging
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TypeAlias

import anyio
from anyio.lowlevel import checkpoint
from msgspec import UNSET

from scanstream.errors import Restarting
from scanstream.jobs import Call, Calls, Jobs, Shard
from scanstream.log.entry import AnyEntry, Cancelled, Cut, Planned, Registered, ScanFailed, ShardFailed
from scanstream.log.fold import Folded
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.log.tally import Tally
from scanstream.model import Problem, ScanId, now
from scanstream.scans.appending import Appender
from scanstream.scans.budget import Budgets, ScanBudget, limited
from scanstream.scans.inquiry import Inquiry
from scanstream.scans.work.planning import Part

MOST_SHARDS = 4096
"""Shards in one plan: logs stay short, and are kept whole."""
STOPPING_SECONDS = 2.0
"""How long the end of a cancelled scan waits for its shards to stop."""
UNWANTED_SECONDS = 1.0
"""How long the plan of a scan that has ended may take to be made: then the process that makes it is ended."""
UNSTOPPED_SECONDS = 5.0
"""How long a shard that is over its time may take to stop."""
MOST_OVERDUE_AT_ONCE = 256
"""Outcomes of shards that are over their time, in one append: the loop has others to serve between two …"""
MOST_PUT_AT_ONCE = 256
"""… and shards that are put into their queue together."""

logger = logging.getLogger("scanstream")

Places: TypeAlias = Callable[[str], int]
"""How many shards of a strategy, by its id, are run at once where nothing else is."""


class Planner:
    """The conduct of the scans that were let in."""

    def __init__(
        self,
        appender: Appender,
        hub: Hub,
        jobs: Jobs,
        calls: Calls,
        inquiry: Inquiry,
        budgets: Budgets,
        places: Places,
    ) -> None:
        self._append = appender.append
        self._hub = hub
        self._jobs = jobs
        self._calls = calls
        self._inquiry = inquiry
        self._budgets = budgets
        self._most_at_once = places

    async def run(self) -> None:
        """Conduct every scan that is let in."""
        async with anyio.create_task_group() as conducted:
            async for call in self._calls.granted():
                conducted.start_soon(self._conduct, call)

    async def _conduct(self, call: Call) -> None:
        over = False
        try:
            await self._see_through(call.scan_id)
            over = True
        except Restarting:
            return  # the feed has ended, and this task has not heard of the stop yet: the next server goes on
        finally:
            with anyio.CancelScope(shield=True):
                if over:
                    await self._jobs.drop(call.scan_id)
                await (call.done() if over else call.give_back())

    async def _see_through(self, scan_id: ScanId) -> None:
        """Conduct the scan to its end, from wherever its log has come."""
        log = self._hub.get(scan_id)
        if log is None or log.ended:
            return
        could = partial(_could, log, self._most_at_once)
        with self._budgets.letting_in(log.folded.registered, could) as budget:
            if log.folded.tallies is None and not await self._plan(log, budget):
                return
            if log.folded.state.phase != "cancelling":
                await self._put(missing(log.folded))
            await self._attend(log, budget)

    async def _put(self, shards: Iterator[Shard]) -> None:
        """Into the queue of shards, some at a time."""
        while some := list(islice(shards, MOST_PUT_AT_ONCE)):
            await self._jobs.put(some)
            await checkpoint()

    async def _attend(self, log: ScanLog, budget: ScanBudget) -> None:
        """See a running scan to its end: cancel it where that was asked for, end what is over its budget."""
        while not log.ended:
            seen = log.changed  # before what is appended here: that is a change, too, and may be the end
            if log.folded.state.phase == "cancelling":
                await _stopped(budget)
                await self._append(log.scan_id, Cancelled(at=now()))
            else:
                late = overdue(log.folded, budget)
                for start in range(0, len(late), MOST_OVERDUE_AT_ONCE):
                    await self._append(log.scan_id, *late[start : start + MOST_OVERDUE_AT_ONCE])
            with anyio.move_on_after(budget.patience(unfinished(log.folded))):
                await self._hub.until(log.scan_id, partial(_changed_since, seen))

    async def _plan(self, log: ScanLog, budget: ScanBudget) -> bool:
        """Append the plan; whether that was still wanted: a scan that ends meanwhile is not waited for much longer.

        Not cut off at once: that costs its process, and to start another one costs more than most plans.
        """
        with anyio.CancelScope() as scope:

            def notice(log: ScanLog) -> None:
                if log.ended:
                    scope.deadline = anyio.current_time() + UNWANTED_SECONDS

            with self._hub.watching(log.scan_id, notice):
                entries = await self._entries(log.folded.registered, budget)
                if not log.ended:
                    await self._append(log.scan_id, *entries)
        return not log.ended

    async def _entries(self, scan: Registered, budget: ScanBudget) -> list[AnyEntry]:
        try:
            parts = await limited(budget.left_of_scan, partial(self._inquiry.ask, scan))
        except TimeoutError:
            detail = f"It could not be planned within its budget of {scan.budget:g} s"
            return [ScanFailed(at=now(), code="timed_out", detail=detail)]
        except Exception:  # a defect costs this scan, not the server with all the others
            logger.exception("%s cannot be planned", scan.scan_id)
            return [ScanFailed(at=now(), code="internal", detail="The server failed to plan it; its log says why")]
        if isinstance(parts.problem, Problem):
            return [ScanFailed(at=now(), code=parts.problem.code, detail=parts.problem.detail)]
        return plan(scan, parts.of)


def plan(scan: Registered, parts: dict[str, Part]) -> list[AnyEntry]:
    """The plan of a scan as entries: the cuts, and the failure of each strategy that could not say what it needs."""
    cuts: dict[str, Cut] = {}
    failures: list[AnyEntry] = []
    for strategy_id in scan.budgets:
        part = parts[strategy_id]
        cut = Cut(part.units, part.chunk, note=part.note)
        problem = part.problem
        if problem is UNSET and cut.shards > MOST_SHARDS:
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


def _could(log: ScanLog, places: Places, strategy_id: str) -> int:
    """How many shards of a strategy could be at work just now: no more than are left."""
    tally = (log.folded.tallies or {}).get(strategy_id)
    left = tally.total - tally.completed if tally else 1
    return max(1, min(left, places(strategy_id)))


def unfinished(folded: Folded) -> list[str]:
    """The strategies that have begun and not ended: whose time may run out."""
    tallies = (folded.tallies or {}).items()
    return [name for name, tally in tallies if tally.started_at is not None and tally.completed < tally.total]


async def _stopped(budget: ScanBudget) -> None:
    """Wait until the shards of a scan that is cancelled have stopped: what they had found by then is kept."""
    with anyio.move_on_after(STOPPING_SECONDS):
        while budget.at_work():  # noqa: ASYNC110  # a stopwatch calls nobody
            await anyio.sleep(STOPPING_SECONDS / 100)


def overdue(folded: Folded, budget: ScanBudget) -> list[AnyEntry]:
    """The outcome of every missing shard whose strategy, or scan, is over its budget.

    Not of a strategy while shards of it are at work: whoever runs them stops them just now, and knows what they found;
    unless one of them does not stop.
    """
    scan = folded.registered
    at = now()
    whole_scan = budget.left_of_scan() <= 0
    late: list[AnyEntry] = []
    for strategy_id, tally in (folded.tallies or {}).items():
        if whole_scan:
            detail = f"The scan is over its budget of {scan.budget:g} s"
        elif budget.left(strategy_id) <= (-UNSTOPPED_SECONDS if budget.at_work(strategy_id) else 0):
            detail = f"The strategy is over its budget of {scan.budgets[strategy_id]:g} s"
        else:
            continue
        late += [
            ShardFailed(
                at=at, strategy_id=strategy_id, shard=shard, reason="timed_out", code="timed_out", detail=detail
            )
            for shard in tally.missing()
        ]
    return late


def missing(folded: Folded) -> Iterator[Shard]:
    """The plan less the outcomes: what is still to run, the strategies in turn, so that each shows life early.

    Made as they are taken: there may be thousands.
    """
    if folded.ended or folded.tallies is None:
        return iter(())
    each = (_missing(folded.registered, name, tally, folded.cuts[name]) for name, tally in folded.tallies.items())
    return heapq.merge(*each, key=lambda shard: shard.number)


def _missing(scan: Registered, strategy_id: str, tally: Tally, cut: Cut) -> Iterator[Shard]:
    for number in tally.missing():
        yield Shard(
            scan_id=scan.scan_id,
            strategy_id=strategy_id,
            number=number,
            start=number * cut.chunk,
            stop=min(cut.units, (number + 1) * cut.chunk),
            digest=scan.digest,
            request=scan.request,
            budget_seconds=scan.budgets[strategy_id],
        )

"""From let in to ended: cuts scans into shards, and waits for their end."""

import logging
from collections.abc import Container
from contextlib import AbstractContextManager
from functools import partial

import anyio
from msgspec import UNSET

from scanstream.errors import Restarting
from scanstream.jobs import Call, Calls, Jobs
from scanstream.log.entry import AnyEntry, Cancelled, Cut, Planned, Registered, ScanFailed, ShardFailed
from scanstream.log.fold import Folded
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.model import Problem, ScanId, now
from scanstream.scans.appending import Appender
from scanstream.scans.budget import Budgets, ScanBudget, limited
from scanstream.scans.inquiry import Inquiry
from scanstream.scans.places import Places, possible
from scanstream.scans.supply import Supply, Window
from scanstream.scans.view import View
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
"""Outcomes of shards that are over their time, in one append: the loop has others to serve between two."""
SWEEP_SECONDS = 10.0
"""Where several nodes share the queue of shards: from one look at whether a shard got lost there to the next."""
LEFT_SECONDS = 1.0
"""How long a scan that is left to other nodes is kept from them: it would be back here at once."""
LAST_SECONDS = 5.0
"""In which a scan that has ended, or that another node is to go on with, is let go."""

logger = logging.getLogger("scanstream")


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
        view: View,
        places: Places,
        window: Window = lambda _: None,
    ) -> None:
        """:param window: how many shards of one scan are in the queue or at work at once"""
        self._append = appender.append
        self._hub = hub
        self._jobs = jobs
        self._calls = calls
        self._inquiry = inquiry
        self._budgets = budgets
        self._view = view
        self._most_at_once = places
        self._window = window

    async def run(self) -> None:
        """Conduct every scan that is let in."""
        async with anyio.create_task_group() as conducted:
            async for call in self._calls.granted():
                conducted.start_soon(self._conduct, call)

    async def _conduct(self, call: Call) -> None:
        over = False
        try:
            await self._see_through(call.scan_id)
            over = not self._view.leaves(call.scan_id)
            if not over:
                await anyio.sleep(LEFT_SECONDS)
        except Restarting:
            return  # the feed has ended, and this task has not heard of the stop yet: the next server goes on
        finally:
            with anyio.move_on_after(LAST_SECONDS, shield=True):
                if over:
                    await self._jobs.drop(call.scan_id)
                await (call.done() if over else call.give_back())

    async def _see_through(self, scan_id: ScanId) -> None:
        """Conduct the scan to its end, from wherever its log has come."""
        log = await self._view.newest(scan_id)
        if log is None or log.ended:
            return
        with self._let_in(log) as budget:
            if log.folded.tallies is None and not await self._plan(log, budget):
                return
            await self._attend(log, budget)

    def _let_in(self, log: ScanLog) -> AbstractContextManager[ScanBudget]:
        could, since = partial(possible, log, self._most_at_once), 0.0
        if self._view.shared and log.folded.tallies is not None:  # another node conducted it, until it died
            since = (log.folded.at - log.folded.started_at) / 1000
        return self._budgets.letting_in(log.folded.registered, could, since)

    async def _attend(self, log: ScanLog, budget: ScanBudget) -> None:
        """See a running scan to its end: cancel it where that was asked for, end what is over its budget."""
        supply, swept = Supply(log.folded, self._jobs, self._window), anyio.current_time()
        while not log.over:
            seen = log.changed  # before what is appended here: that is a change, too, and may be the end
            if log.folded.state.phase == "cancelling":
                await self._stopped(log.scan_id, budget)
                await self._append(log.scan_id, Cancelled(at=now()))
            else:
                await supply.refill(log.folded)
                late = overdue(log.folded, budget, await self._elsewhere(log, budget))
                for start in range(0, len(late), MOST_OVERDUE_AT_ONCE):
                    await self._append(log.scan_id, *late[start : start + MOST_OVERDUE_AT_ONCE])
            if self._view.shared and anyio.current_time() - swept > SWEEP_SECONDS:
                await supply.again(log.folded)
                swept = anyio.current_time()
            with anyio.move_on_after(min(budget.patience(unfinished(log.folded)), SWEEP_SECONDS)):
                await self._hub.until(log.scan_id, partial(_changed_since, seen))

    async def _elsewhere(self, log: ScanLog, budget: ScanBudget) -> set[str]:
        """The strategies whose time is over while other nodes may have shards of them."""
        over = [name for name in unfinished(log.folded) if budget.left(name) <= 0]
        return {name for name in over if await self._jobs.elsewhere(log.scan_id, name)}

    async def _stopped(self, scan_id: ScanId, budget: ScanBudget) -> None:
        """Wait until the shards of a scan that is cancelled have stopped: what they had found by then is kept."""
        with anyio.move_on_after(STOPPING_SECONDS):
            while budget.at_work() or await self._jobs.elsewhere(scan_id):  # noqa: ASYNC110  # neither calls anybody
                await anyio.sleep(STOPPING_SECONDS / 100)

    async def _plan(self, log: ScanLog, budget: ScanBudget) -> bool:
        """Append the plan; whether that was still wanted: a scan that ends meanwhile is not waited for much longer.

        Not cut off at once: that costs its process, and to start another one costs more than most plans.
        """
        with anyio.CancelScope() as scope:

            def notice(log: ScanLog) -> None:
                if log.over:
                    scope.deadline = anyio.current_time() + UNWANTED_SECONDS

            with self._hub.watching(log.scan_id, notice):
                entries = await self._entries(log.folded.registered, budget)
                if not log.over:
                    await self._append(log.scan_id, *entries)
        return not log.over

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


def unfinished(folded: Folded) -> list[str]:
    """The strategies that have begun and not ended: whose time may run out."""
    tallies = (folded.tallies or {}).items()
    return [name for name, tally in tallies if tally.started_at is not None and tally.completed < tally.total]


def overdue(folded: Folded, budget: ScanBudget, elsewhere: Container[str] = ()) -> list[AnyEntry]:
    """The outcome of every missing shard whose strategy, or scan, is over its budget.

    Not of a strategy while shards of it are at work: whoever runs them stops them just now, and knows what they found;
    unless one of them does not stop. `elsewhere`: the strategies of which other nodes may have shards.
    """
    scan = folded.registered
    at = now()
    whole_scan = budget.left_of_scan() <= 0
    late: list[AnyEntry] = []
    for strategy_id, tally in (folded.tallies or {}).items():
        at_work = budget.at_work(strategy_id) or strategy_id in elsewhere
        if whole_scan:
            detail = f"The scan is over its budget of {scan.budget:g} s"
        elif budget.left(strategy_id) <= (-UNSTOPPED_SECONDS if at_work else 0):
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

"""From let in to ended: cuts scans into shards, and waits for their end."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Container
from contextlib import AbstractContextManager
from functools import partial

import anyio
from msgspec import UNSET

from scanstream.about import about
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
from scanstream.scans.returns import LOST, MOST_DEATHS, LastTry, NotHere
from scanstream.scans.skills import Skills, cut_with, named
from scanstream.scans.supply import Supply, Windows
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
RETURN_SECONDS = 1.0
"""How long a scan is kept from all nodes that one of them has handed back, as another is to conduct it."""
PARTLY_SECONDS = 30.0
"""How long a scan waits for a strategy that no node has, while there are others in it: somebody may be restarting."""
MOST_TOLD = 1000
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
        skills: Skills,
        last_try: LastTry,
        windows: Windows = lambda _, __: None,
    ) -> None:
        """:param windows: how many shards of one scan of a principal's are in the queue or at work at once"""
        self._append = appender.append
        self._hub = hub
        self._jobs = jobs
        self._calls = calls
        self._inquiry = inquiry
        self._budgets = budgets
        self._view = view
        self._most_at_once = places
        self._skills = skills
        self._last_try = last_try
        self._told: OrderedDict[ScanId, None] = OrderedDict()
        """Scans of which the log says that they wait for a node that can run them."""
        self._windows = windows
        self.on_let_in: Callable[[ScanId], None] | None = None
        """Called with each scan that is let in here to be planned."""

    async def run(self) -> None:
        """Conduct every scan that is let in."""
        async with anyio.create_task_group() as conducted:
            async for call in self._calls.granted():
                conducted.start_soon(self._conduct_one, call)

    async def _conduct_one(self, call: Call) -> None:
        with about(scan_id=call.scan_id):
            await self._conduct(call)

    async def _conduct(self, call: Call) -> None:
        over, after = False, 0.0
        try:
            await self._see_through(call)
            over = not self._view.leaves(call.scan_id)
            if not over:
                await anyio.sleep(LEFT_SECONDS)
        except NotHere:
            after = RETURN_SECONDS
        except Restarting:
            return  # the feed has ended, and this task has not heard of the stop yet: the next server goes on
        finally:
            with anyio.move_on_after(LAST_SECONDS, shield=True):
                await (call.done() if over else call.give_back(after))
                if over:
                    await self._jobs.drop(call.scan_id)  # what is left of it is nobody's work: this may take its time

    async def _see_through(self, call: Call) -> None:
        """Conduct the scan to its end, from wherever its log has come.

        :raises NotHere: if another node is to do so
        """
        log = await self._view.newest(call.scan_id)
        if log is None or log.ended or not await self._can_be_run(call, log):
            return
        with self._let_in(log) as budget:
            if log.folded.tallies is None:
                if self.on_let_in is not None:
                    self.on_let_in(log.scan_id)
                deaths = await call.deaths()
                if deaths >= MOST_DEATHS:
                    detail = f"It could not be planned: {LOST.format(deaths, 'planned')}"
                    await self._append(log.scan_id, ScanFailed(at=now(), code="worker_died", detail=detail))
                    return
                with self._last_try.after(deaths):
                    if not await self._plan(log, budget):
                        return
            await self._attend(log, budget)

    async def _can_be_run(self, call: Call, log: ScanLog) -> bool:
        """Whether this node has the strategies; without those that nobody has, if others are left and it has waited.

        Where nobody has what it takes the scan ends when it has waited for as long as it may run.

        :raises NotHere: if another node has them, or may have them yet
        """
        folded = log.folded
        wants = dict.fromkeys(folded.registered.budgets if folded.tallies is None else cut_with(folded), "")
        if folded.state.phase == "cancelling" or self._skills.here(wants):
            return True
        lacking = self._skills.lacking(wants)
        rest = {name: "" for name in wants if name not in lacking}
        if rest and (not lacking or not self._skills.here(rest)) and self._skills.anywhere(rest):
            raise NotHere
        waited, budget = await call.waits(), folded.registered.budget
        if rest and self._skills.here(rest) and waited >= PARTLY_SECONDS:
            return True
        whom = named(dict.fromkeys(lacking or wants, ""))
        if waited < budget:
            self._say(log.scan_id, f"no node that runs shards has {whom}")
            raise NotHere
        detail = f"No node that runs shards has {whom}; the scan has waited for one for its budget of {budget:g} s"
        await self._append(log.scan_id, ScanFailed(at=now(), code="timed_out", detail=detail))
        return False

    def _say(self, scan_id: ScanId, why: str) -> None:
        """Say once why the scan, or a part of it, waits."""
        if scan_id not in self._told:
            self._told[scan_id] = None
            if len(self._told) > MOST_TOLD:
                self._told.popitem(last=False)
            logger.warning("%s waits: %s", scan_id, why)

    def _let_in(self, log: ScanLog) -> AbstractContextManager[ScanBudget]:
        could, since = partial(possible, log, self._most_at_once), 0.0
        if self._view.shared and log.folded.tallies is not None:  # another node conducted it, until it died
            since = (log.folded.at - log.folded.started_at) / 1000
        return self._budgets.letting_in(log.folded.registered, could, since)

    async def _attend(self, log: ScanLog, budget: ScanBudget) -> None:
        """See a running scan to its end: cancel it where that was asked for, end what is over its budget."""
        lacking = partial(self._lacking, log)
        window = partial(self._windows, log.folded.registered.principal)
        supply, swept = Supply(log.folded, self._jobs, window, lacking), anyio.current_time()
        while not log.over:
            seen = log.changed  # before what is appended here: that is a change, too, and may be the end
            if log.folded.state.phase == "cancelling":
                await self._stopped(log.scan_id, budget)
                await self._append(log.scan_id, Cancelled(at=now()))
            else:
                await supply.refill(log.folded)
                late = overdue(log.folded, budget, await self._elsewhere(log, budget), lacking())
                for start in range(0, len(late), MOST_OVERDUE_AT_ONCE):
                    await self._append(log.scan_id, *late[start : start + MOST_OVERDUE_AT_ONCE])
            if self._view.shared and anyio.current_time() - swept > SWEEP_SECONDS:
                await supply.again(log.folded)
                swept = anyio.current_time()
            most = RETURN_SECONDS if lacking() else SWEEP_SECONDS
            with anyio.move_on_after(min(budget.patience(unfinished(log.folded)), most)):
                await self._hub.until(log.scan_id, partial(_changed_since, seen))

    def _lacking(self, log: ScanLog) -> dict[str, str]:
        """The strategies of the scan that no node can run just now, and in which release."""
        if not self._skills.shared:
            return {}
        wants = cut_with(log.folded)
        lacking = {name: wants[name] for name in self._skills.lacking(wants)}
        if lacking:
            self._say(log.scan_id, f"no node that runs shards has {named(lacking)}")
        return lacking

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
                entries = await self._entries(log.folded.registered, budget)  # raises NotHere
                if not log.over:
                    await self._append(log.scan_id, *entries)
        return not log.over

    async def _entries(self, scan: Registered, budget: ScanBudget) -> list[AnyEntry]:
        try:
            parts = await limited(budget.left_of_scan, partial(self._inquiry.ask, scan))
        except NotHere:
            raise
        except TimeoutError:
            detail = f"It could not be planned within its budget of {scan.budget:g} s"
            return [ScanFailed(at=now(), code="timed_out", detail=detail)]
        except Exception:  # a defect costs this scan, not the server with all the others
            logger.exception("%s cannot be planned", scan.scan_id)
            return [ScanFailed(at=now(), code="internal", detail="The server failed to plan it; its log says why")]
        if isinstance(parts.problem, Problem):
            return [ScanFailed(at=now(), code=parts.problem.code, detail=parts.problem.detail)]
        return plan(scan, self._checked(parts.of) if self._skills.shared else parts.of)

    def _checked(self, parts: dict[str, Part]) -> dict[str, Part]:
        """The same, where a strategy that is absent is one that nobody has.

        One that is here now in another release than at the start is absent as well: no node would run its shards.

        :raises NotHere: if another node may have it
        """
        absent = {
            name: "" for name, part in parts.items() if part.absent or not self._skills.here({name: part.release})
        }
        for name in absent:
            self._skills.lose(name)
        if any(self._skills.anywhere({name: ""}) for name in absent):
            raise NotHere
        nobody = Part(problem=Problem("strategy_error", "no node that runs shards has it"))
        return {**parts, **dict.fromkeys(absent, nobody)}


def plan(scan: Registered, parts: dict[str, Part]) -> list[AnyEntry]:
    """The plan of a scan as entries: the cuts, and the failure of each strategy that could not say what it needs."""
    cuts: dict[str, Cut] = {}
    failures: list[AnyEntry] = []
    for strategy_id in scan.budgets:
        part = parts[strategy_id]
        cut = Cut(part.units, part.chunk, note=part.note, release=part.release)
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


def overdue(
    folded: Folded, budget: ScanBudget, elsewhere: Container[str] = (), lacking: Container[str] = ()
) -> list[AnyEntry]:
    """The outcome of every missing shard whose strategy, or scan, is over its budget.

    Not of a strategy while shards of it are at work: whoever runs them stops them just now, and knows what they found;
    unless one of them does not stop.

    :param elsewhere: the strategies of which other nodes may have shards
    :param lacking: those that no node can run
    """
    scan = folded.registered
    at = now()
    whole_scan = budget.left_of_scan() <= 0
    late: list[AnyEntry] = []
    for strategy_id, tally in (folded.tallies or {}).items():
        at_work = budget.at_work(strategy_id) or strategy_id in elsewhere
        if whole_scan:
            why = ", and no node that runs shards has this strategy" if strategy_id in lacking else ""
            detail = f"The scan is over its budget of {scan.budget:g} s{why}"
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

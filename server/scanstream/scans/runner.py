"""Runs leased shards, in worker processes or in the loop (waiting.py), and writes each outcome into the log."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec import UNSET, UnsetType

from scanstream.about import about
from scanstream.jobs import Lease, Shard, ShardName
from scanstream.log.entry import AnyEntry, ShardDone, ShardFailed, ShardFound, ShardStarted, parts
from scanstream.log.hub import Hub
from scanstream.log.refold import Slices, let_go
from scanstream.log.scanlog import ScanLog
from scanstream.model import Opportunity, Problem, ScanId, now
from scanstream.scans.appending import Appender
from scanstream.scans.budget import Budgets, ScanBudget, Seconds, limited
from scanstream.scans.places import Places, possible
from scanstream.scans.returns import LOST, MOST_DEATHS, LastTry, NotHere, Returns
from scanstream.scans.shards import shard_of
from scanstream.scans.skills import Skills
from scanstream.scans.tries import Tries
from scanstream.scans.view import View
from scanstream.scans.work import offspring
from scanstream.scans.work import shard as worker
from scanstream.scans.work.processes import Processes, WorkerDied, pause_after
from scanstream.scans.work.steps import Blocks
from scanstream.scans.work.waiting import Lanes, Wait
from scanstream.scans.work.watch import Watch
from scanstream.strategies.installed import registry

MOST_ATTEMPTS = 3
"""How often a shard is begun before its worker's death counts as its outcome."""
MOST_SHORT_ATTEMPTS = 8
"""How often a shard is begun whose strategy itself finds that the machine lacks something; then that is its outcome, as
it may be the strategy that takes it all."""
LONGEST_PAUSE_SECONDS = 10.0
"""Between two such attempts."""
LAST_SECONDS = 3.0
"""In which a shard that is over, or that another node is to run, is let go."""

LEFT_SECONDS = 1.0
"""How long a shard of a scan that is left to other nodes is kept from them: it would be back here at once."""

TOO_LONG = "it took longer than its budget of {:g} s"

logger = logging.getLogger("scanstream")

Way: TypeAlias = Callable[[Shard, ScanBudget], Awaitable[worker.Outcome]]
"""How a shard is run; raises TimeoutError when nothing is left of its strategy's budget."""


class Runner:
    """As many shards at once as there are worker processes; and beside them those that only wait for input."""

    def __init__(
        self,
        appender: Appender,
        hub: Hub,
        jobs: Lanes,
        processes: Processes,
        budgets: Budgets,
        tries: Tries,
        view: View,
        places: Places,
        skills: Skills,
        last_try: LastTry,
        *,
        most_in_loop: int,
    ) -> None:
        self._append = appender.append
        self._hub = hub
        self._jobs = jobs
        self._processes = processes
        self._budgets = budgets
        self._tries = tries
        self._view = view
        self._places = places
        self._skills = skills
        self._last_try = last_try
        self._returns = Returns()
        self._most_in_loop = most_in_loop
        self.blocks = Blocks()
        self._watch = Watch(self.blocks, registry().values())
        self._scopes: dict[ScanId, dict[tuple[str, int], anyio.CancelScope]] = {}

    async def run(self) -> None:
        """Run shards as long as there are leases."""
        offspring.attend(asyncio.get_running_loop())
        with self._hub.watching_all(self._notice):
            async with anyio.create_task_group() as shards:
                shards.start_soon(self._watch.run)
                shards.start_soon(self._compute, shards)
                shards.start_soon(self._wait, shards)

    async def _compute(self, shards: TaskGroup) -> None:
        leases, places = self._jobs.leases(), anyio.Semaphore(self._processes.most)
        while True:
            await places.acquire()
            shards.start_soon(self._work, await anext(leases), self._in_process, places.release)

    async def _wait(self, shards: TaskGroup) -> None:
        leases, places = self._jobs.waiting_leases(), anyio.Semaphore(self._most_in_loop)
        while True:
            await places.acquire()
            shards.start_soon(self._work, await anext(leases), self._in_loop, places.release)

    def running(self) -> int:
        """How many shards run."""
        return sum(map(len, self._scopes.values()))

    def at_work(self, scan_id: ScanId) -> dict[str, int]:
        """How many shards of each strategy of the scan run here."""
        return dict(Counter(strategy_id for strategy_id, _ in self._scopes.get(scan_id, ())))

    def _notice(self, log: ScanLog) -> None:
        """Stop what is still running and not wanted any more."""
        for (strategy_id, number), scope in self._scopes.get(log.scan_id, {}).items():
            if log.left or not log.folded.wants(strategy_id, number):
                scope.cancel()

    async def _work(self, lease: Lease, way: Way, leave: Callable[[], None]) -> None:
        shard = lease.shard
        with about(scan_id=shard.scan_id, strategy=shard.strategy_id, shard=shard.number):
            await self._seen_through(lease, way, leave)

    async def _seen_through(self, lease: Lease, way: Way, leave: Callable[[], None]) -> None:
        over, again, gone = False, None, False
        try:
            try:
                again = await self._attempt(lease, way)
            except NotHere:
                await lease.give_back(tried=False)
                gone = True
                await anyio.sleep(self._returns.pause(lease.shard))  # in its place: others are asked meanwhile
            finally:
                lease.leave()
                leave()
            left = self._view.leaves(lease.shard.scan_id)  # then a node that understands its log runs it
            if again is not None or left:
                await anyio.sleep(LEFT_SECONDS if again is None else again)
            over = not left and not gone
        finally:
            with anyio.move_on_after(LAST_SECONDS, shield=True):
                if over and again is None:
                    await lease.done()
                elif not gone:
                    await lease.give_back(tried=over)

    @contextmanager
    def _stoppable(self, shard: ShardName) -> Iterator[None]:
        """The shard is at work in here; it is stopped when it is not wanted any more."""
        scopes = self._scopes.setdefault(shard.scan_id, {})
        scope = scopes[shard.strategy_id, shard.number] = anyio.CancelScope()
        try:
            with scope:
                yield
        finally:
            if scopes.get((shard.strategy_id, shard.number)) is scope:
                del scopes[shard.strategy_id, shard.number]
            if not scopes and self._scopes.get(shard.scan_id) is scopes:
                del self._scopes[shard.scan_id]

    async def _attempt(self, lease: Lease, way: Way) -> Seconds | None:
        """Run the shard, and append its outcome; where there is none yet, how long until the next attempt.

        :raises NotHere: if another node is to run it
        """
        log = await self._view.planned(lease.shard.scan_id)
        budget = None if log is None else self._budget(log)
        if log is None or budget is None or not log.folded.wants(lease.shard.strategy_id, lease.shard.number):
            return None
        shard = shard_of(log.folded, lease.shard, strict=self._view.shared)
        if lease.deaths >= MOST_DEATHS:
            lost = _failed(shard, "worker_died", LOST.format(lease.deaths, "ran"))
            await self._append(shard.scan_id, lost)
            return None
        if not self._skills.here({shard.strategy_id: shard.release}):
            raise NotHere
        outcome: list[AnyEntry] | Seconds | None = []  # as when it is stopped
        with self._last_try.after(lease.deaths), self._stoppable(lease.shard):
            async with anyio.create_task_group() as noting:
                if not self._view.shared or not _begun(log, shard.strategy_id):
                    started = ShardStarted(at=now(), strategy_id=shard.strategy_id, shard=shard.number)
                    noting.start_soon(self._append, shard.scan_id, started)
                outcome = await self._outcome(shard, lease.attempt, partial(way, shard, budget))
        if outcome is None:
            raise NotHere
        if not isinstance(outcome, list):
            return outcome
        if outcome:
            await self._close(shard, outcome, budget)
        return None

    async def _close(self, shard: Shard, outcome: list[AnyEntry], budget: ScanBudget) -> None:
        """Append the outcome; not within `_stoppable`, which ends by that: nothing would be let go bit by bit."""
        if isinstance(outcome[-1], ShardDone):
            budget.ran(shard.strategy_id, outcome[-1].elapsed_ms)
        await self._append(shard.scan_id, *outcome)
        await let_go(outcome)

    def _budget(self, log: ScanLog) -> ScanBudget | None:
        """What is left of the scan; None if it is not conducted (any more)."""
        if not self._view.shared:
            return self._budgets.of(log.scan_id)
        return self._budgets.sharing(log.folded.registered, partial(possible, log, self._places))

    async def _outcome(
        self, shard: Shard, attempt: int, run: Callable[[], Awaitable[worker.Outcome]]
    ) -> list[AnyEntry] | Seconds | None:
        """The entries that say how it came out, or how long until another attempt; None: another node is to run it."""
        try:
            return self._judged(shard, attempt, await self._tries.until_possible(run, shard.digest))
        except NotHere:  # this machine lacks what it takes
            return None
        except TimeoutError:
            return [_failed(shard, "timed_out", TOO_LONG.format(shard.budget_seconds))]
        except WorkerDied as death:
            logger.warning("%s: a worker died on %s/%d", shard.scan_id, shard.strategy_id, shard.number)
            if attempt < MOST_ATTEMPTS:
                return pause_after(death, attempt)
            return [_failed(shard, "worker_died", f"its worker process died {attempt} times")]
        except Exception:  # a defect costs this shard, not the server with all the others
            logger.exception("%s: %s/%d cannot be run", shard.scan_id, shard.strategy_id, shard.number)
            return [_failed(shard, "internal", "the server failed to run it; its log says why")]

    def _judged(self, shard: Shard, attempt: int, outcome: worker.Outcome) -> list[AnyEntry] | Seconds | None:
        """See `_outcome`."""
        if outcome.absent and self._skills.shared:
            self._skills.lose(shard.strategy_id)
            return None
        if outcome.lacking and attempt < MOST_SHORT_ATTEMPTS:
            return min(2.0 ** (attempt - 1), LONGEST_PAUSE_SECONDS)
        return _entries(shard, outcome)

    async def _in_loop(self, shard: Shard, budget: ScanBudget) -> worker.Outcome:
        left = partial(budget.left, shard.strategy_id)
        wait = Wait(shard, self._processes.panels, partial(self._keep, shard), self.blocks)
        with budget.running(shard.strategy_id), self._watch.over():
            try:
                return await limited(left, wait.run)
            except TimeoutError:
                problem = Problem("timed_out", TOO_LONG.format(shard.budget_seconds))
                return worker.Outcome(error=problem, note=wait.note())

    async def _keep(self, shard: Shard, found: list[Opportunity]) -> None:
        await self._append(shard.scan_id, *parts(shard.strategy_id, shard.number, found, now()))

    async def _in_process(self, shard: Shard, budget: ScanBudget) -> worker.Outcome:
        job = msgspec.msgpack.encode(shard)
        left = partial(budget.left, shard.strategy_id)
        pieces = await self._processes.run(worker.run, job, left=left, at_work=budget.running(shard.strategy_id))
        outcome = await unpacked(pieces)
        if outcome.lacking:
            self._processes.renew()
        return outcome


async def unpacked(pieces: list[bytes]) -> worker.Outcome:
    """What a worker says of a shard: decoding is validation, part by part, so that the loop goes on between.

    Takes the pieces out of their list.
    """
    pieces.reverse()
    outcome = msgspec.msgpack.decode(pieces.pop(), type=worker.Outcome)
    slices = Slices()
    try:
        while pieces:
            outcome.parts.append(msgspec.msgpack.decode(pieces.pop(), type=ShardFound))
            await slices.turn()
    except BaseException:
        with anyio.CancelScope(shield=True):
            await let_go(outcome.parts)
        raise
    return outcome


def _begun(log: ScanLog, strategy_id: str) -> bool:
    """Whether it is in the log already that shards of the strategy are at work: it says nothing a second time."""
    return (log.folded.tallies or {})[strategy_id].started_at is not None


def _entries(shard: Shard, outcome: worker.Outcome) -> list[AnyEntry]:
    at = now()
    found = [*outcome.parts, *parts(shard.strategy_id, shard.number, outcome.opportunities, at)]
    if isinstance(outcome.error, Problem):
        return [*found, _failed(shard, outcome.error.code, outcome.error.detail, outcome.note)]
    done = ShardDone(
        at=at,
        strategy_id=shard.strategy_id,
        shard=shard.number,
        elapsed_ms=outcome.elapsed_ms,
        note=outcome.note or UNSET,
    )
    return [*found, done]


def _failed(shard: Shard, code: str, detail: str, note: str | UnsetType = UNSET) -> ShardFailed:
    return ShardFailed(
        at=now(),
        strategy_id=shard.strategy_id,
        shard=shard.number,
        reason="timed_out" if code == "timed_out" else "failed",
        code=code,
        detail=f"Shard {shard.number + 1}: {detail}",
        note=note,
    )

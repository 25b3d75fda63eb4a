"""Explains a scan: its life from its log's entries, and what it waits for now from the state of the rooms."""

from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import anyio
from msgspec import UNSET, UnsetType

from scanstream.errors import Expired
from scanstream.explanation import Explanation, Moment, ShardLife, StrategyLife, Wait
from scanstream.log.entry import (
    AnyEntry,
    NotifyAsked,
    Queued,
    ScanFailed,
    ShardDone,
    ShardFailed,
    ShardFound,
    ShardStarted,
)
from scanstream.log.refold import Slices
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import Milliseconds, ScanId, timestamp
from scanstream.scans.runner import Runner
from scanstream.scans.shortages import Shortages
from scanstream.scans.skills import Skills, cut_with, named

MOST_MOMENTS = 200
"""Entries on single shards that are told one by one; of more only the sums."""
MOST_SLOWEST = 5
MOST_FAILURES = 5
"""Of each strategy."""
MOST_AT_ONCE = 2
"""Logs that are read for this at once: they may be long, and nobody waits for them in a hurry."""


class Rooms(NamedTuple):
    """Whose state says what a scan waits for."""

    rank: Callable[[ScanId], int | None]
    runner: Runner | None
    machine: Shortages
    writing: Shortages
    skills: Skills
    running: Callable[[], int]
    """Scans that have a plan, and have not ended."""
    max_running: int


class Explainer:
    """Explains scans of this store."""

    def __init__(self, store: Store, rooms: Rooms) -> None:
        self._store = store
        self._rooms = rooms
        self._places = anyio.CapacityLimiter(MOST_AT_ONCE)

    async def explain(self, log: ScanLog, *, who: bool) -> Explanation:
        """The scan's life until now.

        :param who: whether nodes are named
        :raises Expired: if its log is gone meanwhile
        :raises Damaged: if it cannot be read
        :raises StoreUnavailable: if it cannot be read now
        """
        async with self._places:
            entries = await self._store.history(log.scan_id)
            if entries is None:
                raise Expired.of(log.scan_id)
            life = Life(log, who=who)
            slices = Slices()
            entries.reverse()
            while entries:
                life.take(entries.pop())
                await slices.turn()
        at_work = self._rooms.runner.at_work(log.scan_id) if self._rooms.runner else {}
        return Explanation(
            scan_id=log.scan_id,
            status=log.folded.state.status,
            phase=log.folded.state.phase,
            waits_for=[] if log.ended else list(waits(log, self._rooms, self._store.shared)),
            timeline=life.timeline(),
            left_out=life.left_out,
            strategies=life.strategies(at_work),
        )


def _told_of(entry: AnyEntry) -> str | UnsetType:
    """What is said beside the entry's name. Of an address to notify the host only: its path may be a secret."""
    if isinstance(entry, ScanFailed):
        return f"{entry.code}: {entry.detail}"
    return urlsplit(entry.url).hostname or UNSET if isinstance(entry, NotifyAsked) else UNSET


class _Tally:
    """One strategy, as its entries come."""

    def __init__(self) -> None:
        self.outcomes = 0
        self.done = self.failed = self.busy = 0
        self.first: Milliseconds | None = None
        self.last: Milliseconds = 0
        self.slowest: list[ShardLife] = []
        self.failures: list[ShardLife] = []


class Life:
    """What the entries of one log come to."""

    def __init__(self, log: ScanLog, *, who: bool) -> None:
        self._folded = log.folded
        self._who = who
        self._moments: list[Moment] = []
        self._shards: list[tuple[int, Moment]] = []
        """With the place among the others that each comes before."""
        self.left_out = 0
        self._last: Milliseconds | None = None
        self._planned: Milliseconds | None = None
        self._waits = False
        """Whether it is queued and has yet to be let in."""
        self._over = False
        self._tallies: dict[str, _Tally] = {}

    def take(self, entry: AnyEntry) -> None:
        """The next entry. As for the fold, what comes after the end means nothing, nor what is of a shard that has an
        outcome, or is in no plan."""
        if self._over:
            return
        if isinstance(entry, ShardStarted | ShardFound | ShardDone | ShardFailed):
            self._of_shard(entry)
            return
        if isinstance(entry, NotifyAsked) and entry not in self._folded.targets:
            return
        what = str(entry.__struct_config__.tag)
        if isinstance(entry, Queued):
            what, self._waits = "let_in" if self._waits and not entry.waits else what, entry.waits
        self._moment(what, entry.at, entry.by, _told_of(entry))
        if what == "planned" and self._planned is None:
            self._planned = entry.at
        self._over = what in ("cancelled", "scan_failed")

    def _moment(self, what: str, at: Milliseconds, by: str, detail: str | UnsetType = UNSET) -> None:
        took = UNSET if self._last is None else max(0, at - self._last)
        self._last = at
        self._moments.append(Moment(at=timestamp(at), what=what, took_ms=took, by=self._named(by), detail=detail))

    def _named(self, by: str) -> str | UnsetType:
        return by if by and self._who else UNSET

    def _of_shard(self, entry: ShardStarted | ShardFound | ShardDone | ShardFailed) -> None:
        if not self._has(entry):
            return
        tally = self._tallies.setdefault(entry.strategy_id, _Tally())
        if tally.outcomes >> entry.shard & 1:
            return
        tally.first = entry.at if tally.first is None else tally.first
        tally.last = max(tally.last, entry.at)
        took: Milliseconds | UnsetType = UNSET
        detail: str | UnsetType = UNSET
        if isinstance(entry, ShardFound):
            detail = f"{len(entry.opportunities)} found"
        elif isinstance(entry, ShardDone):
            took = entry.elapsed_ms
        elif isinstance(entry, ShardFailed):
            detail = f"{entry.code}: {entry.detail}"
        if isinstance(entry, ShardDone | ShardFailed):
            self._outcome(tally, entry)
        if len(self._shards) >= MOST_MOMENTS:
            self.left_out += 1
            return
        moment = Moment(
            at=timestamp(entry.at),
            what=str(entry.__struct_config__.tag),
            took_ms=took,
            strategy_id=entry.strategy_id,
            shard=entry.shard,
            by=self._named(entry.by),
            detail=detail,
        )
        self._shards.append((len(self._moments), moment))

    def _has(self, entry: ShardStarted | ShardFound | ShardDone | ShardFailed) -> bool:
        """Whether there is a plan by now, and the shard is in it."""
        tally = (self._folded.tallies or {}).get(entry.strategy_id)
        return self._planned is not None and tally is not None and 0 <= entry.shard < tally.total

    def _outcome(self, tally: _Tally, entry: ShardDone | ShardFailed) -> None:
        tally.outcomes |= 1 << entry.shard
        at, by = timestamp(entry.at), self._named(entry.by)
        if isinstance(entry, ShardFailed):
            tally.failed += 1
            if len(tally.failures) < MOST_FAILURES:
                failure = ShardLife(shard=entry.shard, outcome=entry.code, at=at, by=by, detail=entry.detail)
                tally.failures.append(failure)
            return
        tally.done += 1
        tally.busy += entry.elapsed_ms
        life = ShardLife(shard=entry.shard, outcome="done", at=at, took_ms=entry.elapsed_ms, by=by)
        tally.slowest.append(life)
        tally.slowest.sort(key=lambda one: -one.took_ms if isinstance(one.took_ms, int) else 0)
        del tally.slowest[MOST_SLOWEST:]

    def timeline(self) -> list[Moment]:
        """The moments in order. Where single shards were left out none of them is told."""
        if self._folded.ended and not self._over:
            self._moment("ended", self._folded.at, "", self._folded.state.message)
        if self.left_out:
            self.left_out += len(self._shards)
            self._shards.clear()
        whole: list[Moment] = []
        for place, moment in enumerate(self._moments):
            whole += [shard for before, shard in self._shards if before == place]
            whole.append(moment)
        return [*whole, *(shard for before, shard in self._shards if before == len(self._moments))]

    def strategies(self, at_work: Mapping[str, int]) -> dict[str, StrategyLife]:
        """Each strategy, summed up."""
        return {name: self._strategy(name, at_work.get(name, 0)) for name in self._folded.state.strategies}

    def _strategy(self, name: str, at_work: int) -> StrategyLife:
        state, tally = self._folded.state.strategies[name], self._tallies.get(name, _Tally())
        began = tally.first is not None and self._planned is not None
        return StrategyLife(
            status=state.status,
            total_shards=state.total_shards,
            done=tally.done,
            failed=tally.failed,
            missing=state.total_shards - tally.done - tally.failed,
            running_here=at_work,
            opportunities_found=state.opportunities_found,
            began_after_ms=max(0, (tally.first or 0) - (self._planned or 0)) if began else UNSET,
            took_ms=UNSET if tally.first is None else tally.last - tally.first,
            busy_ms=tally.busy,
            slowest=tally.slowest,
            failures=tally.failures,
        )


def waits(log: ScanLog, rooms: Rooms, shared: bool) -> list[Wait]:
    """What a scan that has not ended waits for, and why."""
    found: list[Wait] = []
    if lacking := rooms.machine.current():
        why = f"This node is out of {' and '.join(lacking)} for the moment: what was begun is tried again"
        found.append(Wait(what="machine", why=why))
    if rooms.writing.current():
        found.append(Wait(what="store", why="The store does not take what running scans write, or does not answer"))
    phase, tallies = log.folded.state.phase, log.folded.tallies
    wants = dict.fromkeys(log.folded.registered.budgets, "") if tallies is None else cut_with(log.folded)
    if shared and (lost := rooms.skills.lacking(wants)):
        why = f"No node that runs shards has {named({name: wants[name] for name in lost})}"
        found.append(Wait(what="strategy", why=why))
    if phase == "init":
        found.append(
            Wait(what="ack", why="Its ack is on its way to the client; it starts after that, or after a second")
        )
    elif phase == "cancelling":
        found.append(
            Wait(what="stop", why="It is cancelled: its shards are being stopped, and what they found is kept")
        )
    elif tallies is None:
        found.append(_before_the_plan(log, rooms, shared))
    else:
        found.append(_shards(log, rooms, shared))
    return found


def _before_the_plan(log: ScanLog, rooms: Rooms, shared: bool) -> Wait:
    rank = rooms.rank(log.scan_id)
    if rank is not None:
        ahead = "is next" if rank == 1 else f"has {rank - 1} before it"
        why = f"Scans at work: {rooms.running()}, of at most {rooms.max_running} (--max-running); this one {ahead}"
        return Wait(what="place", why=why)
    if rooms.runner is None and shared:
        return Wait(what="plan", why="A node with workers is to plan it; this one has none (--workers 0)")
    return Wait(what="plan", why="Its strategies are being asked how much there is to do")


def _shards(log: ScanLog, rooms: Rooms, shared: bool) -> Wait:
    tallies = (log.folded.tallies or {}).values()
    missing = sum(tally.total - tally.completed for tally in tallies)
    here = sum(rooms.runner.at_work(log.scan_id).values()) if rooms.runner else 0
    if not here and rooms.runner is None and not shared:
        return Wait(
            what="worker", why=f"Shards that wait: {missing}, and this server runs none: start it with --workers"
        )
    if here:
        why = f"Shards at work here: {here}, of {missing} that are missing; the others wait for a turn"
        return Wait(what="shards", why=why)
    where = "on this node" if not shared else "on this node; others may have some at work"
    return Wait(what="worker", why=f"Shards that wait for a worker: {missing}; none of them is at work {where}")

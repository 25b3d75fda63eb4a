"""When a scan will be complete: from what was measured of its strategies, and from what is to be done before."""

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from msgspec import UnsetType

from scanstream.log.scanlog import ScanLog
from scanstream.log.tally import Tally
from scanstream.model import Principal, ScanId
from scanstream.scans.pace import Kind, Pace, Work

COUNTED_AT_ONCE = 64
"""Scans of the queue, and of those that run, that one question counts anew: an ack takes no longer for that."""
MOST_EXPECTED = 512
"""Requests of which is known what a scan of them will take."""


class Load(NamedTuple):
    """What is left of a scan, or of several. Seconds."""

    computing: float = 0.0
    """For workers: the sum over the shards."""
    alone: float = 0.0
    """From start to end if nothing else were running."""


class Capacity(NamedTuple):
    """What runs at once."""

    workers: int
    in_loop: int
    """Shards of strategies that wait for input."""
    scans: int


class Watched:
    """An unfinished scan."""

    __slots__ = ("guessed", "kinds", "load", "log", "tallies")

    def __init__(self, log: ScanLog, kinds: Mapping[str, Kind]) -> None:
        self.log = log
        self.kinds = kinds
        self.tallies: Mapping[str, Tally] | None = None
        """What has been learned from."""
        self.load = Load()
        """As of its registration."""
        self.guessed = True
        """Whether one of its strategies had never been measured by then."""


class Forecast:
    """The unfinished scans and what is left of each, so that a new one knows what it waits for."""

    def __init__(
        self,
        pace: Pace,
        rank: Callable[[ScanId], int | None],
        waiting: Container[str],
        capacity: Callable[[], Capacity],
        behind: Callable[[Principal], int] = lambda _: 0,
    ) -> None:
        """:param waiting: the strategies that wait for input, and take no worker
        :param behind: how many that wait are let in after a scan of this principal that joins them
        """
        self._pace = pace
        self._rank = rank
        self._waits_for_input = waiting
        self._capacity = capacity
        self._behind = behind
        self._waiting: dict[ScanId, Watched] = {}
        """Those without a plan, in the order of their registration."""
        self._running: dict[ScanId, Watched] = {}
        self._queue = Load()
        """The sum over those that wait."""
        self._known = 0
        self._expected: dict[tuple[int, Capacity, bool], tuple[Mapping[str, Kind], Load | None]] = {}
        """What is expected of scans without a plan, by their kinds, which those of equal requests share …"""
        self._expected_as_of = (0, 0)
        """… and what that was reckoned from: see `Pace.as_of`."""
        self._guessed: Iterator[Watched] = iter(())
        """Those that wait, some of which may be known better by now."""

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans: learns from what has run, and remembers what is left."""
        scan_id, tallies = log.scan_id, log.folded.tallies
        watched = self._waiting.get(scan_id) or self._running.get(scan_id) or self._watched(log)
        if tallies is not None:
            self._learn(watched, tallies)
        if scan_id in self._waiting and (log.over or tallies is not None):
            del self._waiting[scan_id]
            self._queue = _less(self._queue, watched.load) if self._waiting else Load()
        if log.over:
            self._running.pop(scan_id, None)
        elif tallies is not None:
            self._running[scan_id] = watched
        elif scan_id not in self._waiting:
            self._waiting[scan_id] = watched
            self._count(watched)

    def _count(self, watched: Watched) -> None:
        """Add one that waits to the sum."""
        known = self._load(watched, guess=False)
        watched.guessed = known is None
        watched.load = known or self._load(watched) or Load()
        self._queue = Load(self._queue.computing + watched.load.computing, self._queue.alone + watched.load.alone)

    def _count_again(self) -> None:
        """When a strategy was measured for the first time, those that wait are counted anew, some at a time."""
        if self._known != self._pace.known():
            self._known = self._pace.known()
            self._guessed = iter(tuple(self._waiting.values()))
        for watched in islice(self._guessed, COUNTED_AT_ONCE):
            if watched.guessed and watched.log.scan_id in self._waiting:
                self._queue = _less(self._queue, watched.load)
                self._count(watched)

    def _watched(self, log: ScanLog) -> Watched:
        registered = log.folded.registered
        return Watched(log, self._pace.kinds(registered.budgets, registered.request))

    def _learn(self, watched: Watched, tallies: Mapping[str, Tally]) -> None:
        before, watched.tallies = watched.tallies, tallies
        for strategy_id, tally in tallies.items():
            kind = watched.kinds[strategy_id]
            if before is None:
                self._pace.planned(kind, tally.total)
            earlier = before[strategy_id] if before is not None else Tally(tally.total)
            if tally.measured > earlier.measured:
                self._pace.ran(kind, tally.measured - earlier.measured, tally.busy_ms - earlier.busy_ms)

    def _load(self, watched: Watched, *, guess: bool = True) -> Load | None:
        """What is left of a scan.

        :param guess: whether a strategy that was never measured counts like the others; else there is no answer
        """
        tallies, capacity = watched.log.folded.tallies, self._capacity()
        if tallies is not None:
            return self._left(watched.kinds, tallies, capacity, guess=guess)
        if self._expected_as_of != self._pace.as_of() or len(self._expected) >= MOST_EXPECTED:
            self._expected_as_of = self._pace.as_of()
            self._expected.clear()
        key = id(watched.kinds), capacity, guess
        known = self._expected.get(key)
        if known is None:  # what is kept keeps the kinds, so that no others have their id
            known = watched.kinds, self._left(watched.kinds, None, capacity, guess=guess)
            self._expected[key] = known
        return known[1]

    def _left(
        self, kinds: Mapping[str, Kind], tallies: Mapping[str, Tally] | None, capacity: Capacity, *, guess: bool
    ) -> Load | None:
        computing: list[Work] = []
        in_loop: list[Work] = []
        for strategy_id, kind in kinds.items():
            tally = tallies[strategy_id] if tallies is not None else None
            work = self._pace.expects(kind, None if tally is None else tally.total - tally.completed)
            if work is None:
                if not guess:
                    return None
                work = Work(1, self._pace.usual())
            (in_loop if strategy_id in self._waits_for_input else computing).append(work)
        alone = max(_together(computing, capacity.workers), _together(in_loop, capacity.in_loop))
        return Load(sum(work.seconds for work in computing), alone)

    def seconds(self, log: ScanLog) -> float | None:
        """Seconds until the scan is complete, in tenths; None where nothing has been measured that says it."""
        if log.ended:
            return 0.0
        left = log.folded.state.estimated_time_remaining_seconds
        if not isinstance(left, UnsetType):
            return left
        self._count_again()
        watched = self._waiting.get(log.scan_id) or self._running.get(log.scan_id) or self._watched(log)
        load = self._load(watched, guess=False)
        if load is None or not self._capacity().workers:
            return None
        wait, beside = self._before(watched, load)
        taking_turns = (load.computing + beside) / self._capacity().workers
        return math.ceil(10 * (wait + max(load.alone, taking_turns))) / 10

    def _before(self, watched: Watched, load: Load) -> tuple[float, float]:
        """(seconds until there is a place, seconds that others compute beside the scan, in turn with it)."""
        others = len(self._running) - (watched.log.scan_id in self._running)
        counted = islice((other for other in self._running.values() if other is not watched), COUNTED_AT_ONCE)
        running = [self._load(other) or Load() for other in counted]
        times = others / len(running) if running else 0.0  # where there are more, the rest is like these
        ahead = self._ahead(watched)
        if others + ahead < self._capacity().scans:
            first = [*islice((other for other in self._waiting.values() if other is not watched), ahead)]
            beside = sum(min(other.computing, load.computing) for other in running) * times
            return 0.0, beside + sum(min(other.load.computing, load.computing) for other in first)
        waits = watched.log.scan_id in self._waiting
        share = ahead / max(1, len(self._waiting) - waits)
        queue = _less(self._queue, watched.load) if waits else self._queue
        computing = sum(other.computing for other in running) * times + share * queue.computing
        alone = sum(other.alone for other in running) * times + share * queue.alone
        return max(computing / self._capacity().workers, alone / self._capacity().scans), 0.0

    def _ahead(self, watched: Watched) -> int:
        """How many of those that wait are let in before the scan."""
        scan_id = watched.log.scan_id
        if scan_id not in self._waiting:
            return 0
        if watched.log.folded.state.phase == "init":
            return max(0, len(self._waiting) - 1 - self._behind(watched.log.folded.registered.principal))
        return min(self._rank(scan_id) or 1, len(self._waiting)) - 1  # without a rank: it has just been let in


def _less(whole: Load, part: Load) -> Load:
    return Load(max(0.0, whole.computing - part.computing), max(0.0, whole.alone - part.alone))


def _together(works: Iterable[Work], places: int) -> float:
    """Seconds for all of it, with so many shards at a time."""
    works = [work for work in works if work.shards]
    if not works or not places:
        return 0.0
    longest = max(work.seconds_each for work in works)
    shards = sum(work.shards for work in works)
    return max(longest, sum(work.seconds for work in works) / min(places, shards))

"""Budgets: the seconds that a scan may take, and each of its strategies.

A strategy's seconds are those that its shards would take if it had all places for itself, whatever else runs: to wait
for a worker costs nothing, nor does it to have fewer of them at once because others have their turns. A scan's count
from its being let in, but for those in which the machine hinders it (shortages.py). Both are of a clock that nobody
sets, and that stands while this process does: a machine that slept, a process that was stopped, have used nothing of
anybody's budget. Neither has a restart, nor the time before it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias, TypeVar

import anyio

from scanstream.log.entry import Registered
from scanstream.log.scanlog import ScanLog
from scanstream.log.tally import Tally
from scanstream.model import Milliseconds, ScanId

Seconds: TypeAlias = float
T = TypeVar("T")

TICK_SECONDS = 0.5
LONGEST_STEP_SECONDS = 2.0
"""What one tick counts at most: this process did not run in the rest of the time."""
LEAST_WAIT_SECONDS = 0.05
"""From one look at a budget to the next, however little of it is left."""


class Clock:
    """Seconds in which this process ran."""

    def __init__(self, source: Callable[[], Seconds] = time.monotonic) -> None:
        self._source = source
        self._seen = source()
        self._counted = 0.0

    def now(self) -> Seconds:
        """Seconds since the clock was made, less those in which the process stood still."""
        seen = self._source()
        self._counted += min(max(0.0, seen - self._seen), LONGEST_STEP_SECONDS)
        self._seen = seen
        return self._counted

    async def run(self) -> None:
        """Tick, so that a gap is seen as one."""
        while True:
            self.now()
            await anyio.sleep(TICK_SECONDS)


class Countdown:
    """So many seconds of a clock, from the moment that it is entered."""

    def __init__(self, clock: Clock, seconds: Seconds) -> None:
        self._clock = clock
        self._seconds = seconds
        self._ends: Seconds | None = None

    def __enter__(self) -> None:
        self._ends = self._clock.now() + self._seconds

    def __exit__(self, *_: object) -> None:
        """It goes on: what was spent is spent."""

    def left(self) -> Seconds:
        """What is left of it."""
        return self._seconds if self._ends is None else self._ends - self._clock.now()


class Stopwatch:
    """How long at least one of several was at work."""

    def __init__(self) -> None:
        self._at_work = 0
        self._since = 0.0
        self._spent = 0.0

    def start(self, at: Seconds) -> None:
        """One more is at work."""
        if not self._at_work:
            self._since = at
        self._at_work += 1

    def stop(self, at: Seconds) -> None:
        """One of them is no more."""
        self._at_work -= 1
        if not self._at_work:
            self._spent += at - self._since

    def spent(self, at: Seconds) -> Seconds:
        """The time so far."""
        return self._spent + (at - self._since if self._at_work else 0.0)


class Spending:
    """What the shards of one strategy have spent: the time that they would have taken with all places for themselves.

    One that is at work where three could be spends a third. But no shard is done sooner than it runs.
    """

    def __init__(self, could: Callable[[], int]) -> None:
        """`could`: how many of its shards could be at work just now, had nobody else any."""
        self._could = could
        self._began: list[Seconds] = []
        """When those began that are at work, the oldest first."""
        self._seen = 0.0
        self._shared = 0.0
        self._longest = 0.0

    def start(self, at: Seconds) -> None:
        """One more is at work."""
        self._count(at)
        self._began.append(at)

    def stop(self, at: Seconds, began: Seconds) -> None:
        """The one that began then is no more."""
        self._count(at)
        self._began.remove(began)

    def ran_elsewhere(self, seconds: Seconds) -> None:
        """Another node had one of them at work for so long."""
        self._shared += seconds / max(1, self._could())

    def runs(self) -> bool:
        """Whether any is at work."""
        return bool(self._began)

    def spent(self, at: Seconds) -> Seconds:
        """The time so far."""
        self._count(at)
        return max(self._shared, self._longest)

    def _count(self, at: Seconds) -> None:
        if self._began:
            at_work = len(self._began)
            self._shared += (at - self._seen) * at_work / max(at_work, self._could())
            self._longest = max(self._longest, at - self._began[0])
        self._seen = at


class ScanBudget:
    """What is left to one scan that was let in, and to its strategies."""

    def __init__(
        self, scan: Registered, clock: Clock, hindered: Stopwatch, could: Callable[[str], int], since: Seconds = 0.0
    ) -> None:
        """`hindered`: how long anybody has waited for the machine; `could`: see `Spending`, of a strategy.

        :param since: how long ago the scan was let in, on another node
        """
        self._whole = scan.budget
        self._each = scan.budgets
        self._clock = clock
        self._hindered = hindered
        self._spending = {strategy_id: Spending(partial(could, strategy_id)) for strategy_id in scan.budgets}
        self._let_in = self._unhindered() - since
        self._own: Counter[str] = Counter()
        self._elsewhere: Counter[str] = Counter()
        """Milliseconds of shards that ran to their end, here and on other nodes, by strategy …"""
        self._over: dict[str, Seconds] = {}
        """… and since when it is known of a strategy that a shard of it has run out of time, wherever."""

    def _unhindered(self) -> Seconds:
        at = self._clock.now()
        return at - self._hindered.spent(at)

    @contextmanager
    def running(self, strategy_id: str) -> Iterator[None]:
        """A shard of the strategy runs in here."""
        spending, began = self._spending[strategy_id], self._clock.now()
        spending.start(began)
        try:
            yield
        finally:
            spending.stop(self._clock.now(), began)

    def at_work(self, *strategies: str) -> bool:
        """Whether a shard of these strategies runs here just now; unless any is given, of any."""
        return any(self._spending[strategy_id].runs() for strategy_id in strategies or self._spending)

    def left(self, strategy_id: str) -> Seconds:
        """What a strategy has left; 0 or less: nothing."""
        at = self._clock.now()
        left = self._each[strategy_id] - self._spending[strategy_id].spent(at)
        return min(left, self._over[strategy_id] - at) if strategy_id in self._over else left

    def ran(self, strategy_id: str, elapsed: Milliseconds) -> None:
        """A shard has run here to its end, and is about to be in the log."""
        self._own[strategy_id] += elapsed

    def tell(self, tallies: Mapping[str, Tally]) -> None:
        """What the log says of all nodes: what did not run here ran elsewhere, and counts as well."""
        for strategy_id, tally in tallies.items():
            elsewhere = max(0, tally.busy_ms - self._own[strategy_id])
            if (more := elsewhere - self._elsewhere[strategy_id]) > 0:
                self._spending[strategy_id].ran_elsewhere(more / 1000)
                self._elsewhere[strategy_id] = elsewhere
            if tally.problem is not None and tally.problem[0]:
                self._over.setdefault(strategy_id, self._clock.now())

    def left_of_scan(self) -> Seconds:
        """What the whole scan has left."""
        return self._let_in + self._whole - self._unhindered()

    def patience(self, strategies: Iterable[str]) -> Seconds:
        """How long nothing can run out: neither the scan's budget nor one of these strategies'."""
        return max(LEAST_WAIT_SECONDS, min([self.left_of_scan(), *map(self.left, strategies)]))


class Budgets:
    """Of every scan that is conducted here, or of which shards run here, what it has left."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._hindered = Stopwatch()
        self._scans: dict[ScanId, ScanBudget] = {}

    @contextmanager
    def letting_in(self, scan: Registered, could: Callable[[str], int], since: Seconds = 0.0) -> Iterator[ScanBudget]:
        """The scan is conducted in here; `could`: see `Spending`, of a strategy; `since`: see `ScanBudget`."""
        budget = self._scans[scan.scan_id] = ScanBudget(scan, self.clock, self._hindered, could, since)
        try:
            yield budget
        finally:
            self._scans.pop(scan.scan_id, None)

    def of(self, scan_id: ScanId) -> ScanBudget | None:
        """The budget of a scan; None if it is not conducted (any more)."""
        return self._scans.get(scan_id)

    def sharing(self, scan: Registered, could: Callable[[str], int]) -> ScanBudget:
        """The budget of a scan that may be conducted by another node, as far as it is known here."""
        if (budget := self._scans.get(scan.scan_id)) is None:
            budget = self._scans[scan.scan_id] = ScanBudget(scan, self.clock, self._hindered, could)
        return budget

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans, where several nodes run their shards."""
        budget = self._scans.get(log.scan_id)
        if budget is not None and log.folded.tallies is not None:
            budget.tell(log.folded.tallies)
            if log.over:
                del self._scans[log.scan_id]

    @contextmanager
    def hindered(self) -> Iterator[None]:
        """Somebody waits in here for the machine: for room on the disk, for descriptors. No scan pays for it."""
        self._hindered.start(self.clock.now())
        try:
            yield
        finally:
            self._hindered.stop(self.clock.now())


class _Expiry:
    """A look at what is left, again and again, and a scope that ends when it is nothing.

    A timer and no task: one that its group cancels leaves a cycle behind, for each shard that is run (anyio's own, of
    a frame and its error), and what is frozen for good by then nobody collects (collector.py).
    """

    def __init__(self, left: Callable[[], Seconds], scope: anyio.CancelScope) -> None:
        self._left = left
        self._scope = scope
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """A clock calls nobody, so this is called when something would have to be over."""
        self.stop()
        if (seconds := self._left()) > 0:
            self._timer = self._loop.call_later(max(LEAST_WAIT_SECONDS, seconds), self.look)
        else:
            self._scope.cancel()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def limited(left: Callable[[], Seconds], call: Callable[[], Awaitable[T]]) -> T:
    """What the call gives, as long as something is left of its time.

    Not `anyio.fail_after`: its deadline also comes while this process stands still.

    :raises TimeoutError: if nothing is left; the call is cancelled
    """
    with anyio.CancelScope() as scope:
        expiry = _Expiry(left, scope)
        expiry.look()
        try:
            return await call()
        finally:
            expiry.stop()
    raise TimeoutError

"""The garbage collector, kept out of the way of the loop.

Python frees what nobody holds at once; its collector is for cycles only, and looks for them by walking over all objects
there are: a second with 100,000 scans. So it looks here at what is new since the last time, some thousand objects, and
what is left then is frozen (`gc.freeze`): never walked over again, and freed as ever when nobody holds it any more.
There may be more that is new than the collector counts, as it counts what goes against what comes: then it is frozen
unseen.

What comes and goes with connections, requests and scans makes no cycles (tests/test_collector.py), so that there is
nothing to find. A cycle that was frozen all the same, as one of a plug-in may be, is found when all is looked at: while
nobody is there who would be held up, or when what is frozen has become far more than it was.

In such moments memory that is free goes back to the system, too. The C library keeps what lies between things that are
still in use: after a crowd that was up to a fifth of all that a server held.
"""

import ctypes
import gc
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio

THRESHOLDS = (1000, 1000, 1000)
"""See `gc.set_threshold`: a collection of what is new after so many new objects; as what it leaves is frozen, there is
nothing in the older generations, and each object is looked at once …"""
MOST_OBJECTS = 1200
"""… and of more than so many none: they take some 2 µs each, where they are spread over thousands of connections."""
LOOK_SECONDS = 60.0
"""From one look at what is frozen to the next."""
QUIET = 0.02
"""Of the time since the last look, what the process was at work: above this somebody wants something of it."""
WORTH_BLOCKS, WORTH_SHARE = 10_000, 0.03
"""So many more than were left by the last whole collection, and by such a share: below, there is nothing to win … An
object has some three of them, and they are counted quickly, while to count what is frozen is a walk over it. In trouble
errors leave cycles by their tracebacks: of cut connections, a full disk and lost workers some 1 MB a minute."""
MUCH_BLOCKS = 1_500_000
"""… and so many beyond twice of what it left: then there may be more garbage than anything else."""


def nobody() -> bool:
    """Whether anybody is there: as long as nothing is known of it, nobody is."""
    return False


class Collector:
    """When to collect, and what."""

    def __init__(self) -> None:
        self.anybody: Callable[[], bool] = nobody
        """Whether somebody is connected, or a scan is under way, whom a whole collection would hold up."""
        self._left = 0
        """Blocks of memory that the last whole collection left."""
        self._whole = False
        """Whether all is being looked at, however much it is."""
        self._looked_at = time.monotonic()
        self._worked = time.process_time()

    @contextmanager
    def at_work(self) -> Iterator["Collector"]:
        """The collector of this process is ours in here."""
        before = gc.get_threshold()
        gc.set_threshold(*THRESHOLDS)
        gc.callbacks.append(self._watch)
        try:
            self.collect_whole()
            yield self
        finally:
            gc.callbacks.remove(self._watch)
            gc.set_threshold(*before)
            gc.unfreeze()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await anyio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Collect all there is, if it is time to; where nobody is there, leave behind no more than is in use."""
        at, worked = time.monotonic(), time.process_time()
        quiet = worked - self._worked < QUIET * (at - self._looked_at) and not self.anybody()
        self._looked_at, self._worked = at, worked
        blocks = sys.getallocatedblocks()
        if blocks > 2 * self._left + MUCH_BLOCKS:
            self.collect_whole()
        if quiet:
            self.rest()

    def rest(self) -> None:
        """Nobody is there: let go of all that nobody needs, where that is worth it, and give back what is free."""
        if sys.getallocatedblocks() > self._left * (1 + WORTH_SHARE) + WORTH_BLOCKS:
            self.collect_whole()
        give_back()

    def collect_whole(self) -> None:
        """Also what was frozen."""
        gc.unfreeze()
        self._whole = True
        try:
            gc.collect()
            gc.collect()  # of nothing: else the interpreter would put off the next one until a quarter of all is new
        finally:
            self._whole = False
        self._left = sys.getallocatedblocks()

    def _watch(self, phase: str, info: dict[str, Any]) -> None:
        """See `gc.callbacks`."""
        if phase == "stop" or (not self._whole and _beyond(MOST_OBJECTS, info["generation"])):
            gc.freeze()


def give_back() -> None:
    """Have the C library give back to the system what is free, where it has a call for that (glibc, on Linux).

    Some 10 ms for 80 MB that go, and less than a tenth of that where there is nothing to give (malloc_trim(3)).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _beyond(most: int, oldest: int) -> bool:
    """Whether so many objects, and more, are in this generation and younger ones.

    They are listed, counted and let go in one call into C, in which no other thread comes to its turn. Else what such a
    one lets go meanwhile would live in our list alone, and end in our thread: a cursor of the store's, which is not
    made for that, would take the statement back that its own thread is using.
    """
    return sum(map(len, map(gc.get_objects, range(oldest + 1)))) > most


@asynccontextmanager
async def kept_apart() -> AsyncIterator[Collector]:
    """In here the collector of this process keeps out of the loop's way."""
    with Collector().at_work() as collector:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collector.run)
            yield collector
            tasks.cancel_scope.cancel()

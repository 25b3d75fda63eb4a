"""The garbage collector, kept out of the way of the loop.

Python frees what nobody holds at once; its collector is for cycles only, and looks for them by walking over all objects
there are: a second with 100,000 scans. So each full collection here looks at what is new since the last one, some
thousand objects, and what is left then is frozen (`gc.freeze`): never walked over again, and freed as ever when nobody
holds it any more. A cycle that was frozen while it was in use is found when all is looked at, which is done at a quiet
moment, or when what is frozen has become far more than it was. What comes and goes with connections, requests and
scans makes no cycles (tests/test_collector.py).
"""

import gc
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio

THRESHOLDS = (700, 3, 1)
"""See `gc.set_threshold`: a full collection after some 6,000 new objects, so that it takes a few milliseconds."""
LOOK_SECONDS = 60.0
"""From one look at what is frozen to the next."""
QUIET = 0.02
"""Of the time since the last look, what the process was at work: below this nobody is held up."""
WORTH_OBJECTS = 50_000
"""So many more than were left by the last whole collection: below, there is nothing to win …"""
MUCH_OBJECTS = 500_000
"""… and so many beyond twice of what it left: then there may be more garbage than anything else."""


class Collector:
    """When to collect, and what."""

    def __init__(self) -> None:
        self._left = 0
        """Objects that the last whole collection left."""
        self._looked_at = time.monotonic()
        self._worked = time.process_time()

    @contextmanager
    def at_work(self) -> Iterator["Collector"]:
        """The collector of this process is ours in here."""
        before = gc.get_threshold()
        gc.set_threshold(*THRESHOLDS)
        gc.callbacks.append(self._freeze)
        try:
            self.collect_whole()
            yield self
        finally:
            gc.callbacks.remove(self._freeze)
            gc.set_threshold(*before)
            gc.unfreeze()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await anyio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Collect all there is, if it is time to."""
        at, worked = time.monotonic(), time.process_time()
        quiet = worked - self._worked < QUIET * (at - self._looked_at)
        self._looked_at, self._worked = at, worked
        frozen = gc.get_freeze_count()
        if frozen > 2 * self._left + MUCH_OBJECTS or (quiet and frozen > self._left + WORTH_OBJECTS):
            self.collect_whole()

    def collect_whole(self) -> None:
        """Also what was frozen."""
        gc.unfreeze()
        gc.collect()
        gc.collect()  # of nothing: else the interpreter would put off the next one until a quarter of all is new
        self._left = gc.get_freeze_count()

    def _freeze(self, phase: str, info: dict[str, Any]) -> None:
        """See `gc.callbacks`."""
        if phase == "stop" and info["generation"] == 2:
            gc.freeze()


@asynccontextmanager
async def kept_apart() -> AsyncIterator[None]:
    """In here the collector of this process keeps out of the loop's way."""
    with Collector().at_work() as collector:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collector.run)
            yield
            tasks.cancel_scope.cancel()

"""Looks on from outside when the loop stands still, and names the strategy whose code it is at.

`steps.py` measures what a strategy does in its own coroutine, once it is over. This is for the rest: tasks that a
strategy starts, what it does when a request is read, and a step that does not end. A thread looks at a clock that the
loop sets; where that stands still, it looks at the frames that the loop's thread is in.
"""

import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import anyio

from scanstream.scans.work.steps import LOG_SECONDS, LONGEST_STEP_SECONDS, Blocks
from scanstream.strategies.installed import Installed

BEAT_SECONDS = 0.05
LONG_SECONDS = 1.0
"""A standstill that is told before it is over."""

logger = logging.getLogger("scanstream")


class Watch:
    """Over the loop of the thread that runs it."""

    def __init__(self, blocks: Blocks, strategies: Iterable[Installed]) -> None:
        self._blocks = blocks
        self._at_work = 0
        """Shards in the loop; only then it looks."""
        self._begun = anyio.Event()
        self._owners: dict[str, list[Installed]] = {}
        """File → those that are written in it."""
        for one in strategies:
            if one.waits and (file := _file(one)):
                self._owners.setdefault(file, []).append(one)
        self._thread = 0
        self._beat = 0.0
        """When the loop last said that it goes on; 0 while nobody looks."""
        self._seen: Counter[str] = Counter()
        """How often the loop was at whose code, in the present standstill; empty: nobody's."""
        self._stopped = threading.Event()
        self._warned = -LOG_SECONDS

    async def run(self) -> None:
        """Set the clock while a strategy is at work; say who held it up."""
        if not self._owners:
            return
        self._thread = threading.get_ident()
        with self._looking():
            while True:
                if not self._at_work:
                    self._beat = 0.0
                    self._begun = anyio.Event()
                    await self._begun.wait()
                began, measured = time.perf_counter(), dict(self._blocks.seconds)
                self._beat = began
                await anyio.sleep(BEAT_SECONDS)
                self._tell(time.perf_counter() - began - BEAT_SECONDS, measured)

    def _tell(self, late: float, before: Mapping[str, float]) -> None:
        """Each whose code was seen has its share of the standstill, less what was measured already."""
        seen, self._seen = self._seen, Counter()
        for strategy_id, times in seen.items():
            measured = self._blocks.seconds.get(strategy_id, 0.0) - before.get(strategy_id, 0.0)
            seconds = late * times / seen.total() - measured
            if strategy_id and seconds > LONGEST_STEP_SECONDS:
                self._blocks.note(strategy_id, "a task of its own", seconds)

    @contextmanager
    def over(self) -> Iterator[None]:
        """A shard runs in the loop in here."""
        if not self._at_work:
            self._beat = time.perf_counter()
            self._begun.set()
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1

    @contextmanager
    def _looking(self) -> Iterator[None]:
        thread = threading.Thread(target=self._look, name="watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()

    def _look(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            beat = self._beat
            late = time.perf_counter() - beat - BEAT_SECONDS
            if beat and late > LONGEST_STEP_SECONDS:
                owner = self._owner(sys._current_frames().get(self._thread))
                self._seen[owner] += 1
                if owner and late > LONG_SECONDS and time.perf_counter() - self._warned > LOG_SECONDS:
                    self._warned = time.perf_counter()
                    words = "the strategy %s holds up the server's loop, for %.1f s now"
                    logger.warning(words, owner, late, extra={"strategy": owner})

    def _owner(self, frame: FrameType | None) -> str:
        """The strategy in whose code the frame is; in a file with several it is told by `self`, or by the class."""
        while frame is not None:
            if owners := self._owners.get(frame.f_code.co_filename):
                holder, written = frame.f_locals.get("self"), frame.f_code.co_qualname.partition(".")[0]
                own = [one for one in owners if one.strategy is holder]
                own += [one for one in owners if type(one.strategy).__name__ == written]
                return (own or owners)[0].id
            frame = frame.f_back
        return ""


def _file(one: Installed) -> str | None:
    """Where the strategy's class is written."""
    return getattr(sys.modules.get(type(one.strategy).__module__), "__file__", None)

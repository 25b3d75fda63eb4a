"""When what has changed is told: at once or with the tick, many scans together, and in turns of the loop.

Telling ten thousand readers takes tens of milliseconds: nobody else is to wait for that.
"""

import asyncio
from collections import deque
from math import ceil
from time import monotonic
from typing import Protocol

from scanstream.measure import QUICK_SECONDS, Histogram
from scanstream.push.outlet import Outlet

TICK_SECONDS = 0.025
"""Unless `--tick` says otherwise."""
GRAINS = 5
"""Parts of a tick: what is due in the same part is flushed together, by one timer for all of it."""
READERS_IN_TURN = 180
FEWEST_IN_TURN = 50
SECONDS_IN_TURN = 0.003
"""How many readers are told in one turn of the loop: fewer, if the turns take longer than this."""
BYTES_A_READER = 4096
"""Of a message: to make and to write so many takes as long as another reader."""
READERS_A_WAKE = 10
"""Readers that are told in the time that one takes who has a task to be woken."""


class Flushable(Protocol):
    """Who has something to tell, in the turn of the loop that comes to it."""

    pending: bool
    """Whether it waits for its turn, or is in the midst of it."""

    def flush(self, most: int, written: list[Outlet]) -> tuple[int, bool]:
        """Tell so many readers what is new, or all: how many have been told, and whether these were all.

        One that is told much counts for several (`BYTES_A_READER`).

        :param written: takes the outlets that are to be flushed
        """
        ...

    def fail(self, error: Exception) -> None:
        """A defect came up in `flush`: whoever was to be told is told that, instead of nothing for ever."""
        ...


class Flushes:
    """Who is to be flushed, and when: at once, or together with others in the same part of a tick."""

    def __init__(self, tick: float) -> None:
        self.tick = tick
        """Seconds between two flushes of one channel."""
        self.delays = Histogram(QUICK_SECONDS)
        """From an entry that was read here to the frame that tells it, of each flush."""
        self._soon: deque[Flushable] = deque()
        self._later: dict[int, list[Flushable]] = {}
        self._scheduled = False
        self.alone = False
        """Whether only one has something to tell in this turn: then what it tells each reader is all that they get."""
        self._most = READERS_IN_TURN
        """What one turn tells; what its writes take is known afterwards only."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def now(self) -> float:
        """Seconds, of the loop's clock."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop.time()

    def soon(self, flushable: Flushable) -> None:
        """With the next turn of the loop."""
        flushable.pending = True
        self._soon.append(flushable)
        self._schedule()

    def later(self, flushable: Flushable, due: float) -> None:
        """Not before `due`."""
        flushable.pending = True
        grain = ceil(due * GRAINS / self.tick)
        if (together := self._later.get(grain)) is None:
            together = self._later[grain] = []
            asyncio.get_running_loop().call_at(grain * self.tick / GRAINS, self._ripen, grain)
        together.append(flushable)

    def _ripen(self, grain: int) -> None:
        self._soon.extend(self._later.pop(grain))
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Tell so many readers as others may wait for, then write to all of their connections."""
        self._scheduled = False
        began = monotonic()
        left = most = self._most
        written: list[Outlet] = []
        self.alone = len(self._soon) == 1
        while self._soon and left > 0 and monotonic() < began + SECONDS_IN_TURN:
            flushable = self._soon.popleft()
            if flushable.pending:
                told, all_told = _flushed(flushable, max(left, READERS_A_WAKE), written)
                left -= told + 1
                if not all_told:
                    self._soon.appendleft(flushable)
        for outlet in written:
            outlet.flush()
        self._learn(most - left, monotonic() - began)
        if self._soon:
            self._schedule()

    def _learn(self, told: int, seconds: float) -> None:
        """Tell fewer in the next turn, if this one has taken long; step by step more, if not."""
        if seconds > SECONDS_IN_TURN:
            self._most = max(FEWEST_IN_TURN, int(told * SECONDS_IN_TURN / seconds))
        else:
            self._most = min(READERS_IN_TURN, self._most * 2)


def _flushed(flushable: Flushable, most: int, written: list[Outlet]) -> tuple[int, bool]:
    """A defect with one of them is not to keep the others from their turn."""
    try:
        return flushable.flush(most, written)
    except Exception as error:
        flushable.pending = False
        flushable.fail(error)
        return 0, True

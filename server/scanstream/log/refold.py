"""Work on much in slices, so that the loop goes on: folding a history again, encoding and packing what was found."""

import time
from collections.abc import Generator, Hashable, MutableSequence, Sequence
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

import anyio
from anyio.lowlevel import checkpoint

from scanstream.log.entry import AnyEntry, Registered, encode
from scanstream.log.scanlog import ScanLog

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

SLICE_SECONDS = 0.001
"""How long the loop is held at a time; what was begun within it is done, which may take twice as long."""


TURN_SECONDS = 0.002
"""How long the loop may take over those who go on in one turn: longer, and fewer go on in the next."""
FEWEST_IN_A_TURN = 16
MOST_IN_A_TURN = 512


class Crowd:
    """How many of a crowd go on in one turn of the loop.

    What each has to do then, an ack to write or a page to make, nobody knows before: so it is measured. After a short
    turn twice as many go on, after a long one half as many.
    """

    __slots__ = ("most",)

    def __init__(self) -> None:
        self.most = FEWEST_IN_A_TURN

    def took(self, seconds: float) -> None:
        """The last turn, in which so many went on as may, was of this length."""
        if seconds > TURN_SECONDS:
            self.most = max(FEWEST_IN_A_TURN, self.most // 2)
        elif seconds < TURN_SECONDS / 2:
            self.most = min(MOST_IN_A_TURN, self.most * 2)


class Slices:
    """Gives way whenever a slice is over."""

    def __init__(self, crowd: Crowd | None = None) -> None:
        """`crowd`: as many steps as it lets go on are a slice, too: each has others do something then."""
        self._crowd = crowd
        self._done = 0
        self._until = time.perf_counter() + SLICE_SECONDS

    async def turn(self) -> None:
        """To be called often: after each step."""
        self._done += 1
        now = time.perf_counter()
        enough = self._crowd is not None and self._done >= self._crowd.most
        if now >= self._until or enough:
            await checkpoint()
            if self._crowd is not None and enough:
                self._crowd.took(time.perf_counter() - now)
            self._done = 0
            self._until = time.perf_counter() + SLICE_SECONDS


class OneOfEach(Generic[K]):
    """What is asked for of one, a caller or a scan: one after the other.

    Of much that one caller asks for at once each would have a slice between two turns of anybody else's on the loop.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[K, anyio.Lock] = WeakValueDictionary()
        """There as long as somebody holds one, or waits for it."""

    def __len__(self) -> int:
        """Of how many something is under way."""
        return len(self._locks)

    def turn(self, who: K) -> anyio.Lock:
        """What is held meanwhile."""
        return self._locks.setdefault(who, anyio.Lock())


async def sliced(steps: Generator[None, None, T]) -> T:
    """What a generator returns that yields between its steps."""
    slices = Slices()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            break
        await slices.turn()
    await slices.turn()
    return result


async def refolded(history: Sequence[AnyEntry], epoch: str) -> ScanLog:
    """The log of a whole history; frozen if the scan has ended."""
    first, *rest = history
    assert isinstance(first, Registered)
    log = ScanLog(first, epoch, past=False)
    slices = Slices()
    for seq, entry in enumerate(rest, start=2):
        log.apply(seq, entry)
        await slices.turn()
    if log.ended:
        await frozen(log)
    return log


async def let_go(values: MutableSequence[T]) -> None:
    """Have them freed: what is much takes as long to free as to make."""
    slices = Slices()
    while values:
        values.pop()
        await slices.turn()


async def encoded(entries: Sequence[AnyEntry]) -> list[bytes]:
    """The entries as they are stored."""
    bodies: list[bytes] = []
    slices = Slices()
    for entry in entries:
        bodies.append(encode(entry))
        await slices.turn()
    return bodies


async def frozen(log: ScanLog) -> None:
    """Let go of an ended scan's past."""
    slices = Slices()
    for _ in log.freeze():
        await slices.turn()

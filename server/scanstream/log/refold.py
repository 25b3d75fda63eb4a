"""Work on much in slices, so that the loop goes on: folding a history again, encoding and packing what was found."""

import time
from collections.abc import Generator, Sequence
from typing import TypeVar

from anyio.lowlevel import checkpoint

from scanstream.log.entry import AnyEntry, Registered, encode
from scanstream.log.scanlog import ScanLog

T = TypeVar("T")

SLICE_SECONDS = 0.001
"""How long the loop is held at a time; what was begun within it is done, which may take twice as long."""


class Slices:
    """Gives way whenever a slice is over."""

    def __init__(self, most: int = 0) -> None:
        """`most`: so many steps are a slice, however short, as each has others do something in the next turn."""
        self._most = most
        self._done = 0
        self._until = time.perf_counter() + SLICE_SECONDS

    async def turn(self) -> None:
        """To be called often: after each step."""
        self._done += 1
        if time.perf_counter() >= self._until or self._done == self._most:
            await checkpoint()
            self._done = 0
            self._until = time.perf_counter() + SLICE_SECONDS


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


async def let_go(values: list[AnyEntry]) -> None:
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

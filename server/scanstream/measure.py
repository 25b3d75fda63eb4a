"""What is counted and timed while the server works: plain numbers, each of which costs an addition where it happens.

Whoever draws them reads them when it is asked (metrics.py). What may be counted is known from the start, so that
nothing is absent until it happens for the first time.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Labels: TypeAlias = tuple[str, ...]

QUICK_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for what a caller waits for."""
LONG_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Bounds for what scans and shards take."""
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 512)
"""Bounds for how many went together."""


class Histogram:
    """How many values were at most as large as each of some bounds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        """Of each bound those that are not within an earlier one; last those beyond all bounds."""
        self.sum = 0.0

    def copy(self) -> "Histogram":
        """As it is now."""
        copied = Histogram(self.bounds)
        copied.counts[:], copied.sum = self.counts, self.sum
        return copied

    def add(self, value: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Counts:
    """How often each of several things has happened."""

    __slots__ = ("of",)

    def __init__(self, known: Iterable[Labels]) -> None:
        self.of: dict[Labels, int] = dict.fromkeys(known, 0)

    def add(self, *labels: str) -> None:
        """Once more; it need not be known, as what only other nodes have installed is not."""
        self.of[labels] = self.of.get(labels, 0) + 1


class Commits:
    """What the store writes."""

    __slots__ = ("operations", "seconds", "under_way")

    def __init__(self) -> None:
        self.seconds = Histogram(QUICK_SECONDS)
        """How long each durable write took."""
        self.operations = Histogram(SIZES)
        """How many operations shared it."""
        self.under_way = 0
        """Operations that somebody waits for."""

    def add(self, seconds: float, operations: int) -> None:
        """One more that is durable."""
        self.seconds.add(seconds)
        self.operations.add(operations)

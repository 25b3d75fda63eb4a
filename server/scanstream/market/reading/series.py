"""Bars of one symbol as arrays: checked, in order, each time once; and pieces of one symbol joined."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scanstream.errors import MarketError
from scanstream.model import Milliseconds, timestamp
from scanstream.panel import FIELDS, Array

Times = NDArray[np.int64]
LineNumbers = NDArray[np.int32]
Places = NDArray[np.intp]
_HIGH, _LOW = FIELDS.index("high"), FIELDS.index("low")
PRICES = len(FIELDS) - 1
"""The first so many fields are prices; the last is the volume."""


class Series(NamedTuple):
    """Bars of one symbol from one file."""

    symbol: str
    file: Path
    place: str
    """What its parts are called: `line`, or `row`."""
    times: Times
    """Opening times, milliseconds."""
    lines: LineNumbers
    """Where each bar stands in the file."""
    values: list[Array]
    """The fields."""

    @property
    def bars(self) -> int:
        """How many there are."""
        return len(self.times)

    def only(self, bars: Places | slice) -> "Series":
        """Some of its bars, in this order."""
        values = [column[bars] for column in self.values]
        return self._replace(times=self.times[bars], lines=self.lines[bars], values=values)

    def reorder(self, order: Places) -> "Series":
        """All of its bars in another order, field by field: no second copy of all is held."""
        for index, column in enumerate(self.values):
            self.values[index] = column[order]
        return self._replace(times=self.times[order], lines=self.lines[order])

    def differing(self, again: Places) -> Places:
        """Those of these bars that differ from the bar before."""
        differ = np.zeros(len(again), dtype=bool)
        for column in self.values:
            before, after = column[again - 1], column[again]
            differ |= (before != after) & ~(np.isnan(before) & np.isnan(after))
        return again[differ]


class Wrong(ValueError):
    """A bar that cannot be; `index` says which."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


def present(values: Array) -> NDArray[np.bool_]:
    """Which bars are there: those that have all prices. A volume may be absent.

    :param values: fields × bars
    :raises Wrong: if a number cannot be a price or a volume
    """
    for name, column in zip(FIELDS, values, strict=True):
        wrong = (column < 0) | (column == np.inf)
        if wrong.any():
            index = int(wrong.argmax())
            raise Wrong(index, f"{name} is {column[index]}, and must be a number from 0 up")
    there = ~np.isnan(values[:PRICES]).any(axis=0)
    crossed = there & (values[_HIGH] < values[_LOW])
    if crossed.any():
        index = int(crossed.argmax())
        raise Wrong(index, f"high {values[_HIGH, index]} is below low {values[_LOW, index]}")
    return np.asarray(there)


def in_order(series: Series) -> tuple[Series, list[str]]:
    """The bars from old to new, each time once; and what was done for it.

    :raises MarketError: if two bars of one time differ, naming where they stand
    """
    steps = np.diff(series.times)
    if (steps > 0).all():
        return series, []
    told = ["newest first"] if (steps < 0).all() else []
    if (steps < 0).any():
        told = told or ["not in order of time"]
        series = series.reorder(np.argsort(series.times, kind="stable"))
    series, again = _once(series, [series.file], np.zeros(series.bars, dtype=np.int8))
    return series, told + ([f"{again:,} of its bars came twice, equal"] if again else [])


def joined(pieces: list[Series]) -> tuple[Series, int]:
    """The pieces of one symbol from several files as one; and how many bars came in more than one, equal.

    Each piece is in order. They are let go.

    :raises MarketError: if two files do not agree about a bar, naming both
    """
    if len(pieces) == 1:
        return pieces.pop(), 0
    files = [piece.file for piece in pieces]
    origin = np.repeat(np.arange(len(pieces), dtype=np.int32), [piece.bars for piece in pieces])
    whole = pieces[0]._replace(
        times=np.concatenate([piece.times for piece in pieces]),
        lines=np.concatenate([piece.lines for piece in pieces]),
        values=[np.concatenate([piece.values[field] for piece in pieces]) for field in range(len(FIELDS))],
    )
    pieces.clear()
    if (np.diff(whole.times) > 0).all():
        return whole, 0
    order = np.argsort(whole.times, kind="stable")
    return _once(whole.reorder(order), files, origin[order])


def _once(series: Series, files: Sequence[Path], origin: NDArray[Any]) -> tuple[Series, int]:
    """Each time once, and how many bars were dropped because they are equal to another.

    :param origin: which of the files each bar is from
    :raises MarketError: if two bars of one time differ
    """
    again = np.flatnonzero(np.diff(series.times) == 0) + 1
    if not again.size:
        return series, 0
    differing = series.differing(again)
    if differing.size:
        later = int(differing[0])
        one, two = (f"{files[origin[bar]]}, {series.place} {series.lines[bar]}" for bar in (later - 1, later))
        raise MarketError(
            f"{one}, and {two.removeprefix(f'{files[origin[later - 1]]}, ')}: {series.symbol} has two bars at "
            f"{timestamp(int(series.times[later]))} that differ; keep one of them, or tell symbols apart in a column "
            "`symbol`"
        )
    kept = np.ones(series.bars, dtype=bool)
    kept[again] = False
    return series.only(np.flatnonzero(kept)), len(again)


def step(times: Times) -> tuple[Milliseconds, bool]:
    """The most common step between bars (of equals the shortest; 0 where there is none), and whether it is evident.

    It is evident where more than half of at least three steps are equal: else gaps could make another of it.
    """
    if len(times) < 2:
        return 0, False
    lengths, counts = np.unique(np.diff(times), return_counts=True)
    best = int(counts.argmax())
    return int(lengths[best]), bool(counts.sum() >= 3 and 2 * counts[best] > counts.sum())

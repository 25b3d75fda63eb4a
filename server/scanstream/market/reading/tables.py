"""The bars of one file as they are read, and the series that come out of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanstream.errors import MarketError
from scanstream.market.reading.headers import ABSENT, Columns
from scanstream.market.reading.names import pair
from scanstream.market.reading.numbers import BadCell
from scanstream.market.reading.series import LineNumbers, Series, Times, Wrong, in_order, present
from scanstream.market.reading.times import Moments
from scanstream.panel import Array


class Table:
    """Bars of one file. Blocks are added, then they are settled, then taken as series."""

    def __init__(self, file: Path, place: str, columns: Columns, layout: str, symbol: str) -> None:
        self.file = file
        self.layout = layout
        """How the file is laid out, in words."""
        self.absent = 0
        """Bars without a price."""
        self.unfinished = 0
        """Bars that were not over."""
        self.told: list[str] = []
        """What was done to the bars, in words."""
        self._place = place
        self._columns = columns
        self._symbol = symbol
        self._needed = columns.needed()
        self._times: list[Growing] = []
        self._values = [Growing() for _ in self._needed]
        self._lines = Growing()
        self._names: dict[str, int] = {}
        self._codes = Growing()

    def add(
        self,
        when: Times,
        numbers: Array,
        lines: LineNumbers,
        *,
        symbols: tuple[list[str], NDArray[np.int32]] | None = None,
        over: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add rows.

        :param when: times; two rows where day and month are not told apart yet
        :param numbers: the needed columns × rows
        :param lines: where each row stands
        :param symbols: names, and which of them each row has
        :param over: whether the bar of each row is over
        :raises MarketError: if one cannot be a bar, naming the file and the line
        """
        kept = self._checked(numbers, lines)
        if over is not None:
            self.unfinished += int((kept & ~over).sum())
            kept &= over
        some = slice(None) if kept.all() else kept  # a slice copies nothing
        if symbols is not None:
            self._codes.add(self._coded(*symbols, lines)[some])
        readings = np.atleast_2d(when)
        self._times = self._times or [Growing() for _ in readings]
        for column, values in zip(self._times, readings, strict=True):
            column.add(values[some])
        self._lines.add(lines[some])
        for column, values in zip(self._values, numbers, strict=True):
            column.add(values[some])

    def _checked(self, numbers: Array, lines: LineNumbers) -> NDArray[np.bool_]:
        """Which rows have a bar of any symbol."""
        any_there = np.zeros(numbers.shape[1], dtype=bool)
        for _, places in self._columns.groups:
            try:
                there = present(self._group(numbers, places))
            except Wrong as error:
                raise MarketError(f"{self.file}, {self._place} {lines[error.index]}: {error}") from error
            self.absent += int((~there).sum())
            any_there |= there
        return any_there

    def _group(self, numbers: Array, places: tuple[int, ...]) -> Array:
        """The fields of one symbol × rows; NaN for a field that the table lacks."""
        rows = [
            np.full(numbers.shape[1], np.nan) if place == ABSENT else numbers[self._needed.index(place)]
            for place in places
        ]
        return np.array(rows)

    def _coded(self, names: list[str], codes: NDArray[np.int32], lines: LineNumbers) -> NDArray[np.int32]:
        unnamed = codes == names.index("") if "" in names else np.zeros(1, dtype=bool)
        if unnamed.any():
            raise MarketError(f"{self.file}, {self._place} {lines[int(unnamed.argmax())]}: it names no symbol")
        known = [self._names.setdefault(pair(name), len(self._names)) for name in names]
        return np.array(known, dtype=np.int32)[codes]

    def settle(self, moments: Moments) -> None:
        """All rows were added: put them together.

        :raises MarketError: if there are none, or day and month cannot be told apart
        """
        lines = self._lines.take(np.dtype(np.int32))
        if not len(lines):
            raise MarketError(f"{self.file} has no bars" + (" with prices" if self.absent else ""))
        readings = [column.take(np.dtype(np.int64)) for column in self._times]
        try:
            times, words = moments.settle(readings[0] if len(readings) == 1 else np.array(readings))
        except BadCell as error:
            raise MarketError(f"{self.file}, {self._place} {lines[error.index]}: {error}") from error
        self._settled = times, lines
        self.layout = f"{self.layout}; {words}"

    def series(self) -> Iterator[Series]:
        """The bars of each symbol, in order. The table is empty afterwards.

        :raises MarketError: if two bars of one time differ
        """
        times, lines = self._settled
        columns = [column.take(np.dtype(np.float64)) for column in self._values]
        if self._columns.symbol != ABSENT:
            yield from self._split(times, lines, columns)
            return
        for symbol, places in self._columns.groups:
            series = Series(pair(symbol) or self._symbol, self.file, self._place, times, lines, [])
            series.values.extend(self._fields(places, columns, len(times)))
            if len(self._columns.groups) > 1:
                there = present(np.array(series.values))
                series = series if there.all() else series.only(np.flatnonzero(there))
            yield self._ordered(series)

    def _fields(self, places: tuple[int, ...], columns: list[Array], bars: int) -> list[Array]:
        """The fields of one symbol; what the table lacks is NaN, and takes no memory."""
        return [
            np.broadcast_to(np.nan, bars) if place == ABSENT else columns[self._needed.index(place)] for place in places
        ]

    def _split(self, times: Times, lines: LineNumbers, columns: list[Array]) -> Iterator[Series]:
        """By symbol, where a column names it: sorted once, column by column, then cut."""
        codes = self._codes.take(np.dtype(np.int32))
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=len(self._names)))
        for index, column in enumerate(columns):
            columns[index] = column[order]
        [(_, places)] = self._columns.groups
        fields = self._fields(places, columns, len(times))
        whole = Series("", self.file, self._place, times[order], lines[order], fields)
        for symbol, code in self._names.items():
            cut = slice(int(ends[code - 1]) if code else 0, int(ends[code]))
            if cut.start < cut.stop:
                yield self._ordered(whole.only(cut)._replace(symbol=symbol))

    def _ordered(self, series: Series) -> Series:
        series, told = in_order(series)
        self.told += [words for words in told if words not in self.told]
        return series


class Growing:
    """One column that grows block by block, without a second copy at its end."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, block: NDArray[Any]) -> None:
        """What comes next."""
        self._bytes += np.ascontiguousarray(block).view(np.uint8).data

    def take(self, kind: np.dtype[Any]) -> NDArray[Any]:
        """All of it, as one array of this type; nothing is left here."""
        whole, self._bytes = np.frombuffer(self._bytes, dtype=kind), bytearray()
        return whole

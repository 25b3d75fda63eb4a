"""Candles from text: one file, block by block, into arrays.

A block of plain numbers is read by NumPy; any other, and one that NumPy does not take, cell by cell: that knows quotes,
commas and words, and names the line of what is wrong.
"""

import csv
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scanstream.errors import MarketError
from scanstream.market.reading.headers import ABSENT, UNFINISHED
from scanstream.market.reading.layouts import HEAD_LINES, BadLayout, Layout, layout_of
from scanstream.market.reading.lines import Lines, opened
from scanstream.market.reading.numbers import BadCell, Numbers
from scanstream.market.reading.series import LineNumbers
from scanstream.market.reading.tables import Table
from scanstream.market.reading.times import Moments, combined
from scanstream.panel import Array

BLOCK_LINES = 16_384
_TIME_BYTES, _WORD_CHARACTERS = 48, 48
"""The longest time and symbol that the quick way takes."""


class Block(NamedTuple):
    """Some rows, as far as the layout needs them."""

    when: NDArray[np.bytes_]
    numbers: Array
    """Needed columns × rows, NaN where a cell is empty."""
    symbols: tuple[list[str], NDArray[np.int32]] | None
    """Names, and which of them each row has."""
    over: NDArray[np.bool_] | None
    """Whether the bar of each row is over."""
    lines: LineNumbers


def read_text(file: Path, symbol: str, took: Callable[[int], None]) -> Table:
    """All bars of one file.

    :param symbol: what they are of, where the file does not say
    :param took: called with how many rows were read, again and again
    :raises MarketError: naming the file and the line
    """
    with opened(file) as lines:
        head = list(islice(lines, HEAD_LINES))
        try:
            layout = layout_of(head, symbol)
        except BadLayout as error:
            raise MarketError(f"{file}, line {error.line}: {error}") from error
        table = Table(file, "line", layout.columns, layout.words, symbol)
        moments = Moments()
        for block in _Reading(file, layout, head, lines).blocks():
            try:
                when = moments.read(block.when)
            except BadCell as error:
                raise MarketError(f"{file}, line {block.lines[error.index]}: {error}") from error
            table.add(when, block.numbers, block.lines, symbols=block.symbols, over=block.over)
            took(len(block.lines))
    table.settle(moments)
    return table


class _Reading:
    """A file's rows, block by block."""

    def __init__(self, file: Path, layout: Layout, head: list[str], lines: Lines) -> None:
        self._file = file
        self._layout = layout
        columns = layout.columns
        self.needed = columns.needed()
        self._words = [index for index in (columns.symbol, columns.finished) if index != ABSENT]
        self._body = chain(head[layout.skipped :], lines)
        self._line = layout.skipped
        self._numbers = Numbers()
        fields: list[Any] = [(f"t{place}", f"S{_TIME_BYTES}") for place in range(len(columns.time))]
        fields += [(f"n{place}", "f8") for place in range(len(self.needed))]
        fields += [(f"w{place}", f"U{_WORD_CHARACTERS}") for place in range(len(self._words))]
        self._dtype = np.dtype(fields)
        self._columns = [*columns.time, *self.needed, *self._words]

    def blocks(self) -> Iterator[Block]:
        """In order.

        :raises MarketError: naming the file and the line
        """
        while lines := list(islice(self._body, BLOCK_LINES)):
            first = self._line + 1
            self._line += len(lines)
            block = self._quickly(lines, first) or self._carefully(lines, first)
            if block is not None:
                yield block

    def _quickly(self, lines: list[str], first: int) -> Block | None:
        """All rows at once; None if there is anything in them that is not plain."""
        counts = {line.count(self._layout.delimiter) for line in lines}
        if counts != {self._layout.width - 1} or any('"' in line for line in lines):
            return None
        try:
            rows = np.loadtxt(
                lines,
                dtype=self._dtype,
                delimiter=self._layout.delimiter,
                usecols=self._columns,
                comments=None,
                ndmin=1,
            )
        except (ValueError, UnicodeEncodeError):
            return None
        times = [rows[f"t{place}"] for place in range(len(self._layout.columns.time))]
        words = [np.char.strip(rows[f"w{place}"]) for place in range(len(self._words))]
        if len(rows) != len(lines) or any(_is_cut(column) for column in (*times, *words)):
            return None
        self._numbers.took_points()
        numbers = np.array([rows[f"n{place}"] for place in range(len(self.needed))])
        return self._block(times, numbers, words, first + np.arange(len(rows)))

    def _block(self, times: list[Any], numbers: Array, words: list[Any], lines: Any) -> Block:
        when = combined(*times) if len(times) == 2 else times[0]
        when = when.astype(f"S{max(1, int(np.char.str_len(when).max(initial=1)))}")
        symbols = over = None
        if self._layout.columns.symbol != ABSENT:
            names, codes = np.unique(words[0], return_inverse=True)
            symbols = names.tolist(), codes.astype(np.int32)
        if self._layout.columns.finished != ABSENT:
            over = ~np.isin(np.char.lower(words[-1]), UNFINISHED)
        return Block(when, numbers, symbols, over, lines.astype(np.int32))

    def _carefully(self, lines: list[str], first: int) -> Block | None:
        """Row by row; None if there is no bar in them."""
        rows, places = self._rows(lines, first)
        if not rows:
            return None
        cells = [[row[index].strip() for row in rows] for index in self._columns]
        count = len(self._layout.columns.time)
        try:
            times = [np.array([cell.encode("ascii", "replace") for cell in column]) for column in cells[:count]]
            numeric = cells[count : count + len(self.needed)]
            self._numbers.decide(numeric)
            numbers = np.array([self._numbers.column(column) for column in numeric])
        except BadCell as error:
            raise MarketError(f"{self._file}, line {places[error.index]}: {error}") from error
        words = [np.array(column) for column in cells[count + len(self.needed) :]]
        return self._block(times, numbers, words, np.array(places))

    def _rows(self, lines: list[str], first: int) -> tuple[list[list[str]], list[int]]:
        """The rows that are bars, and the line of each: no blank lines, no comments, no header once more."""
        source = _Source(lines, self._body)
        reader = csv.reader(source, delimiter=self._layout.delimiter, strict=True)
        rows: list[list[str]] = []
        places: list[int] = []
        try:
            while not source.used_up():
                row = next(reader, None)
                if row is None:
                    break
                if self._is_bar(row):
                    self._require_width(row)
                    rows.append(row)
                    places.append(first + source.taken - 1)
        except (ValueError, csv.Error) as error:
            raise MarketError(f"{self._file}, line {first + max(0, source.taken - 1)}: {error}") from error
        self._line += max(0, source.taken - len(lines))
        return rows, places

    def _is_bar(self, row: list[str]) -> bool:
        if not row or row[0].startswith("#") or not any(cell.strip() for cell in row):
            return False
        return [cell.strip() for cell in row[: self._layout.width]] != self._layout.header

    def _require_width(self, row: list[str]) -> None:
        width = self._layout.width
        if len(row) < width or any(cell.strip() for cell in row[width:]):
            there = "the header has" if self._layout.header else "the first bar has"
            raise ValueError(f"{len(row)} fields where {there} {width}")


class _Source:
    """The lines of a block; and those after it, where a cell goes on beyond its end."""

    def __init__(self, lines: list[str], more: Iterator[str]) -> None:
        self._lines = chain(lines, more)
        self._count = len(lines)
        self.taken = 0

    def __iter__(self) -> "_Source":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.taken += 1
        return line

    def used_up(self) -> bool:
        """Whether the block's own lines were all taken."""
        return self.taken >= self._count


def _is_cut(column: NDArray[Any]) -> bool:
    """Whether a text may be longer than what the quick way takes."""
    return bool((np.char.str_len(column) >= min(_TIME_BYTES, _WORD_CHARACTERS)).any())

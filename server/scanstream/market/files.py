"""Candles from files: one file, or a directory of them, as exchanges, pandas, yfinance and others write them.

docs/market.md tells what is read. What is wrong is named by file and line; nothing is dropped without a word.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from scanstream.errors import MarketError
from scanstream.market.alignment import aligned
from scanstream.market.reading.csvfiles import read_text
from scanstream.market.reading.parquet import ColumnarReader, is_columnar
from scanstream.market.reading.progress import Progress
from scanstream.market.reading.series import Series, joined, step
from scanstream.market.reading.sources import Source, found_in
from scanstream.market.reading.tables import Table
from scanstream.model import LONGEST_SYMBOL, Milliseconds, timestamp
from scanstream.panel import Panel, timeframe_name

SHORTEST: Milliseconds = 1000
"""Bars are at least so long, and whole seconds: there is no name for others."""
_DAY: Milliseconds = 86_400_000
_RARE = 20
"""Of so many bars one that opens elsewhere is astray."""
_LOOKED_AT = 2000
"""Bars of a series that are looked at for when they open."""
logger = logging.getLogger("scanstream.market")


class FilesMarket:
    """The market in a file or a directory."""

    live = False

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """`files:` and the path's last name: the state is no place for paths of the server."""
        return f"files:{self._path.resolve().name}".encode(errors="replace").decode()

    def load(self) -> Panel:
        """See `Market.load`. Ends at once where the task that waits for this thread is cancelled."""
        sources, _ = found_in(self._path)
        progress = Progress(self.name, len(sources))
        gathered = Gathered(self.name)
        with ColumnarReader(progress.took) as columnar:
            for source in sources:
                table = read(source, columnar, progress)
                for series in table.series():
                    gathered.add(series)
                for words in remarks(table):
                    logger.warning("%s: %s", table.file, words)
        panel, notes = gathered.panel()
        for words in notes:
            logger.warning("%s: %s", self.name, words)
        progress.finished()
        return panel


def read(source: Source, columnar: ColumnarReader, progress: Progress) -> Table:
    """The bars of one file.

    :raises MarketError: naming the file that cannot be read, and where
    """
    if source.is_text and not is_columnar(source.file):
        table = read_text(source.file, source.symbol, progress.took)
    else:
        table = columnar.read(source.file, source.symbol)
    progress.finished_file()
    return table


class Gathered:
    """The series of all files, on their way into one panel."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._pieces: dict[str, list[Series]] = {}
        self._lengths = Lengths()

    def add(self, series: Series) -> None:
        """What one file has of one symbol.

        :raises MarketError: if the symbol is nothing that a request could name
        """
        name = series.symbol
        if not (0 < len(name) <= LONGEST_SYMBOL and name.isprintable() and "," not in name):
            raise MarketError(
                f"{series.file}: {name[:LONGEST_SYMBOL]!r} is no symbol: 1 to {LONGEST_SYMBOL} printable characters "
                "without a comma; rename the file, or what its column says"
            )
        if series.bars:
            self._lengths.add(series)
            self._pieces.setdefault(series.symbol, []).append(series)

    def panel(self) -> tuple[Panel, list[str]]:
        """All of it on one time axis; and what an operator should know. Nothing is left here.

        :raises MarketError: if the files cannot be one market
        """
        if self._lengths.differ:  # before bars of one time are compared: those of other lengths differ, too
            self._lengths.agreed(self._name)
        symbols = sorted(self._pieces)
        whole: list[Series] = []
        notes: list[str] = []
        for symbol in symbols:
            series, again = joined(self._pieces.pop(symbol))
            self._lengths.add_joined(series)
            whole.append(series)
            if again:
                notes.append(f"{again:,} bars of {symbol} are in more than one file, equal")
        timeframe = self._lengths.agreed(self._name)
        require_one_grid(whole, timeframe)
        notes += [words for series in whole for words in astray(series, timeframe)]
        times, table = aligned(whole)
        return Panel(self._name, "files", timeframe, tuple(symbols), times, *table), notes


def remarks(table: Table) -> Iterator[str]:
    """What an operator should know about a file that can be read."""
    if table.absent:
        yield f"{table.absent:,} bars have no price, and are absent"
    if table.unfinished:
        yield f"{table.unfinished:,} bars are not over, and left out"
    yield from (words for words in table.told if "twice" in words)


class Lengths:
    """How long the bars of each file are; they must be as long in all."""

    def __init__(self) -> None:
        self._counts: Counter[Milliseconds] = Counter()
        self._evident: dict[Milliseconds, str] = {}

    def add(self, series: Series) -> None:
        """One file's bars of one symbol."""
        length, evident = step(series.times)
        if length:
            self._counts[length] += series.bars
        if evident:
            self._evident.setdefault(length, f"{series.symbol} in {series.file}")

    def add_joined(self, series: Series) -> None:
        """A symbol's bars of all files: where each file has one bar, only they tell."""
        if not self._counts:
            self.add(series)

    @property
    def differ(self) -> bool:
        """Whether two files are evidently not of one length."""
        return len(self._evident) > 1

    def agreed(self, name: str) -> Milliseconds:
        """The length of all bars.

        :raises MarketError: if files do not agree, or it is none
        """
        if not self._counts:
            raise MarketError(f"{name} has one bar; a market needs at least two")
        length = max(self._counts, key=lambda length: (length in self._evident, self._counts[length], -length))
        others = [other for other in self._evident if other != length]
        if others:
            raise MarketError(
                f"{name}: bars of {said(length)} ({self._evident[length]}) and of {said(others[0])} "
                f"({self._evident[others[0]]}) are in one market; put each length into a directory of its own"
            )
        if length < SHORTEST or length % SHORTEST:
            raise MarketError(f"{name}: its bars are {length} ms long; they must be whole seconds")
        return length


def require_one_grid(series: Sequence[Series], length: Milliseconds) -> None:
    """See that all series can meet on one time axis.

    :raises MarketError: naming two whose bars never open at one time of their length
    """
    first = phases(series[0], length)
    for other in series[1:]:
        found = phases(other, length)
        if first.isdisjoint(found):
            one, two = (
                f"{piece.symbol} ({piece.file}) opens at {timestamp(int(piece.times[0]))}"
                for piece in (series[0], other)
            )
            raise MarketError(
                f"bars of {said(length)} that never open together: {one}, {two}; a market has one time axis, so put "
                "them into two directories, or write days as YYYY-MM-DD without a time"
            )


def phases(series: Series, length: Milliseconds) -> set[int]:
    """By how much its bars open after a whole multiple of their length, or of a day."""
    some = series.times[:: max(1, series.bars // _LOOKED_AT)]
    return set(np.unique(some % min(length, _DAY)).tolist())


def astray(series: Series, length: Milliseconds) -> Iterator[str]:
    """A word on the few bars that open where no other does, such as one that yfinance gives of a bar under way."""
    opened = series.times % length
    places, counts = np.unique(opened, return_counts=True)
    rare = places[counts * _RARE < series.bars]
    if length < _DAY and rare.size:
        found = np.flatnonzero(np.isin(opened, rare))
        at = timestamp(int(series.times[found[-1]]))
        yield f"{len(found):,} bars of {series.symbol} open off the others' steps of {said(length)}, the last at {at}"


def said(length: Milliseconds) -> str:
    """A length of bars in words, also where there is no name for it."""
    return timeframe_name(length) if length % SHORTEST == 0 else f"{length} ms"

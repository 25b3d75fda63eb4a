"""Candles from one Parquet file, or from a directory of CSV files, one a symbol: `ETH_BTC.csv` is ETH/BTC.

Each CSV file has the columns `timestamp,open,high,low,close,volume` in any order, one bar a line, oldest first. A
timestamp is ISO 8601 (UTC unless it says otherwise) or whole seconds or milliseconds since 1970.
"""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scanstream.errors import MarketError
from scanstream.market.alignment import LATEST, SECONDS_UNTIL, Bars, align
from scanstream.market.parquet import read_parquet
from scanstream.model import Milliseconds
from scanstream.panel import FIELDS, Array, Panel

COLUMNS = ("timestamp", *FIELDS)


class FilesMarket:
    """The market in a directory of CSV files, or in a Parquet file."""

    live = False

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """`files:` and the path's last name: the state is no place for paths of the server."""
        return f"files:{self._path.resolve().name}"

    def load(self) -> Panel:
        """See `Market.load`."""
        if self._path.is_file():
            return _panel(self.name, *read_parquet(self._path))
        files = sorted(self._path.glob("*.csv")) if self._path.is_dir() else []
        if not files:
            raise MarketError(
                f"--market files:{self._path}: there is no directory with SYMBOL.csv files, and no Parquet file"
            )
        series = {file.stem.replace("_", "/"): read_csv(file) for file in files}
        return _panel(self.name, tuple(series), *align(list(series.values()), len(FIELDS)))


def read_csv(file: Path) -> Bars:
    """One symbol's bars.

    :raises MarketError: naming the file and the line
    """
    bars: Bars = {}
    last: Milliseconds | None = None
    try:
        with file.open("rb") as text:
            for line, (at, values) in _rows(file, text):
                if last is not None and at <= last:
                    raise MarketError(f"{file}, line {line}: timestamps must rise from line to line")
                bars[at] = values
                last = at
    except OSError as error:
        raise MarketError(f"{file} cannot be read: {error}") from error
    if not bars:
        raise MarketError(f"{file} has no bars")
    return bars


def _rows(file: Path, text: Iterable[bytes]) -> Iterator[tuple[int, tuple[Milliseconds, tuple[float, ...]]]]:
    lines = _Lines(text)
    reader = csv.reader(lines, strict=True)
    try:
        order = _order([name.strip().lower() for name in next(reader, [])])
        for row in reader:
            if row:
                yield lines.number, _bar(row, order)
    except (ValueError, csv.Error) as error:
        raise MarketError(f"{file}, line {max(1, lines.number)}: {error}") from error


class _Lines:
    """Decoded lines that know how many they were."""

    def __init__(self, text: Iterable[bytes]) -> None:
        self._text = iter(text)
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._text:
            self.number += 1
            yield line.decode("utf-8-sig" if self.number == 1 else "utf-8")


def _order(header: list[str]) -> list[int]:
    """Where each column is."""
    if missing := [name for name in COLUMNS if name not in header]:
        raise ValueError(f"the header lacks {', '.join(missing)}; it must have {','.join(COLUMNS)}")
    return [len(header), *(header.index(name) for name in COLUMNS)]


def _bar(row: list[str], order: list[int]) -> tuple[Milliseconds, tuple[float, ...]]:
    columns, when, *prices = order
    if len(row) != columns:
        raise ValueError(f"{len(row)} fields where the header has {columns}")
    at = _milliseconds(row[when].strip())
    values = tuple(float(row[index]) for index in prices)
    for name, value in zip(FIELDS, values, strict=True):
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"{name} is {value}, and must be a number from 0 up")
    if values[1] < values[2]:
        raise ValueError(f"high {values[1]} is below low {values[2]}")
    return at, values


def _milliseconds(text: str) -> Milliseconds:
    if text.isascii() and text.isdigit():
        number = int(text) if len(text) <= 20 else LATEST + 1
        at = number if number >= SECONDS_UNTIL else number * 1000
        if at > LATEST:
            raise ValueError(f"the timestamp {text} is after the year 9999: it must be in seconds or milliseconds")
        return at
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _panel(name: str, symbols: tuple[str, ...], times: NDArray[np.int64], table: Array) -> Panel:
    if len(times) < 2:
        raise MarketError(f"{name} has one bar; a market needs at least two")
    steps = Counter(np.diff(times).tolist())
    timeframe = min(step for step, count in steps.items() if count == max(steps.values()))
    return Panel(name, "files", timeframe, symbols, times, *table)

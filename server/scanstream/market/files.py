"""Candles from a directory of CSV files, one a symbol: `ETH_BTC.csv` is ETH/BTC.

Each has the columns `timestamp,open,high,low,close,volume` in any order, one bar a line, oldest first. A timestamp is
ISO 8601 (UTC unless it says otherwise) or whole seconds or milliseconds since 1970.
"""

import csv
import math
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from scanstream.errors import MarketError
from scanstream.model import Milliseconds
from scanstream.panel import FIELDS, Panel

COLUMNS = ("timestamp", *FIELDS)
_MILLISECONDS_FROM = 100_000_000_000
"""Whole numbers from here on are milliseconds: as seconds it would be the year 5138."""

Bars = dict[Milliseconds, tuple[float, ...]]
"""Opening time → open, high, low, close, volume."""


class FilesMarket:
    """The market in a directory of CSV files."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """`files:` and the directory's last name: the state is no place for paths of the server."""
        return f"files:{self._path.resolve().name}"

    def load(self) -> Panel:
        """See `Market.load`."""
        files = sorted(self._path.glob("*.csv")) if self._path.is_dir() else []
        if not files:
            raise MarketError(f"--market files:{self._path}: there is no directory with SYMBOL.csv files")
        series = {file.stem.replace("_", "/"): read_csv(file) for file in files}
        return _align(self.name, series)


def read_csv(file: Path) -> Bars:
    """One symbol's bars.

    :raises MarketError: naming the file and the line
    """
    bars: Bars = {}
    last: Milliseconds | None = None
    try:
        with file.open(newline="", encoding="utf-8") as text:
            for line, (at, values) in _rows(file, text):
                if last is not None and at <= last:
                    raise MarketError(f"{file}, line {line}: timestamps must rise from line to line")
                bars[at] = values
                last = at
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MarketError(f"{file} cannot be read: {error}") from error
    if not bars:
        raise MarketError(f"{file} has no bars")
    return bars


def _rows(file: Path, text: Iterator[str]) -> Iterator[tuple[int, tuple[Milliseconds, tuple[float, ...]]]]:
    reader = csv.reader(text, strict=True)
    header = [name.strip().lower() for name in next(reader, [])]
    if missing := [name for name in COLUMNS if name not in header]:
        raise MarketError(f"{file}, line 1: the header lacks {', '.join(missing)}; it must have {','.join(COLUMNS)}")
    order = [header.index(name) for name in COLUMNS]
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            raise MarketError(f"{file}, line {reader.line_num}: {len(row)} fields where the header has {len(header)}")
        try:
            yield reader.line_num, _bar([row[index] for index in order])
        except ValueError as error:
            raise MarketError(f"{file}, line {reader.line_num}: {error}") from error


def _bar(row: list[str]) -> tuple[Milliseconds, tuple[float, ...]]:
    at = _milliseconds(row[0].strip())
    values = tuple(float(cell) for cell in row[1:])
    for name, value in zip(FIELDS, values, strict=True):
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"{name} is {value}, and must be a number from 0 up")
    if values[1] < values[2]:
        raise ValueError(f"high {values[1]} is below low {values[2]}")
    return at, values


def _milliseconds(text: str) -> Milliseconds:
    if text.isascii() and text.isdigit():
        number = int(text)
        return number if number >= _MILLISECONDS_FROM else number * 1000
    at = datetime.fromisoformat(text)
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _align(name: str, series: dict[str, Bars]) -> Panel:
    """One time axis for all: a bar that only some symbols have is NaN for the others."""
    times = np.array(sorted(set().union(*series.values())), dtype=np.int64)
    if len(times) < 2:
        raise MarketError(f"{name} has one bar; a market needs at least two")
    steps = Counter(np.diff(times).tolist())
    timeframe = min(step for step, count in steps.items() if count == max(steps.values()))
    row_of = {at: row for row, at in enumerate(times.tolist())}
    table = np.full((len(FIELDS), len(times), len(series)), np.nan)
    for column, bars in enumerate(series.values()):
        rows = [row_of[at] for at in bars]
        table[:, rows, column] = np.array(list(bars.values())).T
    return Panel(name, "files", timeframe, tuple(series), times, *table)

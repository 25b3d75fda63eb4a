"""Candles from one Parquet file with the columns `symbol,timestamp,open,high,low,close,volume`, a bar a row.

Needs the extra `parquet` (polars). Rows may be in any order; further columns are ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scanstream.errors import MarketError
from scanstream.market.alignment import LATEST, SECONDS_UNTIL
from scanstream.panel import FIELDS, Array

if TYPE_CHECKING:
    import polars


class Table(NamedTuple):
    """What a file holds, on one time axis."""

    symbols: tuple[str, ...]
    times: NDArray[np.int64]
    """Opening times, milliseconds, rising."""
    values: Array
    """Fields × times × symbols, NaN where a symbol lacks a bar."""


def read_parquet(file: Path) -> Table:
    """All bars of the file.

    :raises MarketError: naming the file, the column or the row, and what to do
    """
    try:
        import polars  # noqa: PLC0415  # an extra: only who has such files needs it
    except ImportError as error:
        raise MarketError(
            f"--market files:{file}: reading Parquet needs polars; install it with: pip install 'scanstream[parquet]'"
        ) from error
    try:
        frame = polars.read_parquet(file, columns=_columns(file, polars.read_parquet_schema(file)))
        return _table(frame)
    except (OSError, ValueError, polars.exceptions.PolarsError) as error:
        raise MarketError(f"{file}: {error}") from error


def _columns(file: Path, schema: dict[str, polars.DataType]) -> list[str]:
    wanted = ["symbol", "timestamp", *FIELDS]
    if missing := [name for name in wanted if name not in schema]:
        raise MarketError(f"{file}: the column {missing[0]} is missing; there must be {','.join(wanted)}")
    return wanted


def _table(frame: polars.DataFrame) -> Table:
    if frame.is_empty():
        raise ValueError("it has no rows")
    if nulls := [name for name, count in frame.null_count().row(0, named=True).items() if count]:
        raise ValueError(f"the column {nulls[0]} has absent values; leave out the rows of absent bars")
    milliseconds = _milliseconds(frame["timestamp"])
    values = np.array([frame[name].cast(float).to_numpy() for name in FIELDS])
    _check(values)
    symbols, columns = np.unique(frame["symbol"].cast(str).to_numpy().astype(str), return_inverse=True)
    times, rows = np.unique(milliseconds, return_inverse=True)
    _require_once(rows * len(symbols) + columns)
    table = np.full((len(FIELDS), len(times), len(symbols)), np.nan)
    table[:, rows, columns] = values
    return Table(tuple(symbols.tolist()), times, table)


def _milliseconds(column: polars.Series) -> NDArray[np.int64]:
    """Times as milliseconds since 1970; a datetime without a zone is UTC."""
    if str(column.dtype).startswith("Date"):  # dates, and dates with times
        return column.dt.epoch("ms").to_numpy()
    if not column.dtype.is_integer():
        raise ValueError(f"the column timestamp is {column.dtype}; it must be dates and times, or whole numbers")
    numbers = column.cast(int).to_numpy()
    milliseconds = np.where(numbers < SECONDS_UNTIL, numbers * 1000, numbers)
    if late := np.flatnonzero((milliseconds > LATEST) | (numbers < 0)).tolist():
        raise ValueError(f"row {late[0] + 1}: the timestamp {numbers[late[0]]} must be in seconds or milliseconds")
    return np.asarray(milliseconds, dtype=np.int64)


def _check(values: Array) -> None:
    """The same rules as for CSV files."""
    for name, column in zip(FIELDS, values, strict=True):
        if bad := np.flatnonzero(~((column >= 0) & (column < np.inf))).tolist():
            raise ValueError(f"row {bad[0] + 1}: {name} is {column[bad[0]]}, and must be a number from 0 up")
    high, low = values[FIELDS.index("high")], values[FIELDS.index("low")]
    if bad := np.flatnonzero(high < low).tolist():
        raise ValueError(f"row {bad[0] + 1}: high {high[bad[0]]} is below low {low[bad[0]]}")


def _require_once(places: NDArray[np.int64]) -> None:
    seen, first = np.unique(places, return_index=True)
    if len(seen) < len(places):
        again = np.setdiff1d(np.arange(len(places)), first)[0]
        raise ValueError(f"row {again + 1}: this symbol has a bar at this time already")

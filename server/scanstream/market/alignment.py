"""One time axis for series that each have their own times."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scanstream.market.reading.series import Series
from scanstream.model import Milliseconds
from scanstream.panel import FIELDS, Array

Bars = dict[Milliseconds, tuple[float, ...]]
"""Opening time → open, high, low, close, volume."""


def align(series: Sequence[Bars], width: int) -> tuple[NDArray[np.int64], Array]:
    """All times that any of the series has, rising, and a table: values × times × series.

    What only some series have is NaN for the others. `width` is how many values there are at each time.
    """
    times = np.array(sorted(set().union(*series)), dtype=np.int64)
    row_of = {at: row for row, at in enumerate(times.tolist())}
    table = np.full((width, len(times), len(series)), np.nan)
    for column, bars in enumerate(series):
        if bars:
            rows = [row_of[at] for at in bars]
            table[:, rows, column] = np.array(list(bars.values())).T
    return times, table


def aligned(series: list[Series]) -> tuple[NDArray[np.int64], Array]:
    """The same of series of arrays, each in order. They are let go one by one, as they are laid down."""
    times = series[0].times
    for other in series[1:]:
        if not np.array_equal(times, other.times):
            times = np.union1d(times, other.times)
    table = np.full((len(FIELDS), len(times), len(series)), np.nan)
    for column in range(len(series)):
        piece = series.pop(0)
        rows = np.searchsorted(times, piece.times)
        for field, values in enumerate(piece.values):
            table[field, rows, column] = values
    return times, table

"""One time axis for series that each have their own times."""

from collections.abc import Sequence
from itertools import chain

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

    Series by series: the server goes on meanwhile, and one call over all of them would hold it up.
    """
    each = [np.fromiter(bars, dtype=np.int64, count=len(bars)) for bars in series]
    times = np.unique(np.concatenate(each)) if each else np.zeros(0, dtype=np.int64)
    table = np.full((width, len(times), len(series)), np.nan)
    for column, (bars, at) in enumerate(zip(series, each, strict=True)):
        values = np.fromiter(chain.from_iterable(bars.values()), dtype=np.float64, count=width * len(bars))
        table[:, np.searchsorted(times, at), column] = values.reshape(-1, width).T
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

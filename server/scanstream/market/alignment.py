"""One time axis for series that each have their own times; and how times are read."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scanstream.model import Milliseconds
from scanstream.panel import Array

Bars = dict[Milliseconds, tuple[float, ...]]
"""Opening time → open, high, low, close, volume."""


SECONDS_UNTIL = 100_000_000_000
"""Whole numbers below this are seconds, from it on milliseconds: as seconds it would be the year 5138."""
LATEST: Milliseconds = 253_402_300_799_999
"""The end of the year 9999."""


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

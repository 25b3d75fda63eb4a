"""What strategies share: log prices, windows, a first-order autoregression, and the score of past trades."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scanstream.panel import Array

Bars: TypeAlias = NDArray[np.intp]
"""Indices of bars, or lengths of time in bars."""

STILL = 1e-9
"""A standard deviation of log prices below this is rounding: the series does not move."""


def logs(prices: Array) -> Array:
    """Natural logarithm, NaN where there is no positive, finite price."""
    return np.log(np.where((prices > 0) & (prices < np.inf), prices, np.nan))


def windows(values: Array, bars: Bars, length: int) -> Array:
    """The `length` last values as of each of `bars`, that bar included, none after it: bars × symbols × length."""
    return np.asarray(np.lib.stride_tricks.sliding_window_view(values, length, axis=0)[bars - length + 1])


def judged(bars: int, needed: int, count: int) -> Bars:
    """The last `count` bars before the last one, as far as `needed` bars of data reach back."""
    return np.arange(max(needed - 1, bars - 1 - count), bars - 1) if count else np.arange(0)


class Autoregression(NamedTuple):
    """x_t = a + b·x_{t−1} + e, by ordinary least squares; NaN where the series has a gap or does not move."""

    b: Array
    mean: Array
    """a / (1 − b), which the series returns to; anything unless 0 < b < 1."""
    error: Array
    """Standard error of e, with two degrees of freedom taken by a and b."""


def autoregression(series: Array) -> Autoregression:
    """Fit each series along the last axis."""
    anchor = series[..., :1]
    before, after = series[..., :-1] - anchor, series[..., 1:] - anchor
    middle, next_middle = before.mean(axis=-1), after.mean(axis=-1)
    before, after = before - middle[..., np.newaxis], after - next_middle[..., np.newaxis]
    count = before.shape[-1]
    spread = (before**2).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        b = np.where(spread > count * STILL**2, (before * after).sum(axis=-1) / spread, np.nan)
        error = np.sqrt(((after - b[..., np.newaxis] * before) ** 2).sum(axis=-1) / (count - 2))
        mean = anchor[..., 0] + (next_middle - b * middle) / (1 - b)
    return Autoregression(b, mean, error)


def half_life(b: Array) -> Array:
    """−ln 2 / ln b: bars until half of a deviation is gone; NaN unless 0 < b < 1."""
    within = (b > 0) & (b < 1)
    return -math.log(2) / np.log(np.where(within, b, np.nan))


def holding(half_lives: Array) -> Bars:
    """Two half-lives, rounded up: when three quarters of a deviation should be gone. 0 where there is none."""
    return np.asarray(np.ceil(2 * np.nan_to_num(np.minimum(half_lives, 1e9))), dtype=np.intp)


class Record(NamedTuple):
    """The walk-forward of each symbol."""

    hits: NDArray[np.int64]
    trades: NDArray[np.int64]

    def of(self, column: int) -> tuple[int, int]:
        """(trades that made money, trades) of one symbol."""
        return int(self.hits[column]), int(self.trades[column])


def tally(columns: NDArray[np.intp], counted: NDArray[np.bool_], won: NDArray[np.bool_], size: int) -> Record:
    """Trades by the symbol that they are of."""
    return Record(np.bincount(columns[won & counted], minlength=size), np.bincount(columns[counted], minlength=size))


def ahead(values: Array, bars: Bars, columns: Bars, steps: int) -> Array:
    """How far the values are, on each of the bars after these, from where they were: trades × steps.

    NaN beyond the end of the data and in gaps.
    """
    later = bars[:, np.newaxis] + np.arange(1, steps + 1)
    there = values[np.minimum(later, len(values) - 1), columns[:, np.newaxis]]
    return np.where(later < len(values), there, np.nan) - values[bars, columns][:, np.newaxis]


def outcomes(
    gains: Array, horizons: Bars, target: Array | float, stop: Array | float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(which trades count, which of them made money), from the gain of each on every bar after it was opened.

    A trade ends at the first close that has reached its target (a hit) or is beyond its stop (none), else at its
    horizon, and is a hit there if it made money. It counts if there is a price at its horizon.

    :param gains: trades × bars, at least as many bars as the longest horizon
    :param target: gain at which a trade is closed, and
    :param stop: loss beyond which it is: each one number a trade, or one for all
    """
    if not gains.size:
        return np.zeros(len(gains), dtype=bool), np.zeros(len(gains), dtype=bool)
    final = gains[np.arange(len(gains)), horizons - 1]
    held = np.arange(gains.shape[1]) < horizons[:, np.newaxis]
    reached = held & (gains >= np.reshape(target, (-1, 1)))
    stopped = held & (gains < -np.reshape(stop, (-1, 1)))
    first_reached = np.where(reached.any(axis=1), reached.argmax(axis=1), gains.shape[1])
    first_stopped = np.where(stopped.any(axis=1), stopped.argmax(axis=1), gains.shape[1])
    won = (first_reached < first_stopped) | (~stopped.any(axis=1) & (final > 0))
    return np.isfinite(final), won


def silence(symbols: Sequence[str], bars: int) -> str:
    """The note on symbols without whole data."""
    return f"{', '.join(symbols)}: a gap or no price within the last {bars} bars"


def stillness(symbols: Sequence[str]) -> str:
    """The note on symbols that nothing can be said of."""
    return f"{', '.join(symbols)}: the price does not move"


def reasons(symbols: Sequence[str], gaps: NDArray[np.bool_], bars: int, still: NDArray[np.bool_]) -> Iterator[str]:
    """The notes on symbols that are silent: those with gaps in the last `bars`, and those that do not move."""
    if gaps.any():
        yield silence([symbols[place] for place in np.flatnonzero(gaps).tolist()], bars)
    if still.any():
        yield stillness([symbols[place] for place in np.flatnonzero(still).tolist()])


def probability(z: float) -> float:
    """Φ, the normal distribution function."""
    return (1 + math.erf(z / math.sqrt(2))) / 2

"""Mean reversion: what has strayed from its mean goes back to it, at the speed at which it used to go.

Source: Uhlenbeck, Ornstein 1930, On the theory of the Brownian motion, Physical Review 36:823-841, seen at equal steps
as a first-order autoregression; the half-life as the time to hold is from Chan 2013, Algorithmic Trading, chapter 2.
"""

import math
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from scanstream.panel import Array, Panel
from scanstream.strategies import series, strategy
from scanstream.strategies.series import Bars, Record
from scanstream.strategies.strategy import Note, NothingToScan, Signal


class Parameters(strategy.Parameters, frozen=True, kw_only=True):
    """What a request may set."""

    window: Annotated[int, Meta(ge=20, le=1000, description="Bars over which the mean and the speed are fitted")] = 120
    z_min: Annotated[float, Meta(ge=0, description="The least deviation, in equilibrium standard deviations")] = 2.0
    z_stop: Annotated[float, Meta(ge=0, description="The deviation at which the rule gives up")] = 4.0
    half_life_max: Annotated[float, Meta(ge=1, le=500, description="The longest half-life, in bars")] = 60.0


class MeanReversion(strategy.Strategy):
    """Bet on the return of each symbol to its own mean."""

    id = "meanrev"
    name = "Mean reversion"
    opportunity_type = "mean_reversion"
    description = "Bets on the return of a symbol to the mean of its last 120 bars, at the speed fitted to them."
    source = "Uhlenbeck, Ornstein 1930, Physical Review 36:823; Chan 2013, Algorithmic Trading, chapter 2"
    parameters = Parameters

    def units(self, panel: Panel, parameters: Parameters) -> int:
        """One a symbol."""
        if panel.bars < parameters.window:
            raise NothingToScan(f"needs {parameters.window} bars; the market has {panel.bars}")
        return len(panel.symbols)

    def scan(self, panel: Panel, units: range, parameters: Parameters) -> Iterator[Signal | Note]:
        """The deviation of each symbol as of the last bar, with the rule's record on the bars before it."""
        prices = series.logs(panel.close[:, units.start : units.stop])
        last = panel.bars - 1
        now = measure(prices, np.array([last]), parameters)
        past = record(prices, parameters)
        gaps = np.asarray(np.isnan(prices[-parameters.window :]).any(axis=0))
        still = prices[-parameters.window :].std(axis=0) <= series.STILL
        symbols = panel.symbols[units.start : units.stop]
        yield from map(Note, series.reasons(symbols, gaps, parameters.window, still))
        for column, unit in enumerate(units):
            if now.side[0, column]:
                hits = past.of(column) if parameters.walk_forward else None
                yield _signal(panel, unit, last, now, column, hits, parameters)


class Measure(NamedTuple):
    """The rule at some bars (rows) of some symbols (columns); NaN where the window has a gap or does not move."""

    b: Array
    """How much of a deviation is left after one bar."""
    error: Array
    """Standard error of one bar's move."""
    half_life: Array
    mean: Array
    deviation: Array
    """Log price less the mean."""
    equilibrium: Array
    """Standard deviation that the deviation has in the long run."""
    z: Array
    side: NDArray[np.int8]
    """1 long, -1 short, 0 nothing."""


def measure(prices: Array, bars: Bars, parameters: Parameters) -> Measure:
    """Apply the rule at each of `bars`, with data up to that bar only.

    :param prices: log closes, time × symbols
    :param bars: indices of at least `window` − 1
    """
    b, mean, error = series.autoregression(series.windows(prices, bars, parameters.window))
    half_life = series.half_life(b)
    deviation = prices[bars] - mean
    with np.errstate(divide="ignore", invalid="ignore"):
        equilibrium = np.where(error > series.STILL, error / np.sqrt(1 - b**2), np.nan)
        z = deviation / equilibrium
        fit = (half_life >= 1) & (half_life <= parameters.half_life_max)
        strayed = fit & (np.abs(z) >= parameters.z_min) & (np.abs(z) < parameters.z_stop) & (z != 0)
    side = np.where(strayed, -np.sign(z), 0).astype(np.int8)
    return Measure(b, error, half_life, mean, deviation, equilibrium, z, side)


def record(prices: Array, parameters: Parameters) -> Record:
    """Score the rule on the `walk_forward` bars before the last one.

    A trade opens at the close of its bar. It ends at the first close at or past the mean that was fitted then, where it
    is a hit, or beyond the stop of then, else after two half-lives, where it is a hit if it made money. One whose
    horizon is not over, or ends in a gap, is not counted: which, is known when it opens, so nothing is chosen by its
    outcome.
    """
    size = prices.shape[1]
    bars = series.judged(len(prices), parameters.window, parameters.walk_forward)
    rule = measure(prices, bars, parameters)
    horizons = series.holding(rule.half_life)
    rows, columns = np.nonzero((rule.side != 0) & (bars[:, np.newaxis] + horizons < len(prices)))
    side, horizon = rule.side[rows, columns], horizons[rows, columns]
    steps = int(horizon.max(initial=0))
    gains = side[:, np.newaxis] * series.ahead(prices, bars[rows], columns, steps)
    z, unit = rule.z[rows, columns], rule.equilibrium[rows, columns]
    target, stop = np.abs(z) * unit, (parameters.z_stop - np.abs(z)) * unit
    return series.tally(columns, *series.outcomes(gains, horizon, target, stop), size)


def _signal(
    panel: Panel, unit: int, bar: int, now: Measure, column: int, hits: tuple[int, int] | None, parameters: Parameters
) -> Signal:
    b, error, half_life, mean, deviation, equilibrium, z = (float(array[0, column]) for array in now[:-1])
    side = int(now.side[0, column])
    horizon = int(series.holding(now.half_life)[0, column])
    way = abs(deviation) * (1 - b**horizon)
    noise = error * math.sqrt((1 - b ** (2 * horizon)) / (1 - b**2))
    return Signal(
        symbols=(panel.symbols[unit],),
        side="long" if side > 0 else "short",
        bar=bar,
        entry=float(panel.close[bar, unit]),
        exit=math.exp(mean),
        stop=math.exp(mean - side * parameters.z_stop * equilibrium),
        expected_return=math.expm1(way),
        confidence=series.probability(way / noise),
        horizon=horizon,
        hits=hits,
        metadata={"z": z, "half_life": half_life, "mean": math.exp(mean), "b": b},
    )

"""Time-series momentum: what has risen for a year of bars tends to go on rising for a month of them.

Source: Moskowitz, Ooi, Pedersen 2012, Time series momentum, Journal of Financial Economics 104:228-250; the volatility
is their exponentially weighted one with a centre of mass of 60.
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

WINDOW = 300
"""Log returns in the volatility."""
CENTRE_OF_MASS = 60.0


class Parameters(strategy.Parameters, frozen=True, kw_only=True):
    """What a request may set."""

    lookback: Annotated[int, Meta(ge=2, le=WINDOW, description="Bars over which the trend is measured")] = 252
    horizon: Annotated[int, Meta(ge=1, le=1000, description="Bars that a position is held")] = 21
    z_min: Annotated[float, Meta(ge=0, description="The least trend, in standard deviations")] = 1.0


class TimeSeriesMomentum(strategy.Strategy):
    """Follow each symbol's own trend where it stands out of its noise."""

    id = "tsmom"
    name = "Time-series momentum"
    opportunity_type = "momentum"
    description = "Follows a symbol's own trend over the last 252 bars where it stands out of its noise."
    source = "Moskowitz, Ooi, Pedersen 2012, Journal of Financial Economics 104:228"
    parameters = Parameters

    def units(self, panel: Panel, parameters: Parameters) -> int:
        """One a symbol."""
        if panel.bars <= WINDOW:
            raise NothingToScan(f"needs {WINDOW + 1} bars; the market has {panel.bars}")
        return len(panel.symbols)

    def scan(self, panel: Panel, units: range, parameters: Parameters) -> Iterator[Signal | Note]:
        """The trend of each symbol as of the last bar, with the rule's record on the bars before it."""
        prices = series.logs(panel.close[:, units.start : units.stop])
        last = panel.bars - 1
        now = measure(prices, np.array([last]), parameters)
        past = record(prices, parameters)
        gaps = np.isnan(now.volatility[0])
        symbols = panel.symbols[units.start : units.stop]
        yield from map(Note, series.reasons(symbols, gaps, WINDOW + 1, ~gaps & ~now.moves[0]))
        for column, unit in enumerate(units):
            if now.side[0, column]:
                hits = past.of(column) if parameters.walk_forward else None
                yield _signal(panel, unit, last, now, column, hits, parameters)


class Measure(NamedTuple):
    """The rule at some bars (rows) of some symbols (columns)."""

    trend: Array
    """Log return over the lookback."""
    volatility: Array
    """Standard deviation of one bar's log return; NaN where the window has a gap."""
    z: Array
    """Trend in its own standard deviations."""
    moves: NDArray[np.bool_]
    """Whether the returns are more than rounding; False where the window has a gap."""
    side: NDArray[np.int8]
    """1 long, -1 short, 0 nothing."""


def measure(prices: Array, bars: Bars, parameters: Parameters) -> Measure:
    """Apply the rule at each of `bars`, with data up to that bar only.

    :param prices: log closes, time × symbols
    :param bars: indices of at least `WINDOW`
    """
    returns = np.diff(prices, axis=0)
    # Window w holds the returns up to bar w + WINDOW: nothing after the bar that is judged.
    windows = np.lib.stride_tricks.sliding_window_view(returns, WINDOW, axis=0)[bars - WINDOW]
    weights = (1 - 1 / (1 + CENTRE_OF_MASS)) ** np.arange(WINDOW - 1, -1, -1.0)
    weights /= weights.sum()
    mean = windows @ weights
    volatility = np.sqrt((windows - mean[..., np.newaxis]) ** 2 @ weights)
    moves = np.hypot(mean, volatility) > series.STILL
    trend = prices[bars] - prices[bars - parameters.lookback]
    with np.errstate(divide="ignore", invalid="ignore"):
        z = trend / (volatility * math.sqrt(parameters.lookback))
    strong = (np.abs(z) >= parameters.z_min) & moves & np.isfinite(z)
    return Measure(trend, volatility, z, moves, np.where(strong, np.sign(trend), 0).astype(np.int8))


def record(prices: Array, parameters: Parameters) -> Record:
    """Score the rule on the last `walk_forward` bars whose horizon is over.

    A trade opens at the close of its bar, ends at the first close beyond its stop, else at its horizon, and is a hit if
    it made money. One whose horizon falls into a gap is not counted.
    """
    end = len(prices) - parameters.horizon
    bars = np.arange(max(WINDOW, end - parameters.walk_forward), end)
    rule = measure(prices, bars, parameters)
    rows, columns = np.nonzero(rule.side)
    gains = rule.side[rows, columns, np.newaxis] * series.ahead(prices, bars[rows], columns, parameters.horizon)
    stop = 2 * rule.volatility[rows, columns] * math.sqrt(parameters.horizon)
    horizons = np.full(len(rows), parameters.horizon)
    return series.tally(columns, *series.outcomes(gains, horizons, np.inf, stop), prices.shape[1])


def _signal(
    panel: Panel, unit: int, bar: int, now: Measure, column: int, hits: tuple[int, int] | None, parameters: Parameters
) -> Signal:
    price = float(panel.close[bar, unit])
    trend, volatility, z = (float(array[0, column]) for array in (now.trend, now.volatility, now.z))
    side = int(now.side[0, column])
    expected = abs(trend) / parameters.lookback * parameters.horizon
    return Signal(
        symbols=(panel.symbols[unit],),
        side="long" if side > 0 else "short",
        bar=bar,
        entry=price,
        exit=price * (1 + side * expected),
        stop=price * math.exp(-side * 2 * volatility * math.sqrt(parameters.horizon)),
        expected_return=expected,
        confidence=math.erf(abs(z) / math.sqrt(2)),
        horizon=parameters.horizon,
        hits=hits,
        metadata={"z": z, "trend": trend, "volatility": volatility},
    )

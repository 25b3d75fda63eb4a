"""Channel breakout: what closes beyond all that it reached in twenty bars goes on in that direction.

Source: Donchian's channel as in system 1 of the Turtles (Faith 2003, The original turtle trading rules, chapters 3 to
5), entered at the close; the average true range is Wilder's (1978, New concepts in technical trading systems).
"""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from scanstream.panel import Array, Panel
from scanstream.strategies import series, strategy
from scanstream.strategies.series import Record
from scanstream.strategies.strategy import Note, NothingToScan, Signal


class Parameters(strategy.Parameters, frozen=True, kw_only=True):
    """What a request may set."""

    window: Annotated[int, Meta(ge=2, le=1000, description="Bars of the channel and of the average true range")] = 20
    horizon: Annotated[int, Meta(ge=1, le=1000, description="Bars that a position is held")] = 10
    target_ranges: Annotated[float, Meta(ge=0.1, le=100, description="The target, in average true ranges")] = 4.0
    stop_ranges: Annotated[float, Meta(ge=0.1, le=100, description="The stop, in average true ranges")] = 2.0


class Donchian(strategy.Strategy):
    """Follow each symbol out of its channel."""

    id = "donchian"
    name = "Donchian breakout"
    opportunity_type = "breakout"
    description = "Follows a symbol that closes beyond the highs or lows of the 20 bars before."
    source = "Donchian; Faith 2003, The original turtle trading rules; Wilder 1978 for the average true range"
    parameters = Parameters

    def units(self, panel: Panel, parameters: Parameters) -> int:
        """One a symbol."""
        if panel.bars <= parameters.window:
            raise NothingToScan(f"needs {parameters.window + 1} bars; the market has {panel.bars}")
        return len(panel.symbols)

    def scan(self, panel: Panel, units: range, parameters: Parameters) -> Iterator[Signal | Note]:
        """Which symbols left their channel at the last bar, with the rule's record on the bars before it."""
        high, low, close = (
            _prices(field[:, units.start : units.stop]) for field in (panel.high, panel.low, panel.close)
        )
        rule = measure(high, low, close, parameters)
        past = record(close, rule, parameters)
        gaps = np.isnan(rule.atr[-1])
        still = rule.atr[-1] <= series.STILL * close[-1]
        symbols = panel.symbols[units.start : units.stop]
        yield from map(Note, series.reasons(symbols, gaps, parameters.window + 1, still))
        for column, unit in enumerate(units):
            if rule.side[-1, column]:
                hits = past.of(column) if parameters.walk_forward else None
                yield _signal(panel, unit, rule, column, hits, parameters)


class Measure(NamedTuple):
    """The rule at every bar (rows) of some symbols (columns), each with data up to that bar; NaN about a gap."""

    upper: Array
    """The highest high of the bars before."""
    lower: Array
    atr: Array
    side: NDArray[np.int8]
    """1 long, -1 short, 0 nothing."""


def measure(high: Array, low: Array, close: Array, parameters: Parameters) -> Measure:
    """Apply the rule at each bar: the channel is of the bars before it, the range includes it."""
    before = np.full((parameters.window, close.shape[1]), np.nan)
    view = np.lib.stride_tricks.sliding_window_view
    upper = np.vstack([before, view(high[:-1], parameters.window, axis=0).max(axis=-1)])
    lower = np.vstack([before, view(low[:-1], parameters.window, axis=0).min(axis=-1)])
    atr = average_true_range(high, low, close, parameters.window)
    side = ((close > upper).astype(np.int8) - (close < lower)) * (atr > series.STILL * close)
    return Measure(upper, lower, atr, side.astype(np.int8))


def average_true_range(high: Array, low: Array, close: Array, window: int) -> Array:
    """Wilder's: the mean of the first `window` true ranges, then each new one with a weight of 1 / `window`.

    NaN until there are enough bars, and after a gap again.
    """
    span = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
    absent = np.isnan(span)
    place = np.arange(len(span))[:, np.newaxis]
    run = place - np.maximum.accumulate(np.where(absent, place, -1), axis=0)
    weights = 1 / np.clip(run, 1, window)  # the first `window` of a run give their plain mean
    found = np.full(close.shape, np.nan)
    average = np.zeros(close.shape[1])
    step = np.empty(close.shape[1])
    gappy = absent.any(axis=1).tolist()  # there are thousands of bars, and gaps are few
    for bar, any_gap in enumerate(gappy):
        np.subtract(span[bar], average, out=step)
        step *= weights[bar]
        average += step
        if any_gap:
            average[absent[bar]] = 0
        found[bar + 1] = average
    found[1:][run < window] = np.nan
    return found


def record(close: Array, rule: Measure, parameters: Parameters) -> Record:
    """Score the rule on the last `walk_forward` bars whose horizon is over.

    A trade opens at the close of its bar. It ends at the first close at or past its target, where it is a hit, or
    beyond its stop, else at its horizon, where it is a hit if it made money. Wicks that reach target or stop without a
    close there do nothing. A trade whose horizon falls into a gap is not counted.
    """
    end = len(close) - parameters.horizon
    bars = np.arange(max(parameters.window, end - parameters.walk_forward), end)
    rows, columns = np.nonzero(rule.side[bars])
    opened = bars[rows]
    side, atr = rule.side[opened, columns], rule.atr[opened, columns]
    gains = side[:, np.newaxis] * series.ahead(close, opened, columns, parameters.horizon)
    horizons = np.full(len(opened), parameters.horizon)
    scored = series.outcomes(gains, horizons, parameters.target_ranges * atr, parameters.stop_ranges * atr)
    return series.tally(columns, *scored, close.shape[1])


def _prices(field: Array) -> Array:
    """Prices, NaN where there is no positive one."""
    return np.where((field > 0) & (field < np.inf), field, np.nan)


def _signal(
    panel: Panel, unit: int, rule: Measure, column: int, hits: tuple[int, int] | None, parameters: Parameters
) -> Signal:
    price = float(panel.close[-1, unit])
    upper, lower, atr = (float(array[-1, column]) for array in (rule.upper, rule.lower, rule.atr))
    side = int(rule.side[-1, column])
    target = max(price + side * parameters.target_ranges * atr, 0.0)
    won, trades = hits or (0, 0)
    return Signal(
        symbols=(panel.symbols[unit],),
        side="long" if side > 0 else "short",
        bar=panel.bars - 1,
        entry=price,
        exit=target,
        stop=price - side * parameters.stop_ranges * atr,
        expected_return=abs(target - price) / price,
        confidence=(won + 1) / (trades + 2),
        horizon=parameters.horizon,
        hits=hits,
        metadata={"upper": upper, "lower": lower, "atr": atr},
    )

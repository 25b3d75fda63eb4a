"""Channel breakout against pandas and TA-Lib, against a plain loop, against the future, and on unwanted data."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from scanstream.panel import Array, Panel
from scanstream.strategies.donchian import Donchian, Parameters, average_true_range, measure, record
from scanstream.strategies.strategy import NothingToScan, Signal
from strategies.panels import found_by, panel_of, same, universe, until, walk

FULL = Parameters()
QUICK = Parameters(walk_forward=0)
OTHER = Parameters(walk_forward=12, window=10, horizon=3, target_ranges=2.5, stop_ranges=1.2)


def channel(panel: Panel, window: int) -> tuple[Array, Array]:
    """(highest high, lowest low) of the bars before each bar of each symbol, by pandas."""
    high, low = pd.DataFrame(panel.high), pd.DataFrame(panel.low)
    return high.rolling(window).max().shift().to_numpy(), low.rolling(window).min().shift().to_numpy()


def sides(panel: Panel, window: int) -> Array:
    """1, -1 or 0 at each bar of each symbol."""
    upper, lower = channel(panel, window)
    return np.asarray((panel.close > upper).astype(float) - (panel.close < lower).astype(float))


def ranges(panel: Panel, column: int, window: int) -> Array:
    """TA-Lib's ATR on each run of bars without a gap."""
    high, low, close = (field[:, column] for field in (panel.high, panel.low, panel.close))
    found = np.full(panel.bars, np.nan)
    whole = np.flatnonzero(np.isfinite(close))
    for run in np.split(whole, np.flatnonzero(np.diff(whole) > 1) + 1):
        if len(run) > window:
            found[run] = talib.ATR(high[run], low[run], close[run], timeperiod=window)
    return found


def score(panel: Panel, column: int, parameters: Parameters) -> tuple[int, int]:
    """(hits, trades) bar by bar; each decision is given a panel that ends at its bar."""
    hits = trades = 0
    close = panel.close[:, column].tolist()
    end = panel.bars - parameters.horizon
    for bar in range(max(parameters.window, end - parameters.walk_forward), end):
        known = until(panel, bar + 1).select([panel.symbols[column]])
        side = int(sides(until_last(known, parameters.window + 1), parameters.window)[-1, 0])
        atr = ranges(known, 0, parameters.window)[-1] if side else np.nan
        held = close[bar + 1 : bar + 1 + parameters.horizon]
        if not atr > 0 or np.isnan(held[-1]):
            continue
        trades += 1
        hits += won([side * (later - close[bar]) / atr for later in held], parameters)
    return hits, trades


def until_last(panel: Panel, bars: int) -> Panel:
    """The last bars only."""
    fields = {field: getattr(panel, field)[-bars:] for field in ("open", "high", "low", "close", "volume")}
    return replace(panel, times=panel.times[-bars:], **fields)


def won(gains: list[float], parameters: Parameters) -> bool:
    """Whether a trade made money; gains in average true ranges."""
    for gain in gains:
        if gain >= parameters.target_ranges:
            return True
        if gain < -parameters.stop_ranges:
            return False
    return gains[-1] > 0


def compare(panel: Panel, parameters: Parameters = FULL) -> int:
    """All signals are the oracles', to nine digits; how many."""
    signals, _ = found_by(Donchian(), panel, parameters)
    upper, lower = channel(panel, parameters.window)
    for column, symbol in enumerate(panel.symbols):
        side = sides(panel, parameters.window)[-1, column]
        atr = ranges(panel, column, parameters.window)[-1]
        assert (symbol in signals) == bool(side and atr > 0), symbol
        if symbol not in signals:
            continue
        signal = signals[symbol]
        price = float(panel.close[-1, column])
        assert (signal.side, signal.entry) == ("long" if side > 0 else "short", price)
        assert (signal.bar, signal.horizon) == (panel.bars - 1, parameters.horizon)
        told = (signal.exit, signal.stop, signal.expected_return)
        target, stop = parameters.target_ranges * atr, parameters.stop_ranges * atr
        expected = (price + side * target, price - side * stop, target / price)
        np.testing.assert_allclose(np.array(told, dtype=float), expected, rtol=1e-9)
        same(signal.metadata, {"upper": upper[-1, column], "lower": lower[-1, column], "atr": atr}, 1e-9)
        won_of_them, count = score(panel, column, parameters)
        assert signal.hits == ((won_of_them, count) if parameters.walk_forward else None)
        assert signal.confidence == (won_of_them + 1) / (count + 2)
    return len(signals)


@pytest.mark.parametrize("bars", [22, 300, 2200])
@pytest.mark.parametrize("parameters", [QUICK, OTHER])
def test_it_decides_as_pandas_and_talib_on_the_generated_market(
    generated: Panel, bars: int, parameters: Parameters
) -> None:
    assert 0 < compare(until(generated, bars), parameters) < 64


def test_it_decides_as_pandas_and_talib_on_real_candles(real: Panel) -> None:
    for parameters in (QUICK, OTHER):
        assert sum(compare(until(real, bars), parameters) for bars in (21, 500, 1999, 3210, 5760)) > 0


def test_every_bar_is_as_pandas_and_talib_have_it(generated: Panel, real: Panel) -> None:
    for panel, parameters in product((generated.select(generated.symbols[:8]), real), (FULL, OTHER)):
        rule = measure(panel.high, panel.low, panel.close, parameters)
        expected = np.column_stack([ranges(panel, column, parameters.window) for column in range(len(panel.symbols))])
        np.testing.assert_allclose(rule.atr, expected, rtol=1e-9)
        np.testing.assert_array_equal(rule.side, np.where(expected > 0, sides(panel, parameters.window), 0))
        assert rule.side.any()


def records(panel: Panel, parameters: Parameters) -> int:
    """The walk-forward of each symbol is the loop's; how many trades."""
    rule = measure(panel.high, panel.low, panel.close, parameters)
    kept = record(panel.close, rule, parameters)
    expected = [score(panel, column, parameters) for column in range(len(panel.symbols))]
    assert [kept.of(column) for column in range(len(panel.symbols))] == expected
    return sum(trades for _, trades in expected)


def test_the_walk_forward_is_the_plain_loops(generated: Panel) -> None:
    few = until(generated, 400).select(generated.symbols[:2])
    assert records(few, FULL) > records(few, OTHER) > 0
    near = Parameters(walk_forward=100, horizon=5, target_ranges=1, stop_ranges=0.5)
    planted = panel_of(walk(3, 300, drift=0.002), *universe(2, 300))
    planted = replace(planted, high=planted.close * 1.004, low=planted.close * 0.997)
    for parameters in (FULL, OTHER, near):
        assert records(planted, parameters) > 0


def test_the_walk_forward_is_the_plain_loops_on_real_candles(real: Panel) -> None:
    near = Parameters(walk_forward=100, horizon=5, target_ranges=1, stop_ranges=0.5)
    gap = int(np.flatnonzero(np.isnan(real.close[:, real.symbols.index("ADA/BTC")]))[0])
    assert records(until(real, gap + 3).select(["ADA/BTC", "ETH/BTC"]), near) > 0


def flat(**last: float) -> Panel:
    """Two hundred quiet bars between 99 and 101, and a last one that is not."""
    panel = panel_of(100 + np.sin(np.arange(200.0)))
    bars: dict[str, Any] = {"high": panel.close + 0.1, "low": panel.close - 0.1, "close": panel.close.copy()}
    for field, value in last.items():
        bars[field][-1] = value
    return replace(panel, **bars)


def test_a_close_beyond_the_channel_is_one_and_a_wick_is_none() -> None:
    highs: Array = flat().high
    top = float(highs[-21:-1].max())
    assert found_by(Donchian(), flat(close=top + 0.01, high=top + 0.2), FULL)[0]["S0/X"].side == "long"
    assert found_by(Donchian(), flat(close=top, high=top), FULL)[0] == {}
    assert found_by(Donchian(), flat(high=top + 50), FULL)[0] == {}
    assert found_by(Donchian(), flat(low=1), FULL)[0] == {}
    assert found_by(Donchian(), flat(close=97, low=97), FULL)[0]["S0/X"].side == "short"


@settings(max_examples=30)
@given(bar=st.integers(20, 118), seed=st.integers(0, 2**32 - 1), gap=st.booleans())
def test_what_comes_later_changes_no_decision(bar: int, seed: int, gap: bool) -> None:
    before = np.column_stack([walk(seed, 120), walk(seed + 1, 120, drift=0.01)])
    after = before.copy()
    after[bar + 1 :] = np.nan if gap else np.random.default_rng(seed).uniform(1, 200, after[bar + 1 :].shape)
    one, other = (measure(prices * 1.01, prices * 0.99, prices, FULL) for prices in (before, after))
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(np.asarray(left)[: bar + 1], np.asarray(right)[: bar + 1])


BROKEN = walk(1, 100, drift=0.02)


@pytest.mark.parametrize("bad", [np.nan, 0.0, -1.0])
@pytest.mark.parametrize("age", [0, 1, 20])
def test_a_gap_within_the_window_silences_that_symbol_only(bad: float, age: int) -> None:
    broken = BROKEN.copy()
    broken[-1 - age] = bad
    signals, notes = found_by(Donchian(), panel_of(broken, BROKEN), FULL)
    assert set(signals) == {"S1/X"}
    assert notes == ["S0/X: a gap or no price within the last 21 bars"]


@pytest.mark.parametrize("series", [np.full(100, 0.1), np.zeros(100), np.full(100, np.nan)])
def test_what_does_not_move_gives_nothing(series: Array) -> None:
    assert found_by(Donchian(), panel_of(series), FULL)[0] == {}


def test_a_target_below_zero_is_zero() -> None:
    signals, _ = found_by(Donchian(), panel_of(np.append(100 + 90 * (-1.0) ** np.arange(60), 5.0)), FULL)
    assert (signals["S0/X"].exit, signals["S0/X"].expected_return) == (0, 1)


def test_twins_and_shards_find_what_the_whole_finds() -> None:
    panel = panel_of(*[walk(seed // 2, 300, drift=0.01) for seed in range(12)])
    whole, _ = found_by(Donchian(), panel, FULL)
    parts = [item for unit in range(12) for item in Donchian().scan(panel, range(unit, unit + 1), FULL)]
    assert [item.symbols for item in parts if isinstance(item, Signal)] == [item.symbols for item in whole.values()]
    assert whole
    assert len(whole) % 2 == 0


def test_too_few_bars_are_a_reason_and_no_walk_forward_has_no_hits() -> None:
    with pytest.raises(NothingToScan, match=r"21 bars.*20"):
        found_by(Donchian(), panel_of(walk(1, 20)), FULL)
    signals, _ = found_by(Donchian(), panel_of(BROKEN), Parameters(walk_forward=0))
    assert (signals["S0/X"].hits, signals["S0/X"].confidence) == (None, 0.5)
    signals, _ = found_by(Donchian(), panel_of(np.append(BROKEN[:24], 200)), FULL)
    assert signals["S0/X"].hits == (0, 0)


def test_wilders_average_is_seeded_with_a_mean() -> None:
    close = np.arange(1.0, 7.0)[:, np.newaxis]
    found = average_true_range(close + 1, close - 1, close, 3)[:, 0]
    np.testing.assert_allclose(found, [np.nan, np.nan, np.nan, 2, 2, 2])

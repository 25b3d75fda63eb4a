"""Time-series momentum against an oracle, and against the future."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanstream.panel import Panel
from scanstream.strategies.tsmom import WINDOW, Parameters, measure, record
from strategies.panels import panel_of, same, scan, until, walk
from strategies.tsmom_oracle import decide, score

QUICK = Parameters(walk_forward=0)
CLOSE = {"rel_tol": 1e-9, "abs_tol": 0.0}


def check(panel: Panel, parameters: Parameters = QUICK) -> int:
    """Every symbol's signal equals the oracle's decision, and there is none where that has none; how many there are."""
    signals, _ = scan(panel, parameters)
    for column, symbol in enumerate(panel.symbols):
        decision = decide(pd.Series(panel.close[:, column]), parameters)
        signal = signals.get(symbol)
        assert (decision is None) == (signal is None), symbol
        if decision is None or signal is None:
            continue
        assert signal.side == ("long" if decision.side > 0 else "short")
        assert signal.entry == panel.close[-1, column]
        assert signal.entry is not None
        assert signal.exit is not None
        assert signal.stop is not None
        same(signal.metadata, {"z": decision.z, "trend": decision.trend, "volatility": decision.volatility}, 1e-9)
        assert math.isclose(signal.expected_return, decision.expected, **CLOSE)
        assert math.isclose(signal.exit, signal.entry * (1 + decision.side * decision.expected), **CLOSE)
        assert math.isclose(signal.stop, decision.stop, **CLOSE)
        assert math.isclose(signal.confidence, decision.confidence, **CLOSE)
        assert (signal.bar, signal.horizon, signal.hits) == (panel.bars - 1, parameters.horizon, None)
    return len(signals)


@pytest.mark.parametrize("bars", [301, 1000, 2200])
def test_it_decides_as_the_oracle_on_the_generated_market(generated: Panel, bars: int) -> None:
    found = check(until(generated, bars))
    assert 0 < found < 64  # the threshold has something to part


@pytest.mark.parametrize("bars", [301, 900, 2500, 4000, 5760])
def test_it_decides_as_the_oracle_on_real_candles(real: Panel, bars: int) -> None:
    assert check(until(real, bars), Parameters(walk_forward=0, z_min=0.3)) > 0


def test_it_decides_as_the_oracle_with_other_parameters(generated: Panel) -> None:
    assert check(generated, Parameters(walk_forward=0, lookback=300, horizon=1, z_min=0)) == 64
    assert check(generated, Parameters(walk_forward=0, lookback=2, horizon=1000, z_min=0.5)) > 0
    assert check(generated, Parameters(walk_forward=0, z_min=100)) == 0


@pytest.mark.parametrize("parameters", [Parameters(), Parameters(horizon=5, z_min=0.2), Parameters(walk_forward=5000)])
def test_the_walk_forward_is_the_oracles_on_the_generated_market(generated: Panel, parameters: Parameters) -> None:
    few = until(generated, 900).select(generated.symbols[:6])
    compare_records(few, parameters)


@pytest.mark.parametrize("parameters", [Parameters(z_min=0.1), Parameters(horizon=6, z_min=0.1, lookback=50)])
def test_the_walk_forward_is_the_oracles_on_real_candles_with_gaps(real: Panel, parameters: Parameters) -> None:
    gap = np.flatnonzero(np.isnan(real.close[:, real.symbols.index("ADA/BTC")]))
    for bars in (int(gap[0]) + 5, int(gap[-1]) + 330, real.bars):
        compare_records(until(real, bars), parameters)


def compare_records(panel: Panel, parameters: Parameters) -> None:
    """Hits and trades of each symbol, those without a signal at the last bar included."""
    with np.errstate(invalid="ignore"):
        kept = record(np.log(panel.close), parameters)
    expected = [score(closes, parameters) for closes in panel.close.T.tolist()]
    assert list(zip(kept.hits.tolist(), kept.trades.tolist(), strict=True)) == expected
    assert sum(trades for _, trades in expected) > 0
    signals, _ = scan(panel, parameters)
    assert {symbol: signal.hits for symbol, signal in signals.items()} == {
        symbol: hits for symbol, hits in zip(panel.symbols, expected, strict=True) if symbol in signals
    }


def test_a_rise_is_long_and_a_fall_is_short_and_noise_is_nothing() -> None:
    level = 100 + np.random.default_rng(3).normal(size=400)
    panel = panel_of(walk(1, 400, drift=0.01), walk(2, 400, drift=-0.01), level)
    signals, notes = scan(panel)
    assert {symbol: signal.side for symbol, signal in signals.items()} == {"S0/X": "long", "S1/X": "short"}
    assert notes == []
    assert check(panel) == 2


def test_a_rise_without_any_noise_is_still_finite() -> None:
    signals, _ = scan(panel_of(np.exp(0.001 * np.arange(400)), np.exp(-0.001 * np.arange(400))))
    rise, fall = signals["S0/X"], signals["S1/X"]
    assert (rise.side, fall.side) == ("long", "short")
    assert rise.confidence == fall.confidence == 1
    assert math.isclose(rise.expected_return, 0.021)
    assert math.isclose(fall.expected_return, 0.021)


def test_a_trade_into_a_gap_is_not_counted_and_one_stopped_by_a_fall_is_no_hit() -> None:
    rise = walk(5, 420, drift=0.01)
    once = Parameters(walk_forward=1, horizon=10)
    assert score(rise.tolist(), once) == (1, 1)
    dip, gap = rise.copy(), rise.copy()
    dip[-5] /= 10  # beyond any stop, though the price is back at the horizon
    gap[-1] = np.nan
    kept = record(np.log(np.column_stack([rise, dip, gap])), once)
    assert kept.hits.tolist() == [1, 0, 0]
    assert kept.trades.tolist() == [1, 1, 0]


@settings(max_examples=60)
@given(bar=st.integers(WINDOW, 458), seed=st.integers(0, 2**32 - 1), gap=st.booleans())
def test_what_comes_later_changes_no_decision(bar: int, seed: int, gap: bool) -> None:
    before = np.log(np.column_stack([walk(seed, 460), walk(seed + 1, 460, drift=0.002)]))
    after = before.copy()
    after[bar + 1 :] = np.nan if gap else np.random.default_rng(seed).normal(size=after[bar + 1 :].shape)
    bars = np.arange(WINDOW, bar + 1)
    for one, other in zip(measure(before, bars, QUICK), measure(after, bars, QUICK), strict=True):
        np.testing.assert_array_equal(one, other)
    alone = measure(before[: bar + 1], bars[-1:], QUICK)
    np.testing.assert_allclose(alone.z[0], measure(before, bars, QUICK).z[-1], rtol=1e-12)

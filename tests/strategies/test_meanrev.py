"""Mean reversion against statsmodels, against a plain loop, against the future, and on data that nobody wants."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanstream.panel import Array, Panel
from scanstream.strategies import series
from scanstream.strategies.meanrev import MeanReversion, Parameters, measure, record
from scanstream.strategies.strategy import NothingToScan, Signal
from strategies.panels import found_by, panel_of, reverting, same, until, walk

QUICK = Parameters(walk_forward=0)
EASY = Parameters(walk_forward=0, z_min=0.5)
OTHER = Parameters(walk_forward=20, window=80, z_min=0.5, z_stop=3, half_life_max=20)


def fit(closes: Sequence[float], parameters: Parameters) -> tuple[int, int, float, float, float, float, float] | None:
    """(side, horizon, x, mean, s_eq, b, se) at the last close by AutoReg; None where the rule says nothing."""
    from statsmodels.tsa.ar_model import AutoReg  # type: ignore[import-untyped]

    prices = np.array(closes[-parameters.window :])
    if not (prices > 0).all() or np.ptp(prices) == 0:
        return None
    x = np.log(prices)
    result = AutoReg(x, lags=1).fit()
    a, b = result.params
    if not 0 < b < 1 or not 1 <= -math.log(2) / math.log(b) <= parameters.half_life_max:
        return None
    error = math.sqrt(float(result.resid @ result.resid) / (len(x) - 3))
    mean, equilibrium = a / (1 - b), error / math.sqrt(1 - b * b)
    z = (x[-1] - mean) / equilibrium
    if not parameters.z_min <= abs(z) < parameters.z_stop:
        return None
    horizon = math.ceil(-2 * math.log(2) / math.log(b))
    return (-1 if z > 0 else 1), horizon, x[-1], mean, equilibrium, b, error


def score(closes: Sequence[float], parameters: Parameters) -> tuple[int, int]:
    """(hits, trades): each decision is given the closes up to its bar only."""
    hits = trades = 0
    last = len(closes) - 1
    for bar in range(max(parameters.window - 1, last - parameters.walk_forward), last):
        rule = fit(closes[: bar + 1], parameters)
        if rule is None or bar + rule[1] > last or math.isnan(closes[bar + rule[1]]):
            continue
        side, horizon, _, mean, equilibrium, _, _ = rule
        trades += 1
        hits += won(closes[bar : bar + horizon + 1], side, mean, mean - side * parameters.z_stop * equilibrium)
    return hits, trades


def won(held: Sequence[float], side: int, target: float, stop: float) -> bool:
    """Whether a trade made money."""
    for close in held[1:]:
        if side * (math.log(close) - target) >= 0:
            return True
        if side * (math.log(close) - stop) < 0:
            return False
    return side * (held[-1] - held[0]) > 0


def check(panel: Panel, parameters: Parameters) -> int:
    """Every symbol's signal is the oracle's, to nine digits; how many there are."""
    signals, _ = found_by(MeanReversion(), panel, parameters)
    for column, symbol in enumerate(panel.symbols):
        rule, signal = fit(panel.close[:, column].tolist(), parameters), signals.get(symbol)
        assert (rule is None) == (signal is None), symbol
        if rule is None or signal is None:
            continue
        side, horizon, x, mean, equilibrium, b, error = rule
        way = abs(x - mean) * (1 - b**horizon)
        noise = error * math.sqrt((1 - b ** (2 * horizon)) / (1 - b * b))
        assert signal.side == ("long" if side > 0 else "short")
        assert (signal.entry, signal.horizon, signal.bar) == (panel.close[-1, column], horizon, panel.bars - 1)
        told = (signal.exit, signal.stop, signal.expected_return, signal.confidence)
        stop = math.exp(mean - side * parameters.z_stop * equilibrium)
        expected = (math.exp(mean), stop, math.exp(way) - 1, NormalDist().cdf(way / noise))
        np.testing.assert_allclose(np.array(told, dtype=float), expected, rtol=1e-7)
        half_life, z = -math.log(2) / math.log(b), (x - mean) / equilibrium
        same(signal.metadata, {"z": z, "half_life": half_life, "mean": math.exp(mean), "b": b}, 1e-7)
        assert signal.hits == (score(panel.close[:, column].tolist(), parameters) if parameters.walk_forward else None)
    return len(signals)


def records(panel: Panel, parameters: Parameters) -> int:
    """The walk-forward of each symbol is the loop's; how many trades there are."""
    kept = record(series.logs(panel.close), parameters)
    expected = [score(closes, parameters) for closes in panel.close.T.tolist()]
    assert [kept.of(column) for column in range(len(panel.symbols))] == expected
    return sum(trades for _, trades in expected)


@pytest.mark.parametrize("bars", [120, 700, 2200])
def test_it_decides_as_statsmodels_on_the_generated_market(generated: Panel, bars: int) -> None:
    assert 0 < check(until(generated, bars), EASY) < 64
    check(until(generated, bars), QUICK)
    assert 0 < check(until(generated, bars), OTHER) < 64


@pytest.mark.parametrize("bars", [500, 2500, 5760])
def test_it_decides_as_statsmodels_on_real_candles(real: Panel, bars: int) -> None:
    assert check(until(real, bars), EASY) > 0
    assert check(until(real, bars), OTHER) > 0


def test_the_walk_forward_is_the_plain_loops_on_real_candles(real: Panel) -> None:
    gap = int(np.flatnonzero(np.isnan(real.close[:, real.symbols.index("ADA/BTC")]))[0])
    gappy = until(real, gap + 4).select(["ADA/BTC", "ETH/BTC"])
    assert records(gappy, Parameters(z_min=0.8, walk_forward=100)) > 0


def test_the_walk_forward_is_the_plain_loops(generated: Panel) -> None:
    assert records(until(generated, 600).select(generated.symbols[:3]), Parameters(z_min=1.0)) > 0
    planted = panel_of(reverting(1, 500), walk(2, 500), np.full(500, 0.1))
    assert records(planted, Parameters(z_stop=2.5)) > 0
    assert records(planted, OTHER) > 0


def test_a_stray_process_is_found_and_its_record_is_good() -> None:
    prices = reverting(4, 800)
    for sign, side in ((1, "short"), (-1, "long")):
        strayed = prices.copy()
        strayed[-1] = 100 * math.exp(sign * 0.066)
        signal = found_by(MeanReversion(), panel_of(strayed), Parameters())[0]["S0/X"]
        assert signal.side == side
        assert signal.hits is not None
        assert signal.hits[0] > 0.7 * signal.hits[1] > 0


@settings(max_examples=30)
@given(bar=st.integers(119, 398), seed=st.integers(0, 2**32 - 1), gap=st.booleans())
def test_what_comes_later_changes_no_decision(bar: int, seed: int, gap: bool) -> None:
    before = np.log(np.column_stack([walk(seed, 400), reverting(seed, 400)]))
    after = before.copy()
    after[bar + 1 :] = np.nan if gap else np.random.default_rng(seed).normal(size=after[bar + 1 :].shape)
    bars = np.arange(119, bar + 1)
    for one, other in zip(measure(before, bars, EASY), measure(after, bars, EASY), strict=True):
        np.testing.assert_array_equal(one, other)


LINE = 100 * np.exp(0.001 * np.arange(300))
ZERO = np.where(np.arange(300) == 290, 0.0, reverting(1, 300))


@pytest.mark.parametrize("series", [np.full(300, 0.1), LINE, 1 / LINE, ZERO, np.full(300, np.nan), np.zeros(300)])
def test_what_cannot_be_fitted_gives_nothing(series: Array) -> None:
    signals, notes = found_by(MeanReversion(), panel_of(series, reverting(1, 300)), Parameters(z_min=0))
    assert "S0/X" not in signals
    assert bool(notes) == (not (series[-120:] > 0).all() or np.ptp(series) == 0)
    assert all("S0/X" in note and "S1/X" not in note for note in notes)


def test_twins_have_the_same_signal_and_shards_find_what_the_whole_finds() -> None:
    panel = panel_of(*[reverting(4, 300)] * 2, *(reverting(seed, 300) for seed in range(9)))
    whole, _ = found_by(MeanReversion(), panel, EASY)
    parts = [item for unit in range(11) for item in MeanReversion().scan(panel, range(unit, unit + 1), EASY)]
    assert [(part.symbols, part.side) for part in parts if isinstance(part, Signal)] == [
        (signal.symbols, signal.side) for signal in whole.values()
    ]
    assert whole
    assert ("S0/X" in whole) == ("S1/X" in whole)


def test_too_few_bars_are_a_reason() -> None:
    with pytest.raises(NothingToScan, match=r"120 bars.*119"):
        found_by(MeanReversion(), panel_of(walk(1, 119)), Parameters())
    assert found_by(MeanReversion(), panel_of(walk(1, 120)), Parameters(walk_forward=5000))[1] == []


def test_without_a_walk_forward_there_are_no_hits() -> None:
    signals, _ = found_by(MeanReversion(), panel_of(*(reverting(seed, 300) for seed in range(20))), EASY)
    assert signals
    assert all(signal.hits is None for signal in signals.values())

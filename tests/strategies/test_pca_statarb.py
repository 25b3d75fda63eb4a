"""Statistical arbitrage against SVD and statsmodels, against a plain loop, against the future, and on unwanted data."""

import math
from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from scanstream.panel import Array, Panel
from scanstream.strategies import series
from scanstream.strategies.pca_statarb import Parameters, PcaStatArb, measure, record
from scanstream.strategies.strategy import NothingToScan
from strategies.panels import found_by, panel_of, reverting, same, universe, until, walk

QUICK = Parameters(walk_forward=0)
OTHER = Parameters(
    walk_forward=12,
    window=120,
    residuals=40,
    variance=0.4,
    kappa_min=20,
    s_entry=1.5,
    s_exit_long=0.3,
    s_exit_short=0.6,
)


class Name(NamedTuple):
    """One name's trade at the last bar of the data."""

    s: float
    b: float
    deviation: float
    weights: dict[int, float]
    """What is short against it, by name."""
    factors: int


def fit(prices: Array, parameters: Parameters) -> dict[int, Name]:
    """Every name that reverts, at the end of the log closes, by SVD, OLS and AutoReg."""
    from statsmodels.regression.linear_model import OLS  # type: ignore[import-untyped]
    from statsmodels.tools import add_constant  # type: ignore[import-untyped]
    from statsmodels.tsa.ar_model import AutoReg  # type: ignore[import-untyped]

    seen = prices[-parameters.window - 1 :]
    length = parameters.residuals
    names = [column for column in range(seen.shape[1]) if np.diff(seen[:, column]).std() > 1e-9]
    if len(names) < 10:
        return {}
    returns = np.diff(seen[:, names], axis=0)
    scaled = (returns - returns.mean(axis=0)) / returns.std(axis=0)
    _, singular, vectors = np.linalg.svd(scaled, full_matrices=False)
    shares = np.cumsum(singular**2) / np.sum(singular**2)
    count = next(index + 1 for index, share in enumerate(shares) if share >= parameters.variance)
    portfolios = (vectors[:count] / returns.std(axis=0)).T
    fits: dict[int, tuple[float, float, float, Array]] = {}
    for index, column in enumerate(names):
        regressed = OLS(returns[-length:, index], add_constant(returns[-length:] @ portfolios)).fit()
        level = np.cumsum(regressed.resid)
        fitted = AutoReg(level, lags=1).fit()
        a, b = fitted.params
        if 0 < b < 1 and -math.log(b) * 252 > parameters.kappa_min:
            error = math.sqrt(float(fitted.resid @ fitted.resid) / (length - 3))
            fits[column] = a / (1 - b), b, error / math.sqrt(1 - b * b), portfolios @ regressed.params[1:]
    centre = np.mean([mean for mean, *_ in fits.values()]) if fits else 0.0
    return {
        column: Name(-(mean - float(centre)) / unit, b, unit, dict(zip(names, weights.tolist(), strict=True)), count)
        for column, (mean, b, unit, weights) in fits.items()
    }


def trades(prices: Array, parameters: Parameters) -> dict[int, Name]:
    """Those that stray far enough."""
    return {column: name for column, name in fit(prices, parameters).items() if abs(name.s) > parameters.s_entry}


def way(s: float, parameters: Parameters) -> float:
    """How far the s-score is from where the position ends."""
    return abs(s) - (parameters.s_exit_long if s < 0 else parameters.s_exit_short)


def score(prices: Array, parameters: Parameters) -> list[tuple[int, int]]:
    """(hits, trades) of each name: each decision is given the closes up to its bar only."""
    kept = [(0, 0)] * prices.shape[1]
    last = len(prices) - 1
    for bar in range(max(parameters.window, last - parameters.walk_forward), last):
        for column, name in trades(prices[: bar + 1], parameters).items():
            end = bar + math.ceil(-2 * math.log(2) / math.log(name.b))
            if end > last:
                continue
            moves = prices[bar + 1 : end + 1] - prices[bar]
            hedged = moves[:, column] - sum(weight * moves[:, other] for other, weight in name.weights.items())
            if math.isnan(hedged[-1]):
                continue
            hits, count = kept[column]
            gains = (np.sign(-name.s) * hedged / name.deviation).tolist()
            kept[column] = hits + won(gains, way(name.s, parameters), abs(name.s)), count + 1
    return kept


def won(gains: list[float], target: float, stop: float) -> bool:
    """Whether a trade made money; gains in s-scores."""
    for gain in gains:
        if gain >= target:
            return True
        if gain < -stop:
            return False
    return gains[-1] > 0


def check(panel: Panel, parameters: Parameters) -> int:
    """Every signal is the oracle's, to six digits; how many there are."""
    signals, _ = found_by(PcaStatArb(), panel, parameters)
    prices = series.logs(panel.close)
    expected = {panel.symbols[column]: name for column, name in trades(prices, parameters).items()}
    assert signals.keys() == expected.keys()
    if parameters.walk_forward:
        records = dict(zip(panel.symbols, score(prices, parameters), strict=True))
        assert {symbol: signal.hits for symbol, signal in signals.items()} == {key: records[key] for key in signals}
    for symbol, name in expected.items():
        signal, price = signals[symbol], panel.close[-1, panel.symbols.index(symbol)]
        side = 1 if name.s < 0 else -1
        gain = name.deviation * way(name.s, parameters)
        stop = price * math.exp(-side * abs(name.s) * name.deviation)
        assert (signal.side, signal.bar) == ("long" if side > 0 else "short", panel.bars - 1)
        assert (signal.hits is None) == (parameters.walk_forward == 0)
        assert signal.horizon == math.ceil(-2 * math.log(2) / math.log(name.b))
        half_life = -math.log(2) / math.log(name.b)
        kappa = -math.log(name.b) * 252
        same(signal.metadata, {"s": name.s, "kappa": kappa, "half_life": half_life, "factors": name.factors}, 1e-6)
        told = [signal.entry, signal.exit, signal.stop, signal.expected_return, signal.confidence]
        confidence = math.erf(abs(name.s) / math.sqrt(2))
        oracle = [price, price * math.exp(side * gain), stop, gain, confidence]
        np.testing.assert_allclose(np.array(told, dtype=float), oracle, rtol=1e-6)
    return len(signals)


@pytest.mark.parametrize("bars", [253, 900, 2200])
def test_it_decides_as_the_oracle_on_the_generated_market(generated: Panel, bars: int) -> None:
    assert 0 < check(until(generated, bars), QUICK) < 64


def test_it_decides_as_the_oracle_on_real_candles(real: Panel) -> None:
    for parameters in (QUICK, OTHER):
        assert sum(check(until(real, bars), parameters) for bars in (300, 1500, 5760)) > 0


def test_it_decides_as_the_oracle_with_other_parameters(generated: Panel) -> None:
    for change in ({}, {"residuals": 60}, {"window": 300, "s_entry": 1}):
        parameters = msgspec.structs.replace(OTHER, walk_forward=0, **change)
        assert 0 < check(generated.select(generated.symbols[:40]), parameters) < 40


def records(prices: Array, parameters: Parameters) -> int:
    """The walk-forward of each name is the loop's; how many trades."""
    expected, kept = score(prices, parameters), record(prices, parameters)
    assert [kept.of(column) for column in range(prices.shape[1])] == expected
    return sum(count for _, count in expected)


def test_the_walk_forward_is_the_plain_loops(generated: Panel) -> None:
    usual = Parameters(walk_forward=12)
    exits = msgspec.structs.replace(OTHER, walk_forward=30, s_entry=1.1, s_exit_long=1, s_exit_short=0)
    prices = series.logs(until(generated, 500).close[:, :12])
    gap = prices.copy()
    gap[480, 3] = np.nan
    planted = series.logs(np.column_stack(universe(12, 330)))
    cases = ((prices, usual), (prices, OTHER), (gap, msgspec.structs.replace(usual, walk_forward=30)))
    for given, parameters in (*cases, (planted, usual), (planted, exits)):
        assert records(given, parameters) > 0


def test_the_walk_forward_is_the_plain_loops_on_real_candles(real: Panel) -> None:
    assert records(series.logs(until(real, 900).close), Parameters(walk_forward=30)) > 0


@pytest.mark.parametrize("gap", [True, False])
def test_what_comes_later_changes_no_decision(generated: Panel, gap: bool) -> None:
    before = series.logs(generated.close[:600, :15])
    for bar in (252, 300, 598):
        after = before.copy()
        after[bar + 1 :] = np.nan if gap else np.random.default_rng(bar).normal(size=after[bar + 1 :].shape)
        one, other = measure(before, bar, QUICK), measure(after, bar, QUICK)
        assert one is not None
        assert other is not None
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)


def test_a_name_that_rose_alone_has_a_higher_score_and_the_record_of_what_reverts_is_good() -> None:
    columns = [walk(1, 400) * reverting(seed, 400, b=0.8, noise=0.002) / 100 for seed in range(2, 16)]
    prices = series.logs(np.column_stack(columns))
    scores = []
    for rise in (-0.01, 0, 0.01):
        strayed = prices.copy()
        strayed[-8:, 4] += rise
        found = measure(strayed, 399, QUICK)
        assert found is not None
        scores.append(float(found.s[4]))
    assert scores == sorted(scores)
    assert scores[0] < 0 < scores[2]
    kept = record(prices, Parameters())
    assert kept.hits.sum() > 0.6 * kept.trades.sum() > 0


GAP = "a gap or no price within the last 253 bars"
BROKEN = np.where(np.arange(400) == 300, 0.0, walk(3, 400))


@pytest.mark.parametrize("bad", [np.full(400, 0.1), np.zeros(400), np.full(400, np.nan), BROKEN])
def test_one_bad_symbol_is_left_out_and_the_others_are_as_without_it(bad: Array) -> None:
    others = [walk(seed, 400) for seed in range(12)]
    signals, notes = found_by(PcaStatArb(), panel_of(*others, bad), Parameters())
    alone, none = found_by(PcaStatArb(), panel_of(*others), Parameters())
    assert signals.keys() == alone.keys() != set()
    assert none == []
    assert notes == ["S12/X: " + ("the returns do not vary" if bad[0] == 0.1 else GAP)]


@pytest.mark.parametrize("same", [walk(1, 400), np.full(400, 0.1), np.zeros(400), np.full(400, np.nan)])
def test_a_universe_of_twins_or_of_nothing_gives_nothing(same: Array) -> None:
    signals, notes = found_by(PcaStatArb(), panel_of(*[same] * 12), Parameters())
    assert signals == {}
    named = ", ".join(f"S{number}/X" for number in range(12))
    assert notes[0].startswith(f"{named}: ")


def test_twins_among_others_have_the_same_score() -> None:
    panel = panel_of(*[walk(max(seed, 1), 400) for seed in range(12)])
    found = measure(series.logs(panel.close), 399, QUICK)
    assert found is not None
    np.testing.assert_allclose(found.s[0], found.s[1], rtol=1e-6)


def test_too_many_factors_are_a_reason() -> None:
    panel = panel_of(*[walk(seed, 400) for seed in range(120)])
    signals, notes = found_by(PcaStatArb(), panel, Parameters(variance=0.99))
    assert (signals, len(notes)) == ({}, 1)


def test_too_little_is_a_reason_and_no_walk_forward_has_no_hits() -> None:
    columns = [walk(seed, 260) for seed in range(10)]
    with pytest.raises(NothingToScan, match=r"253 bars.*252"):
        found_by(PcaStatArb(), panel_of(*(column[:252] for column in columns)), QUICK)
    with pytest.raises(NothingToScan, match="10 symbols"):
        found_by(PcaStatArb(), panel_of(*columns[:9]), QUICK)
    assert found_by(PcaStatArb(), panel_of(*columns), Parameters())[1] == []
    assert PcaStatArb().units(panel_of(*columns), QUICK) == 1

"""Pairs against statsmodels, against a plain loop, against the future, and on data that nobody wants."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanstream.panel import Array, Panel
from scanstream.strategies import series
from scanstream.strategies.pairs import (
    Pairs,
    Parameters,
    critical,
    dickey_fuller,
    measure,
    p_value,
    pairs_of,
    record,
    regression,
)
from scanstream.strategies.strategy import NothingToScan, Signal
from strategies.panels import found_by, panel_of, reverting, same, until, walk

QUICK = Parameters(walk_forward=0)
EASY = Parameters(walk_forward=0, z_min=0.5)
OTHER = Parameters(walk_forward=77, window=120, z_min=1.0)


def fit(pair: Array, parameters: Parameters) -> tuple[float, float, float, float, float, float, float] | None:
    """(α, β, u, z, statistic, p, half-life) of log closes (time × 2) at their end, by statsmodels."""
    from statsmodels.regression.linear_model import OLS  # type: ignore[import-untyped]
    from statsmodels.tools import add_constant  # type: ignore[import-untyped]
    from statsmodels.tsa.ar_model import AutoReg  # type: ignore[import-untyped]
    from statsmodels.tsa.stattools import coint  # type: ignore[import-untyped]

    pair = pair[-parameters.window :]
    if np.isnan(pair).any() or np.ptp(pair, axis=0).min() < 1e-12:
        return None
    y, x = pair.T
    found = OLS(y, add_constant(x)).fit()
    alpha, beta = found.params
    deviation = float(np.std(found.resid))
    if deviation < 1e-6 or beta <= 0:
        return None
    z = found.resid[-1] / deviation
    if abs(z) < parameters.z_min:
        return None
    statistic, p, levels = coint(y, x, trend="c", maxlag=1, autolag=None)
    b = AutoReg(found.resid, lags=1).fit().params[1]
    if statistic >= levels[1] or not 0 < b < 1:
        return None
    return alpha, beta, found.resid[-1], z, statistic, p, -math.log(2) / math.log(b)


def score(pair: Array, parameters: Parameters) -> tuple[int, int]:
    """(hits, trades): each decision is given the closes up to its bar only."""
    hits = trades = 0
    last = len(pair) - 1
    for bar in range(max(parameters.window - 1, last - parameters.walk_forward), last):
        rule = fit(pair[: bar + 1], parameters)
        if rule is None:
            continue
        alpha, beta, u, *_, half_life = rule
        end = bar + math.ceil(2 * half_life)
        if end > last or np.isnan(pair[end]).any():
            continue
        trades += 1
        hits += won([y - alpha - beta * x for y, x in pair[bar + 1 : end + 1].tolist()], u)
    return hits, trades


def won(spreads: list[float], entry: float) -> bool:
    """Whether a trade made money."""
    for spread in spreads:
        if spread / entry <= 0:
            return True
        if spread / entry > 2:
            return False
    return spreads[-1] / entry < 1


def tied(seed: int, bars: int, *, last: float | None = None) -> tuple[Array, Array]:
    """A pair with a spread that reverts: log y = 1 + 0.8·log x + u."""
    x = walk(seed, bars)
    u = np.log(reverting(seed + 1000, bars, b=0.8) / 100)
    if last is not None:
        u[-1] = last
    return np.exp(1 + 0.8 * np.log(x) + u), x


def wide(panel: Panel, parameters: Parameters) -> Iterator[tuple[str, Array]]:
    """The key and the log closes of every pair whose spread is wide enough, or almost, by polyfit."""
    prices = series.logs(panel.close)
    seen = prices[-parameters.window :]
    whole = [column for column in range(len(panel.symbols)) if np.ptp(seen[:, column]) > 1e-12]  # NaN is not
    for other in whole:
        firsts = [column for column in whole if column < other]
        if not firsts:
            continue
        beta, alpha = np.polyfit(seen[:, other], seen[:, firsts], 1)
        spreads = seen[:, firsts] - alpha - np.outer(seen[:, other], beta)
        z = spreads[-1] / spreads.std(axis=0)
        for one in np.array(firsts)[np.abs(z) > parameters.z_min - 1e-6].tolist():
            yield f"{panel.symbols[one]}+{panel.symbols[other]}", prices[:, [one, other]]


def check(panel: Panel, parameters: Parameters) -> int:
    """Every pair's signal is that of statsmodels, to seven digits; how many there are."""
    signals, _ = found_by(Pairs(), panel, parameters)
    pairs = dict(wide(panel, parameters))
    rules = {key: rule for key, pair in pairs.items() if (rule := fit(pair, parameters)) is not None}
    assert signals.keys() == rules.keys()
    for key, rule in rules.items():
        signal, pair = signals[key], pairs[key]
        alpha, beta, u, z, statistic, p, half_life = rule
        price = math.exp(pair[-1, 0])
        assert signal.side == ("long" if z < 0 else "short")
        assert (signal.horizon, signal.bar) == (math.ceil(2 * half_life), panel.bars - 1)
        fitted = {"z": z, "alpha": alpha, "beta": beta, "half_life": half_life, "adf": statistic, "p_value": p}
        same(signal.metadata, fitted, 1e-7)
        assert signal.hits == (score(pair, parameters) if parameters.walk_forward else None)
        told = (signal.entry, signal.exit, signal.stop, signal.expected_return, signal.confidence)
        confidence = math.erf(abs(z) / math.sqrt(2))
        expected = [price, math.exp(alpha + beta * pair[-1, 1]), price * math.exp(u), abs(u) / (1 + beta), confidence]
        np.testing.assert_allclose(np.array(told, dtype=float), expected, rtol=1e-7)
    return len(signals)


def test_the_statistic_its_critical_value_and_its_p_value_are_those_of_coint(real: Panel) -> None:
    from statsmodels.tsa.stattools import coint

    for length in (50, 250, 700):
        y, x = (np.log(real.close[:length, real.symbols.index(name)]) for name in ("ETH/BTC", "LTC/BTC"))
        for left in (y, x + 0.3 * reverting(1, length) / 100):
            statistic, p, levels = coint(left, x, trend="c", maxlag=1, autolag=None)
            _, _, spread = regression(left, x)
            assert math.isclose(dickey_fuller(spread), statistic, rel_tol=1e-8)
            assert math.isclose(critical(length - 1), levels[1], rel_tol=1e-9)
            assert statistic > -2.62 or math.isclose(p_value(float(statistic)), p, rel_tol=1e-9)
    assert p_value(-20) == 0


def test_it_decides_as_statsmodels_on_the_generated_market(generated: Panel) -> None:
    few = generated.select(generated.symbols[:12])
    assert sum(check(until(few, bars), parameters) for bars in (700, 2200) for parameters in (EASY, OTHER)) > 0


def test_it_decides_as_statsmodels_on_the_whole_generated_market(generated: Panel) -> None:
    assert 0 < check(generated, QUICK) < 100


def test_it_decides_as_statsmodels_on_real_candles(real: Panel) -> None:
    for parameters in (EASY, OTHER):
        assert sum(check(until(real, bars), parameters) for bars in (800, 3000, 5760)) > 0


@given(st.data(), st.integers(2, 40))
def test_the_pairs_of_a_shard_are_its_part_of_all(data: st.DataObject, count: int) -> None:
    every = np.stack(np.triu_indices(count, 1), axis=1)
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(every))] * 2)))
    np.testing.assert_array_equal(pairs_of(range(start, stop), count), every[start:stop])


def test_a_planted_pair_is_found_and_others_are_not() -> None:
    market = walk(1, 600)
    y, x = tied(5, 600, last=0.05)
    panel = panel_of(y, x, market * walk(2, 600) ** 0.5, market * walk(3, 600) ** 0.5)
    signals, _ = found_by(Pairs(), panel, Parameters())
    assert check(panel, QUICK) == len(signals)
    assert (signals["S0/X+S1/X"].side, signals["S0/X+S1/X"].symbols) == ("short", ("S0/X", "S1/X"))
    assert "S2/X+S3/X" not in signals  # they move together, and yet nothing ties them
    hits = signals["S0/X+S1/X"].hits
    assert hits is not None
    assert hits[0] > 0.7 * hits[1] > 0
    y, x = tied(5, 600, last=-0.05)
    assert found_by(Pairs(), panel_of(y, x), QUICK)[0]["S0/X+S1/X"].side == "long"


def test_the_walk_forward_is_the_plain_loops_on_real_candles(real: Panel) -> None:
    candles, eager = np.log(real.select(["LTC/BTC", "ZEC/BTC"]).close[:700]), Parameters(z_min=0.5)
    assert record(candles, eager) == score(candles, eager)
    assert record(candles, eager)[1] > 0


def test_the_walk_forward_is_the_plain_loops(generated: Panel) -> None:
    planted = np.log(np.column_stack(tied(7, 520)))
    gap = planted.copy()
    gap[-60::6] = np.nan
    made_up = np.log(generated.select(["RPL/USDT", "KSM/USDT"]).close[-460:])
    loose = Parameters(z_min=1)
    cases = ((planted, Parameters()), (planted, OTHER), (gap, loose), (made_up, loose))
    for pair, parameters in cases:
        assert record(pair, parameters) == score(pair, parameters)
        assert record(pair, parameters)[1] > 0
    assert record(gap, loose) != record(planted, loose)


@settings(max_examples=20)
@given(bar=st.integers(249, 398), seed=st.integers(0, 2**31), gap=st.booleans())
def test_what_comes_later_changes_no_decision(bar: int, seed: int, gap: bool) -> None:
    before = np.log(np.column_stack(tied(seed, 400)))
    after = before.copy()
    after[bar + 1 :] = np.nan if gap else np.random.default_rng(seed).normal(size=after[bar + 1 :].shape)
    bars = np.arange(249, bar + 1)
    rules = [measure(series.windows(prices, bars, EASY.window), EASY) for prices in (before, after)]
    for one, other in zip(*rules, strict=True):
        np.testing.assert_array_equal(one, other)


LOOSE = Parameters(z_min=0)


@pytest.mark.parametrize(
    "other", [np.full(600, 0.1), np.zeros(600), np.full(600, np.nan), walk(1, 600), 3 * walk(1, 600)]
)
def test_twins_constants_and_nothing_give_nothing(other: Array) -> None:
    for columns in ((walk(1, 600), other), (other, walk(1, 600)), (other, other)):
        assert found_by(Pairs(), panel_of(*columns), LOOSE)[0] == {}


@pytest.mark.parametrize("bad", [np.nan, 0.0, -1.0])
def test_a_gap_within_the_window_silences_the_pairs_of_that_symbol(bad: float) -> None:
    y, x = tied(5, 600, last=0.05)
    third = walk(9, 600)
    third[-250] = bad
    signals, notes = found_by(Pairs(), panel_of(y, x, third), LOOSE)
    assert set(signals) == {"S0/X+S1/X"}
    assert notes == ["S2/X: a gap or no price within the last 250 bars"]


def test_shards_find_what_the_whole_finds() -> None:
    panel = panel_of(*(column for seed in range(4) for column in tied(seed, 300, last=0.05)))
    units = Pairs().units(panel, QUICK)
    whole = list(Pairs().scan(panel, range(units), QUICK))
    shards = [
        item for start in range(0, units, 5) for item in Pairs().scan(panel, range(start, min(units, start + 5)), QUICK)
    ]
    assert units == 28
    assert whole == shards
    assert len({item.symbols for item in whole if isinstance(item, Signal)}) == len(whole) >= 4


def test_64_symbols_make_about_30_shards(generated: Panel) -> None:
    assert -(-Pairs().units(generated, QUICK) // Pairs.chunk) == 32


def test_too_little_is_a_reason_and_no_walk_forward_has_no_hits() -> None:
    y, x = tied(5, 600, last=0.05)
    with pytest.raises(NothingToScan, match=r"250 bars.*249"):
        found_by(Pairs(), panel_of(y[-249:], x[-249:]), QUICK)
    with pytest.raises(NothingToScan, match="2 symbols"):
        found_by(Pairs(), panel_of(y), QUICK)
    assert found_by(Pairs(), panel_of(y, x), QUICK)[0]["S0/X+S1/X"].hits is None
    assert found_by(Pairs(), panel_of(y[-250:], x[-250:]), Parameters())[0]["S0/X+S1/X"].hits == (0, 0)

"""The five strategies of candles on prices that do not move, on twins and on infinity: nothing, and a reason."""

from typing import Any

import numpy as np
import pytest

from scanstream.panel import Array, Panel
from scanstream.strategies import donchian, meanrev, pairs, pca_statarb, series, tsmom
from scanstream.strategies.strategy import Strategy
from strategies.panels import found_by, panel_of, walk

BARS = 600
LOOSE: dict[str, tuple[Strategy, Any]] = {
    "tsmom": (tsmom.TimeSeriesMomentum(), tsmom.Parameters(z_min=0)),
    "meanrev": (meanrev.MeanReversion(), meanrev.Parameters(z_min=0, z_stop=100)),
    "donchian": (donchian.Donchian(), donchian.Parameters()),
    "pairs": (pairs.Pairs(), pairs.Parameters(z_min=0)),
    "pca_statarb": (pca_statarb.PcaStatArb(), pca_statarb.Parameters(s_entry=1, kappa_min=0)),
}
EVERY = pytest.mark.parametrize("name", LOOSE)
STILL = dict.fromkeys(LOOSE, "the price does not move") | {"pca_statarb": "the returns do not vary"}


def almost(seed: int, noise: float) -> Array:
    """A constant but for so much noise, its last close the highest."""
    steps = np.random.default_rng(seed).normal(size=BARS)
    steps[-1] = 6
    return 0.1 * (1 + noise * steps)


def tie(seed: int) -> Array:
    """What parts two twins: a billionth, and five at the end; it reverts."""
    level = 0.0
    steps = [level := 0.6 * level + 1e-9 * step for step in np.random.default_rng(seed).normal(size=BARS)]
    return np.array([*steps[:-1], 5e-9])


def named(count: int) -> str:
    """The symbols of a panel."""
    return ", ".join(f"S{number}/X" for number in range(count))


@EVERY
@pytest.mark.parametrize("noise", [0, 1e-13, 1e-11])
def test_where_no_price_moves_there_is_nothing_and_a_reason(name: str, noise: float) -> None:
    signals, notes = found_by(LOOSE[name][0], panel_of(*(almost(seed, noise) for seed in range(12))), LOOSE[name][1])
    assert signals == {}
    assert notes[0] == f"{named(12)}: {STILL[name]}"
    assert all(note.startswith("fewer than 10 symbols with prices that move") for note in notes[1:])


@pytest.mark.parametrize("noise", [0, 1e-13, 1e-11])
def test_no_speed_is_fitted_to_rounding(noise: float) -> None:
    assert np.isnan(series.autoregression(np.log(almost(1, noise))).b)


@EVERY
def test_one_that_does_not_move_is_named_and_the_others_are_as_without_it(name: str) -> None:
    strategy, loose = LOOSE[name]
    others = [walk(seed, BARS) for seed in range(12)]
    signals, notes = found_by(strategy, panel_of(*others, almost(1, 1e-11)), loose)
    alone, none = found_by(strategy, panel_of(*others), loose)
    assert (notes, none) == ([f"S12/X: {STILL[name]}"], [])
    assert signals.keys() == alone.keys() != set()


@EVERY
@pytest.mark.parametrize("age", [0, 1, 15])
@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_infinity_is_no_price(name: str, age: int, bad: float) -> None:
    broken = walk(12, BARS)
    broken[-1 - age] = bad
    signals, notes = found_by(
        LOOSE[name][0], panel_of(*(walk(seed, BARS) for seed in range(12)), broken), LOOSE[name][1]
    )
    assert signals
    assert not any("S12/X" in key for key in signals)
    assert len(notes) == 1
    assert notes[0].startswith("S12/X: a gap or no price within the last ")


@pytest.mark.parametrize("parameters", [pairs.Parameters(), pairs.Parameters(z_min=0)])
def test_twins_that_rounding_parts_are_no_pair(parameters: pairs.Parameters) -> None:
    one = walk(1, BARS)
    for other in (one, 3 * one, one * np.exp(tie(2)), one * np.exp(-tie(3))):
        for columns in ((one, other), (other, one)):
            signals, notes = found_by(pairs.Pairs(), panel_of(*columns), parameters)
            assert (signals, notes) == ({}, ["S0/X and S1/X: the same thing twice, without a spread"])


def test_of_many_twins_a_few_are_named() -> None:
    _, notes = found_by(pairs.Pairs(), panel_of(*[walk(1, BARS)] * 5), pairs.Parameters())
    few = "S0/X and S1/X, S0/X and S2/X, S0/X and S3/X, S0/X and S4/X and 6 pairs more"
    assert notes == [f"{few}: the same thing twice, without a spread"]


def test_a_universe_of_twins_that_rounding_parts_has_no_residuals() -> None:
    strategy, loose = LOOSE["pca_statarb"]
    signals, notes = found_by(strategy, panel_of(*(walk(1, BARS) * np.exp(tie(seed)) for seed in range(12))), loose)
    assert (signals, notes) == ({}, [f"{named(12)}: nothing is left beyond the common factors"])


@pytest.mark.parametrize("name", ["tsmom", "meanrev", "donchian"])
def test_twins_that_rounding_parts_have_the_same_signal(name: str) -> None:
    columns = [price for seed in range(8) for price in (walk(seed, BARS), walk(seed, BARS) * np.exp(tie(seed)))]
    signals, notes = found_by(LOOSE[name][0], panel_of(*columns), LOOSE[name][1])
    sides = [signals[symbol].side if symbol in signals else None for symbol in named(16).split(", ")]
    assert (sides[::2], notes) == (sides[1::2], [])
    assert any(sides)


@EVERY
def test_nothing_is_noted_on_the_generated_market(name: str, generated: Panel) -> None:
    assert found_by(LOOSE[name][0], generated, LOOSE[name][0].parse({"walk_forward": 0}))[1] == []


@EVERY
def test_gaps_only_are_noted_on_real_candles(name: str, real: Panel) -> None:
    _, notes = found_by(LOOSE[name][0], real, LOOSE[name][0].parse({"walk_forward": 0}))
    assert all("a gap or no price" in note or "fewer than 10" in note for note in notes)

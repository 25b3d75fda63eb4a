"""The records of past trades against the future: what comes after a bar changes nothing of what was known at it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from scanstream.panel import Array
from scanstream.strategies import donchian, funding_carry, meanrev, pairs, pca_statarb, tsmom
from strategies.books_panels import funding_of
from strategies.panels import universe

BARS = 420


class Rule(NamedTuple):
    """A record, and with which parameters."""

    parameters: Any
    record: Callable[[Array, Any], tuple[Any, Any]]
    """(hits, trades) of log closes, by symbol or of all."""
    horizon: int = 1
    """How many bars before the end are not judged."""

    def after(self, prices: Array, judged: int) -> Array:
        """Hits and trades, with so many bars judged."""
        return np.array(self.record(prices, msgspec.structs.replace(self.parameters, walk_forward=judged)))


def broken_out(prices: Array, parameters: donchian.Parameters) -> tuple[Any, Any]:
    """The record of `donchian`, with wicks."""
    close = np.exp(prices)
    rule = donchian.measure(close * 1.002, close * 0.997, close, parameters)
    return donchian.record(close, rule, parameters)


def carried(prices: Array, parameters: funding_carry.Parameters) -> tuple[Any, Any]:
    """The record of `funding_carry`, with payments in the place of returns."""
    funding = funding_of(*(np.diff(prices, axis=0, prepend=prices[:1]) / 20).T.tolist())
    return funding_carry.record(funding, funding_carry.measure(funding, parameters), parameters)


RULES = {
    "tsmom": Rule(tsmom.Parameters(horizon=5, z_min=0.2), tsmom.record, 5),
    "meanrev": Rule(meanrev.Parameters(z_min=0.3, half_life_max=500), meanrev.record),
    "donchian": Rule(donchian.Parameters(window=10, horizon=5), broken_out, 5),
    "pairs": Rule(pairs.Parameters(z_min=0.5), lambda prices, given: pairs.record(prices[:, :2], given)),
    "pca_statarb": Rule(pca_statarb.Parameters(), pca_statarb.record),
    "funding_carry": Rule(funding_carry.Parameters(payments=3, horizon=5), carried, 5),
}
EVERY = pytest.mark.parametrize("name", RULES)
BEFORE = np.log(np.column_stack(universe(12, BARS)))


def changed(prices: Array, bar: int, step: float) -> Array:
    """The prices with others after a bar: there they fall or rise by so much, and then have noise."""
    after = prices.copy()
    shape = after[bar + 1 :].shape
    after[bar + 1 :] = prices[bar] + step * np.arange(1, 13) + np.random.default_rng(bar).normal(size=shape) / 20
    return after


@EVERY
@pytest.mark.parametrize("bar", [380, 395])
def test_a_record_is_that_of_the_bars_known_by_then(name: str, bar: int) -> None:
    rule = RULES[name]
    after = BEFORE.copy()
    after[bar + 1 :] = np.nan
    known = rule.after(BEFORE[: bar + 1], 70)
    np.testing.assert_array_equal(rule.after(after, 70 + BARS - 1 - bar), known)
    assert known.sum() > 0


@EVERY
@pytest.mark.parametrize("bar", [385, 390, 395, 399])
def test_which_trades_were_opened_by_then_does_not_depend_on_what_follows(name: str, bar: int) -> None:
    rule = RULES[name]
    later = BARS - rule.horizon - bar - 1
    futures = [changed(BEFORE, bar, step) for step in (-0.02, 0.001, 0.02)]
    opened = [(rule.after(prices, later + 20) - rule.after(prices, later))[1] for prices in futures]
    np.testing.assert_array_equal(opened[0], opened[1])
    np.testing.assert_array_equal(opened[0], opened[2])
    assert np.sum(opened[0]) > 0

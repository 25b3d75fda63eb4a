"""Statistical arbitrage: what a name has done beyond the common factors of its universe goes back.

Source: Avellaneda, Lee 2010, Statistical arbitrage in the US equities market, Quantitative Finance 10:761-782, with log
returns and without their drift and volume terms. They have no stop; this one, at twice the s-score of the entry, is so
that a risk can be told.
"""

import math
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from scanstream.panel import Array, Panel
from scanstream.strategies import series, strategy
from scanstream.strategies.series import Bars
from scanstream.strategies.strategy import Note, NothingToScan, Signal

FEWEST = 10
"""Symbols in a universe that has factors."""
YEAR = 252
"""Bars in which the paper counts the speed κ."""


class Parameters(strategy.Parameters, frozen=True, kw_only=True):
    """What a request may set."""

    window: Annotated[int, Meta(ge=60, le=1000, description="Returns from which the factors are taken")] = 252
    residuals: Annotated[int, Meta(ge=20, le=60, description="Last returns in which the residuals are fitted")] = 60
    variance: Annotated[float, Meta(ge=0.01, le=0.99, description="Share of the variance that is the factors'")] = 0.55
    kappa_min: Annotated[float, Meta(ge=0, description="The least speed of reversion, per 252 bars")] = 8.4
    s_entry: Annotated[float, Meta(ge=1, description="The s-score beyond which a position is opened")] = 1.25
    s_exit_long: Annotated[float, Meta(ge=0, le=1, description="The s-score below zero where a long ends")] = 0.5
    s_exit_short: Annotated[float, Meta(ge=0, le=1, description="The s-score where a short ends")] = 0.75


class PcaStatArb(strategy.Strategy):
    """Bet on the return of each name's residual to its mean."""

    id = "pca_statarb"
    name = "PCA statistical arbitrage"
    opportunity_type = "statistical_arbitrage"
    description = "Bets that what a symbol did beyond the common factors of the market goes back."
    source = "Avellaneda, Lee 2010, Quantitative Finance 10:761"
    chunk = 1
    parameters = Parameters

    def units(self, panel: Panel, parameters: Parameters) -> int:
        """One: the whole universe."""
        if panel.bars <= parameters.window:
            raise NothingToScan(f"needs {parameters.window + 1} bars; the market has {panel.bars}")
        if len(panel.symbols) < FEWEST:
            raise NothingToScan(f"needs {FEWEST} symbols; there are {len(panel.symbols)}")
        return 1

    def scan(self, panel: Panel, units: range, parameters: Parameters) -> Iterator[Signal | Note]:
        """The s-score of each name as of the last bar, with the rule's record on the bars before it."""
        prices = series.logs(panel.close)
        now = measure(prices, panel.bars - 1, parameters)
        yield from map(Note, _silence(panel, deviations(prices[-1 - parameters.window :]), now, parameters))
        if now is None or not now.side.any():
            return
        past = record(prices, parameters)
        for column in np.flatnonzero(now.side).tolist():
            hits = past.of(column) if parameters.walk_forward else None
            yield _signal(panel, now, column, hits, parameters)


def _silence(panel: Panel, deviation: Array, now: "Measure | None", parameters: Parameters) -> Iterator[str]:
    """Which names are left out, and why."""

    def named(which: NDArray[np.bool_]) -> list[str]:
        return [panel.symbols[unit] for unit in np.flatnonzero(which)]

    if silent := named(np.isnan(deviation)):
        yield series.silence(silent, parameters.window + 1)
    if still := named(deviation <= series.STILL):
        yield f"{', '.join(still)}: the returns do not vary"
    if now is None:
        yield f"fewer than {FEWEST} symbols with prices that move, or too many factors for the residuals"
    elif bare := named(now.bare):
        yield f"{', '.join(bare)}: nothing is left beyond the common factors"


class Measure(NamedTuple):
    """The rule at one bar, by symbol; NaN where it says nothing."""

    s: Array
    b: Array
    equilibrium: Array
    """Standard deviation of the residual's level in the long run."""
    half_life: Array
    side: NDArray[np.int8]
    """1 long, -1 short, 0 nothing."""
    bare: NDArray[np.bool_]
    """Which names are all factors, as twins are in a universe of twins."""
    hedge: Array
    """Names × names: in each column the portfolio that is long one name and short its share in the factors."""
    factors: int


def measure(prices: Array, bar: int, parameters: Parameters) -> Measure | None:
    """Apply the rule at a bar, with data up to it only; None if too few names move, or the factors are too many.

    :param prices: log closes, time × symbols
    :param bar: index of at least `window`
    """
    seen = prices[bar - parameters.window : bar + 1]
    (names,) = np.nonzero(deviations(seen) > series.STILL)  # NaN is not
    if len(names) < FEWEST:
        return None
    returns = np.diff(seen[:, names], axis=0)
    portfolios = eigenportfolios(returns, parameters.variance)
    if portfolios.shape[1] + 3 > parameters.residuals:
        return None
    returns = returns[-parameters.residuals :]
    loadings, levels = residual_levels(returns, returns @ portfolios)
    rule = _decide(levels, returns.std(axis=0), parameters)
    size = prices.shape[1]
    s, b, equilibrium, half_life = (_spread(values, names, size, np.nan) for values in rule[:4])
    side, bare = (_spread(values, names, size, 0) for values in rule[4:])
    hedge = np.zeros((size, size))
    hedge[np.ix_(names, names)] = np.eye(len(names)) - portfolios @ loadings
    decided = side.astype(np.int8), bare.astype(np.bool_)
    return Measure(s, b, equilibrium, half_life, *decided, hedge, portfolios.shape[1])


def deviations(prices: Array) -> Array:
    """Standard deviation of each name's returns; NaN where there is a gap."""
    return np.asarray(np.diff(prices, axis=0).std(axis=0))


def eigenportfolios(returns: Array, share: float) -> Array:
    """Weights (names × factors) of the leading eigenvectors of the correlation matrix, over each name's deviation."""
    deviation = returns.std(axis=0)
    values, vectors = np.linalg.eigh(np.corrcoef(returns, rowvar=False))
    explained = np.cumsum(values[::-1]) / values.sum()
    count = int(np.searchsorted(explained, share)) + 1
    return np.asarray(vectors[:, ::-1][:, :count] / deviation[:, np.newaxis])


def residual_levels(returns: Array, factors: Array) -> tuple[Array, Array]:
    """(loadings, cumulated residuals: names × time) of returns on the factors and a constant, by least squares."""
    centred, common = returns - returns.mean(axis=0), factors - factors.mean(axis=0)
    loadings = np.linalg.lstsq(common, centred, rcond=None)[0]
    return loadings, np.cumsum(centred - common @ loadings, axis=0).T


def _decide(levels: Array, deviation: Array, parameters: Parameters) -> tuple[Array, ...]:
    """(s, b, equilibrium, half-life, side, bare) by name; the levels end at zero, so that s is −m / equilibrium."""
    b, mean, error = series.autoregression(levels)
    bare = ~(error > 1e-6 * deviation)  # a twin's, which has no residual, or one that is rounding
    half_life = series.half_life(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        fast = (b > 0) & (-np.log(np.where(b > 0, b, np.nan)) * YEAR > parameters.kappa_min) & (b < 1)
        fast &= ~bare
        equilibrium = np.where(fast, error / np.sqrt(1 - b**2), np.nan)
        centre = mean[fast].mean() if fast.any() else 0.0
        s = (centre - mean) / equilibrium
    side = np.where(s < -parameters.s_entry, 1, np.where(s > parameters.s_entry, -1, 0))
    return s, b, equilibrium, half_life, side.astype(np.float64), bare.astype(np.float64)


def _spread(values: Array, names: Bars, size: int, missing: float) -> Array:
    whole = np.full(size, missing)
    whole[names] = values
    return whole


def target(s: Array, parameters: Parameters) -> Array:
    """How far the s-score is from where the position ends."""
    return np.asarray(np.abs(s) - np.where(s < 0, parameters.s_exit_long, parameters.s_exit_short))


def record(prices: Array, parameters: Parameters) -> series.Record:
    """Score the rule on the `walk_forward` bars before the last one.

    A trade opens at the closes of its bar and keeps the loadings, the mean and the deviation of then; what it makes is
    the name's log return less that of its share in the factors. It ends at the first bar where that has reached its
    exit, where it is a hit, or is beyond its stop, else after two half-lives, where it is a hit if it made money. One
    whose horizon is not over, or ends in a gap of any of its names, is not counted: which, is known as it opens.
    """
    size = prices.shape[1]
    total = series.Record(np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64))
    for bar in series.judged(len(prices), parameters.window + 1, parameters.walk_forward).tolist():
        rule = measure(prices, bar, parameters)
        if rule is None:
            continue
        horizons = series.holding(rule.half_life)
        (columns,) = np.nonzero((rule.side != 0) & (bar + horizons < len(prices)))
        steps = int(horizons[columns].max(initial=0))
        used = rule.hedge.any(axis=1)
        moves = prices[bar + 1 : bar + 1 + steps, used] - prices[bar, used]
        gains = rule.side[columns, np.newaxis] * (moves @ rule.hedge[np.ix_(used, columns)]).T
        s, unit = rule.s[columns], rule.equilibrium[columns]
        scored = series.outcomes(gains, horizons[columns], target(s, parameters) * unit, np.abs(s) * unit)
        kept = series.tally(columns, *scored, size)
        total = series.Record(total.hits + kept.hits, total.trades + kept.trades)
    return total


def _signal(panel: Panel, now: Measure, column: int, hits: tuple[int, int] | None, parameters: Parameters) -> Signal:
    price = float(panel.close[-1, column])
    s, b, equilibrium, half_life = (float(values[column]) for values in now[:4])
    side = int(now.side[column])
    expected = float(target(now.s, parameters)[column]) * equilibrium
    return Signal(
        symbols=(panel.symbols[column],),
        side="long" if side > 0 else "short",
        bar=panel.bars - 1,
        entry=price,
        exit=price * math.exp(side * expected),
        stop=price * math.exp(-side * abs(s) * equilibrium),
        expected_return=expected,
        confidence=math.erf(abs(s) / math.sqrt(2)),
        horizon=int(series.holding(now.half_life)[column]),
        hits=hits,
        metadata={"s": s, "kappa": -math.log(b) * YEAR, "half_life": half_life, "factors": now.factors},
    )

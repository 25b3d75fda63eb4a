"""Pairs: two symbols that are tied together, and have come apart, come together again.

Source: Engle, Granger 1987, Co-integration and error correction, Econometrica 55:251-276, for the test; MacKinnon 2010,
Critical values for cointegration tests, Queen's Economics Department working paper 1227, and MacKinnon 1994, Journal of
Business & Economic Statistics 12:167-176, for its critical value and p-value; Gatev, Goetzmann, Rouwenhorst 2006, Pairs
trading, Review of Financial Studies 19:797-827, for the trade. That they leave out a stop, and this has one (the spread
twice as wide as at the entry), is so that a risk can be told.
"""

import math
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from scanstream.panel import Array, Panel
from scanstream.strategies import series, strategy
from scanstream.strategies.strategy import Note, NothingToScan, Signal

TWINS = 1e-6
"""A spread with a standard deviation below this, a hundredth of a basis point, is rounding: both are the same thing."""
TOLD = 4
"""Twins that a note names."""


class Parameters(strategy.Parameters, frozen=True, kw_only=True):
    """What a request may set."""

    window: Annotated[int, Meta(ge=50, le=1000, description="Bars over which the tie is fitted and tested")] = 250
    z_min: Annotated[float, Meta(ge=0, description="The least spread, in its own standard deviations")] = 2.0


class Pairs(strategy.Strategy):
    """Bet on the return of the spread of each cointegrated pair to zero."""

    id = "pairs"
    name = "Pairs"
    opportunity_type = "pairs"
    description = (
        "Bets that two symbols whose prices were tied over 250 bars, and have come apart, come together again."
    )
    source = "Engle, Granger 1987, Econometrica 55:251; Gatev, Goetzmann, Rouwenhorst 2006, RFS 19:797"
    chunk = 64
    parameters = Parameters

    def units(self, panel: Panel, parameters: Parameters) -> int:
        """One a pair."""
        if panel.bars < parameters.window:
            raise NothingToScan(f"needs {parameters.window} bars; the market has {panel.bars}")
        count = len(panel.symbols)
        if count < 2:
            raise NothingToScan(f"needs 2 symbols; there are {count}")
        return count * (count - 1) // 2

    def scan(self, panel: Panel, units: range, parameters: Parameters) -> Iterator[Signal | Note]:
        """The spread of each of these pairs as of the last bar, with the rule's record on the bars before it."""
        pairs = pairs_of(units, len(panel.symbols))
        if units.start == 0:
            yield from _silence(panel, parameters)
        columns, places = np.unique(pairs, return_inverse=True)
        seen = series.logs(panel.close[-parameters.window :, columns])[:, places.reshape(pairs.shape)]
        now = measure(seen.transpose(1, 2, 0), parameters)
        twins = [" and ".join(panel.symbols[unit] for unit in pair) for pair in pairs[now.twins]]
        if twins:
            more = f" and {len(twins) - TOLD} pairs more" if len(twins) > TOLD else ""
            yield Note(f"{', '.join(twins[:TOLD])}{more}: the same thing twice, without a spread")
        for case in np.flatnonzero(now.side).tolist():
            pair = pairs[case]
            hits = record(series.logs(panel.close[:, pair]), parameters) if parameters.walk_forward else None
            yield _signal(panel, pair.tolist(), now, case, hits)


def pairs_of(units: range, count: int) -> NDArray[np.intp]:
    """These of the pairs of so many symbols, row by row: (0, 1), (0, 2), … (1, 2), …; pairs × 2."""
    symbols, wanted = np.arange(count), np.array(units, dtype=np.intp)
    begins = symbols * (2 * count - symbols - 1) // 2
    first = np.searchsorted(begins[:-1], wanted, side="right") - 1
    return np.stack([first, wanted - begins[first] + first + 1], axis=1)


def _silence(panel: Panel, parameters: Parameters) -> Iterator[Note]:
    """Which symbols are in no pair; the first shard says it for all."""
    deviation = series.logs(panel.close[-parameters.window :]).std(axis=0)
    gaps, still = np.isnan(deviation), deviation <= series.STILL
    yield from map(Note, series.reasons(panel.symbols, gaps, parameters.window, still))


class Measure(NamedTuple):
    """The rule in several cases: pairs (y, x) at one bar, or bars of one pair; NaN where it says nothing."""

    alpha: Array
    beta: Array
    spread: Array
    """log y − α − β·log x, at the bar."""
    z: Array
    statistic: Array
    """Augmented Dickey–Fuller, of the spread over the window."""
    half_life: Array
    side: NDArray[np.int8]
    """Of y: 1 long, -1 short, 0 nothing; of x the opposite."""

    @property
    def twins(self) -> NDArray[np.bool_]:
        """Which cases are fitted so well that there is no spread."""
        return np.isfinite(self.beta) & np.isnan(self.z)


def measure(seen: Array, parameters: Parameters) -> Measure:
    """Apply the rule in each case to what it has seen. Only spreads that are wide enough are tested.

    :param seen: log closes of a window, cases × 2 × time; NaN in gaps
    """
    alpha, beta, spreads = regression(seen[:, 0], seen[:, 1])
    spread, deviation = spreads[:, -1], np.sqrt((spreads**2).mean(axis=-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(deviation > TWINS, spread / deviation, np.nan)
    wide = (np.abs(z) >= parameters.z_min) & (beta > 0) & (z != 0)
    statistic, half_life = np.full(len(seen), np.nan), np.full(len(seen), np.nan)
    statistic[wide] = dickey_fuller(spreads[wide])
    half_life[wide] = series.half_life(series.autoregression(spreads[wide]).b)
    tied = wide & (statistic < critical(parameters.window - 1)) & np.isfinite(half_life)
    side = np.where(tied, -np.sign(z), 0).astype(np.int8)
    return Measure(alpha, beta, spread, z, statistic, half_life, side)


def regression(y: Array, x: Array) -> tuple[Array, Array, Array]:
    """(α, β, residuals) of y = α + β·x + u by least squares, along the last axis; NaN where x or y does not move."""
    y_mean, x_mean = y.mean(axis=-1, keepdims=True), x.mean(axis=-1, keepdims=True)
    y, x = y - y_mean, x - x_mean
    moves = ((x**2).mean(axis=-1) > series.STILL**2) & ((y**2).mean(axis=-1) > series.STILL**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = np.where(moves, (x * y).sum(axis=-1) / (x**2).sum(axis=-1), np.nan)
    return y_mean[..., 0] - beta * x_mean[..., 0], beta, y - beta[..., np.newaxis] * x


def dickey_fuller(spreads: Array) -> Array:
    """The t statistic of ρ in Δu_t = ρ·u_{t−1} + φ·Δu_{t−1} + e, along the last axis: one lag, no constant."""
    steps = np.diff(spreads, axis=-1)
    level, lag, step = spreads[..., 1:-1], steps[..., :-1], steps[..., 1:]
    determinant = _dot(level, level) * _dot(lag, lag) - _dot(level, lag) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = (_dot(level, step) * _dot(lag, lag) - _dot(lag, step) * _dot(level, lag)) / determinant
        phi = (_dot(lag, step) * _dot(level, level) - _dot(level, step) * _dot(level, lag)) / determinant
        rest = step - rho[..., np.newaxis] * level - phi[..., np.newaxis] * lag
        variance = _dot(rest, rest) / (step.shape[-1] - 2)
        return np.asarray(rho / np.sqrt(variance * _dot(lag, lag) / determinant))


def _dot(one: Array, other: Array) -> Array:
    return np.asarray((one * other).sum(axis=-1))


def critical(count: int) -> float:
    """The 5 % critical value of the statistic for two series with a constant (MacKinnon 2010, table 2)."""
    return -3.33613 - 6.1101 / count - 6.823 / count**2


def p_value(statistic: float) -> float:
    """How likely so low a statistic is without any tie (MacKinnon 1994, for statistics below −2.62)."""
    if statistic < -18.86:
        return 0.0
    return series.probability(2.92 + 1.5012 * statistic + 0.039796 * statistic**2)


def record(pair: Array, parameters: Parameters) -> tuple[int, int]:
    """(hits, trades) of the rule on the `walk_forward` bars before the last one.

    A trade opens at the closes of its bar and keeps the α and β of then. It ends at the first bar whose spread is zero
    or past it, where it is a hit, or more than twice as wide as at the entry, else after two half-lives, where it is a
    hit if it made money. One whose horizon is not over, or ends in a gap, is not counted: which, is known as it opens.
    """
    bars = series.judged(len(pair), parameters.window, parameters.walk_forward)
    rule = measure(series.windows(pair, bars, parameters.window), parameters)
    horizons = series.holding(rule.half_life)
    (rows,) = np.nonzero((rule.side != 0) & (bars + horizons < len(pair)))
    opened, horizon, side = bars[rows], horizons[rows], rule.side[rows, np.newaxis]
    y, x = (series.ahead(pair, opened, np.full(len(rows), column), int(horizon.max(initial=0))) for column in (0, 1))
    width = np.abs(rule.spread[rows])
    counted, won = series.outcomes(side * (y - rule.beta[rows, np.newaxis] * x), horizon, width, width)
    return int((won & counted).sum()), int(counted.sum())


def _signal(panel: Panel, pair: list[int], now: Measure, case: int, hits: tuple[int, int] | None) -> Signal:
    alpha, beta, spread, z, statistic, half_life = (float(array[case]) for array in now[:-1])
    price = float(panel.close[-1, pair[0]])
    return Signal(
        symbols=(panel.symbols[pair[0]], panel.symbols[pair[1]]),
        side="long" if z < 0 else "short",
        bar=panel.bars - 1,
        entry=price,
        exit=price * math.exp(-spread),
        stop=price * math.exp(spread),
        expected_return=abs(spread) / (1 + beta),
        confidence=math.erf(abs(z) / math.sqrt(2)),
        horizon=int(series.holding(now.half_life)[case]),
        hits=hits,
        metadata={
            "z": z,
            "alpha": alpha,
            "beta": beta,
            "half_life": half_life,
            "adf": statistic,
            "p_value": p_value(statistic),
        },
    )

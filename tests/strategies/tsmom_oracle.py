"""Time-series momentum once more, by other means: pandas for the decision, plain Python for the walk-forward."""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pandas as pd

from scanstream.strategies.tsmom import Parameters

WINDOW = 300


class Decision(NamedTuple):
    """What the rule says of one symbol at the last bar of its data."""

    side: int
    z: float
    trend: float
    volatility: float
    expected: float
    stop: float
    confidence: float


def decide(closes: "pd.Series[float]", parameters: Parameters) -> Decision | None:
    """The rule as the paper has it; None where it says nothing. Uses `closes` to its end."""
    prices = closes.where(closes > 0)
    returns = pd.Series(np.log(prices)).diff().tail(WINDOW)
    if returns.isna().any():
        return None
    volatility = math.sqrt(returns.ewm(com=60).var(bias=True).iloc[-1])
    trend = math.log(prices.iloc[-1] / prices.iloc[-1 - parameters.lookback])
    if volatility == 0 or trend == 0:
        return None
    z = trend / (volatility * math.sqrt(parameters.lookback))
    if abs(z) < parameters.z_min:
        return None
    side = 1 if trend > 0 else -1
    return Decision(
        side=side,
        z=z,
        trend=trend,
        volatility=volatility,
        expected=abs(trend) / parameters.lookback * parameters.horizon,
        stop=prices.iloc[-1] * math.exp(-side * 2 * volatility * math.sqrt(parameters.horizon)),
        confidence=2 * NormalDist().cdf(abs(z)) - 1,
    )


def score(closes: Sequence[float], parameters: Parameters) -> tuple[int, int]:
    """(hits, trades) over the last `walk_forward` bars whose horizon is over."""
    hits = trades = 0
    last = len(closes) - 1 - parameters.horizon
    for bar in range(max(WINDOW, last + 1 - parameters.walk_forward), last + 1):
        position = open_position(closes[: bar + 1], parameters)
        held = closes[bar + 1 : bar + 1 + parameters.horizon]
        if position is None or math.isnan(held[-1]):
            continue
        side, stop = position
        trades += 1
        hits += side * (leave(held, side, stop) - closes[bar]) > 0
    return hits, trades


def open_position(closes: Sequence[float], parameters: Parameters) -> tuple[int, float] | None:
    """Side and stop of a trade opened at the last close given: nothing later is known here."""
    window = closes[-WINDOW - 1 :]
    if not all(close > 0 for close in window):
        return None
    returns = [math.log(after / before) for before, after in pairwise(window)]
    weights = [(60 / 61) ** age for age in range(WINDOW - 1, -1, -1)]
    mean = math.fsum(w * r for w, r in zip(weights, returns, strict=True)) / math.fsum(weights)
    variance = math.fsum(w * (r - mean) ** 2 for w, r in zip(weights, returns, strict=True)) / math.fsum(weights)
    trend = math.log(closes[-1] / closes[-1 - parameters.lookback])
    if variance == 0 or trend == 0 or abs(trend) / math.sqrt(variance * parameters.lookback) < parameters.z_min:
        return None
    side = 1 if trend > 0 else -1
    return side, closes[-1] * math.exp(-side * 2 * math.sqrt(variance * parameters.horizon))


def leave(held: Sequence[float], side: int, stop: float) -> float:
    """The close at which the trade ends: the first beyond the stop, else the last."""
    for close in held:
        if side * (close - stop) < 0:
            return close
    return held[-1]

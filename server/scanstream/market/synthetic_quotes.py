"""Quotes at three venues, cross rates and funding for the generated market. Nothing here is real either.

Every venue quotes about the last close, with a spread, a fee and an age; a few quotes are out of line by more than it
costs to use them, so that arbitrage exists to be found, and a few are old.
"""

import numpy as np
from numpy.typing import NDArray

from scanstream.model import Milliseconds
from scanstream.panel import Array
from scanstream.quotes import Funding, Quotes, currencies

VENUES = {"alpha": 0.0010, "beta": 0.0008, "gamma": 0.0006}
"""Made-up exchanges, and what they take of a trade."""
CROSSES = {"BTC": 16, "ETH": 8}
"""Quote currency → how many of the first symbols are quoted in it, too."""
UNEVEN = 0.03
"""Share of the quotes that are out of line."""
STALE = 0.01
"""Share of the quotes that are old."""
INTERVAL: Milliseconds = 8 * 3_600_000


def quotes(random: np.random.Generator, symbols: tuple[str, ...], close: Array, at: Milliseconds) -> Quotes:
    """All symbols and some cross rates, at all venues, about these last closes."""
    prices = dict(zip(symbols, close.tolist(), strict=True))
    prices |= _cross_rates(symbols, prices)
    middle = np.array(list(prices.values()))
    size = (len(VENUES), len(prices))
    off = np.where(random.random(size) < UNEVEN, random.choice([-1, 1], size) * random.uniform(0.003, 0.008, size), 0.0)
    middle = middle * np.exp(random.normal(0, 0.0002, size) + off)
    half = random.uniform(0.0001, 0.0004, size)
    dollars = np.array([_dollars(symbol, prices) for symbol in prices])
    bid_size, ask_size = np.exp(random.normal(np.log(2000), 1.2, (2, *size))) / dollars
    return Quotes(
        symbols=tuple(prices),
        venues=tuple(VENUES),
        at=at,
        times=at - _ages(random, size),
        bid=middle * (1 - half),
        ask=middle * (1 + half),
        bid_size=bid_size,
        ask_size=ask_size,
        fee=np.repeat(np.array(list(VENUES.values()))[:, np.newaxis], len(prices), axis=1),
    )


def _cross_rates(symbols: tuple[str, ...], prices: dict[str, float]) -> dict[str, float]:
    """What a coin costs in another: the ratio of their prices."""
    rates: dict[str, float] = {}
    for quote, count in CROSSES.items():
        for symbol in symbols[:count]:
            base, dollar = currencies(symbol)
            if base not in CROSSES or (base, quote) == ("ETH", "BTC"):
                priced = prices.get(f"{quote}/{dollar}")
                rates |= {f"{base}/{quote}": prices[symbol] / priced} if priced else {}
    return rates


def _dollars(symbol: str, prices: dict[str, float]) -> float:
    """What one of the base currency is worth."""
    base, _ = currencies(symbol)
    return prices[f"{base}/USDT"]


def _ages(random: np.random.Generator, size: tuple[int, int]) -> NDArray[np.int64]:
    """Most of the quotes are of the last seconds."""
    fresh = random.exponential(1500, size)
    return np.where(random.random(size) < STALE, random.uniform(90_000, 600_000, size), fresh).astype(np.int64)


def funding(
    random: np.random.Generator, symbols: tuple[str, ...], *, since: Milliseconds, until: Milliseconds
) -> Funding:
    """A payment each eight hours: three contracts in four, each about a mean of its own, near which it stays."""
    contracts = tuple(symbol for number, symbol in enumerate(symbols) if number % 4 != 3)
    first = -(-since // INTERVAL) * INTERVAL
    times = np.arange(first, until + 1, INTERVAL, dtype=np.int64)
    mean = random.normal(0.00004, 0.00009, len(contracts))
    rates = np.empty((len(times), len(contracts)))
    rate = mean
    for payment in range(len(times)):
        rate = mean + 0.8 * (rate - mean) + random.normal(0, 0.00004, len(contracts))
        rates[payment] = rate
    return Funding(symbols=contracts, interval=INTERVAL, times=times, rates=rates)

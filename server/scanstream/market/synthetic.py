"""A generated market: no network, no files, the same for the same seed.

Nothing here is real, and everything made from it says so: `"market": "synthetic"`, `"exchange": "synthetic"`.

Hourly log returns are a one-factor model (Sharpe 1963) with GARCH(1, 1) volatility (Bollerslev 1986) and Student-t
shocks, plus a slow drift that changes its sign now and then, so that trends exist to be found. Some symbols follow
another one, their spread an Ornstein–Uhlenbeck process; half of these have come apart at the end.
"""

import numpy as np

from scanstream.market.synthetic_quotes import funding, quotes
from scanstream.model import Milliseconds
from scanstream.panel import Array, Panel

SYMBOLS = 64
BARS = 2200
TIMEFRAME: Milliseconds = 3_600_000
LAST_BAR: Milliseconds = 1_795_442_400_000
"""2026-11-23T14:00:00Z: fixed, so that the same seed is the same data."""

PAIRED = 0.25
"""Share of the symbols that are in a tied pair."""

_COINS = """
    BTC ETH SOL XRP BNB DOGE ADA TRX AVAX LINK DOT LTC BCH XLM ATOM NEAR
    UNI ETC XMR APT FIL ICP ALGO VET HBAR ARB OP INJ AAVE MKR GRT RUNE
    EGLD SAND MANA AXS THETA XTZ EOS FLOW KAVA ZEC DASH COMP SNX CRV LDO RPL
    ENJ CHZ BAT ZIL IOTA NEO WAVES QTUM KSM CELO ONE ROSE SKL STORJ ANKR BAND
"""


class SyntheticMarket:
    """The generated market of one seed."""

    name = "synthetic"
    live = False

    def __init__(self, *, symbols: int = SYMBOLS, bars: int = BARS, seed: int = 7) -> None:
        coins = [*_COINS.split(), *(f"COIN{number}" for number in range(SYMBOLS + 1, symbols + 1))]
        self._symbols = tuple(f"{coin}/USDT" for coin in coins[:symbols])
        self._bars = bars
        self._seed = seed

    def load(self) -> Panel:
        """See `Market.load`."""
        random, of_quotes, of_funding = np.random.default_rng(self._seed).spawn(3)
        start = np.exp(random.uniform(np.log(0.05), np.log(500), len(self._symbols)))
        prices = np.cumsum(_returns(random, self._bars, len(self._symbols)), axis=0)
        close = start * np.exp(_tied(random, prices))
        opening = np.vstack([start, close[:-1]])
        wick = np.abs(random.normal(0, 0.002, (2, *close.shape)))
        high = np.maximum(opening, close) * (1 + wick[0])
        low = np.minimum(opening, close) * (1 - wick[1])
        size = np.exp(random.normal(16, 1.5, len(self._symbols)))
        moves = np.abs(np.log(close / opening))
        volume = size / close * np.exp(random.normal(0, 0.4, close.shape)) * (1 + 20 * moves)
        times = LAST_BAR - TIMEFRAME * np.arange(self._bars - 1, -1, -1, dtype=np.int64)
        now = LAST_BAR + TIMEFRAME
        return Panel(
            *(self.name, "synthetic", TIMEFRAME, self._symbols, times, opening, high, low, close, volume),
            quotes=quotes(of_quotes, self._symbols, close[-1], now),
            funding=funding(of_funding, self._symbols, since=int(times[0]), until=now),
        )


def _returns(random: np.random.Generator, bars: int, symbols: int) -> Array:
    factor = _garch(random, bars, 1, 0.004)
    own = _garch(random, bars, symbols, 0.006)
    beta = random.uniform(0.3, 1.4, symbols)
    flips = random.random((bars, symbols)) < 1 / 400
    drift = np.where(np.cumsum(flips, axis=0) % 2, -1, 1) * random.uniform(0, 0.0007, symbols)
    return np.asarray(factor * beta + own + drift)


def _garch(random: np.random.Generator, bars: int, series: int, level: float) -> Array:
    """GARCH(1, 1) with unit-variance Student-t(5) shocks: variance ω + 0.08·r² + 0.9·variance, long-run `level`²."""
    shocks = random.standard_t(5, (bars, series)) * np.sqrt(3 / 5)
    variance = np.full(series, level**2)
    returns = np.empty((bars, series))
    for bar in range(bars):
        returns[bar] = np.sqrt(variance) * shocks[bar]
        variance = 0.02 * level**2 + 0.08 * returns[bar] ** 2 + 0.9 * variance
    return returns


def _tied(random: np.random.Generator, prices: Array) -> Array:
    """Log prices in which some symbols follow another: β times its price, and a spread that returns to zero."""
    bars, symbols = prices.shape
    pairs = int(symbols * PAIRED) // 2
    leaders, followers = random.permutation(symbols)[: 2 * pairs].reshape(2, pairs)
    keep, level = 0.8, 0.012
    steps = random.normal(0, level * np.sqrt(1 - keep**2), (bars, pairs))
    steps[-2:, ::2] += 1.5 * level * random.choice([-1, 1], size=len(leaders[::2]))
    spread = np.zeros((bars, pairs))
    for bar in range(1, bars):
        spread[bar] = keep * spread[bar - 1] + steps[bar]
    tied = prices.copy()
    tied[:, followers] = random.uniform(0.6, 1.4, pairs) * prices[:, leaders] + spread
    return tied

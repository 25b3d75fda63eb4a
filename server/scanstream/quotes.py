"""What a market may give beside candles: quotes of its venues, and the funding that perpetual contracts paid."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from scanstream.model import Milliseconds

Prices: TypeAlias = NDArray[np.float64]

Kind = TypeVar("Kind", bound="Sheet")


@dataclass(frozen=True, eq=False)
class Sheet:
    """Arrays, the last axis of most is symbols, and words about them: what a panel saves beside its candles."""

    ARRAYS: ClassVar[tuple[str, ...]] = ()
    COMMON: ClassVar[tuple[str, ...]] = ()
    """Those that are of all symbols together."""

    symbols: tuple[str, ...]

    def words(self) -> dict[str, Any]:
        """All that is no array, as plain values."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in self.ARRAYS}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by their names."""
        return {name: getattr(self, name) for name in self.ARRAYS}

    def only(self: Kind, wanted: Callable[[str], bool]) -> Kind:
        """The same of some symbols."""
        columns = [column for column, symbol in enumerate(self.symbols) if wanted(symbol)]
        cut = {name: array[..., columns] for name, array in self.arrays().items() if name not in self.COMMON}
        return replace(self, symbols=tuple(self.symbols[column] for column in columns), **cut)


@dataclass(frozen=True, eq=False)
class Quotes(Sheet):
    """Best bids and asks at one moment: venues × symbols, NaN where a venue does not quote a symbol.

    The symbols may be more than those with candles: cross rates are among them.
    """

    ARRAYS = ("times", "bid", "ask", "bid_size", "ask_size", "fee")

    venues: tuple[str, ...]
    at: Milliseconds
    """When they were read."""
    times: NDArray[np.int64]
    """When the venue says that each was made, milliseconds; at most `at`."""
    bid: Prices
    """Somebody buys at this price, in the quote currency."""
    ask: Prices
    """Somebody sells at this price."""
    bid_size: Prices
    """As much is bought at it, in the base currency; NaN where the venue does not say."""
    ask_size: Prices
    fee: Prices
    """What a trade costs that takes such a quote, as a fraction of it."""
    reference: str = ""
    """The currency that most symbols are quoted in, of equals the alphabetically first: sizes are compared in it."""
    worth: tuple[dict[str, float], ...] = ()
    """At each venue: currency → its mid price in the reference, where the two are quoted against each other."""

    def __post_init__(self) -> None:
        """Find out about the reference while all symbols are there: a selection of some keeps it."""
        if not self.reference and self.symbols:
            counts = Counter(currencies(symbol)[1] for symbol in self.symbols)
            object.__setattr__(self, "reference", min(counts, key=lambda name: (-counts[name], name)))
            worth = tuple(self._worth(venue) for venue in range(len(self.venues)))
            object.__setattr__(self, "worth", worth)

    def _worth(self, venue: int) -> dict[str, float]:
        worth = {self.reference: 1.0}
        for symbol, bid, ask in zip(self.symbols, self.bid[venue].tolist(), self.ask[venue].tolist(), strict=True):
            base, quote = currencies(symbol)
            if self.reference not in (base, quote) or not 0 < bid <= ask < math.inf:
                continue
            if quote == self.reference:
                worth.setdefault(base, (bid + ask) / 2)
            else:
                worth.setdefault(quote, 2 / (bid + ask))
        return worth


@dataclass(frozen=True, eq=False)
class Funding(Sheet):
    """What the long side of each perpetual contract paid the short side: payments × symbols, oldest first.

    Symbols are those of the spot market, `BTC/USDT`. A payment that a contract lacks is NaN.
    """

    ARRAYS = ("times", "rates")
    COMMON = ("times",)

    interval: Milliseconds
    """Time from one payment to the next, the same for all."""
    times: NDArray[np.int64]
    """When each payment was made, milliseconds."""
    rates: Prices
    """Fraction of the position; below 0 the short side paid."""


def currencies(symbol: str) -> tuple[str, str]:
    """(base, quote) of `ETH/BTC` and of the contract `ETH/BTC:BTC`; the quote is empty where the symbol names none."""
    base, _, quote = symbol.partition("/")
    return base, quote.partition(":")[0]

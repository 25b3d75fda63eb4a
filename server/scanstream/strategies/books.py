"""What strategies of quotes share: the quotes that can be used, how old they are, and what one found in them is worth.

A quote is worth less the older it is: who made it may have withdrawn it. That the trust falls in a straight line to
zero, at the age where a quote is not used any more, is a convention of this project.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from scanstream.model import Milliseconds
from scanstream.quotes import Prices, Quotes
from scanstream.strategies import strategy
from scanstream.strategies.strategy import Note

ROUNDING = 1e-12
"""What doubles round away: an edge this close to the least one is exactly that."""
LASTS: Milliseconds = 60_000
"""The shortest time that there is a name for: all legs are traded at once."""


class Parameters(strategy.Parameters, frozen=True, kw_only=True):
    """What a request may set; `size` counts in the currency that most symbols are quoted in."""

    size: Annotated[float, Meta(ge=0.001, description="How much one wants to trade")] = 1000.0
    max_age_seconds: Annotated[float, Meta(ge=1, le=3600, description="Older quotes are not used")] = 60.0

    def confidence(self, capacity: float, age: Milliseconds) -> float:
        """min(1, capacity / wanted size) × freshness; 0 where the capacity is not known.

        :param capacity: what can be traded at the quoted prices, in the currency of `size`
        :param age: of the oldest quote used
        """
        filled = min(1.0, capacity / self.size) if capacity > 0 else 0.0
        return filled * (1 - age / (1000 * self.max_age_seconds))


@dataclass(frozen=True, eq=False)
class Books:
    """The quotes of a market, venues × symbols; a quote that cannot be used has NaN for its bid and its ask."""

    venues: tuple[str, ...]
    symbols: tuple[str, ...]
    bid: Prices
    ask: Prices
    bid_size: Prices
    """In the base currency; NaN where it is not known."""
    ask_size: Prices
    fee: Prices
    times: NDArray[np.int64]
    ages: NDArray[np.int64]
    """Milliseconds, as of when the quotes were read."""
    worth: tuple[dict[str, float], ...]
    """At each venue: currency → what one is worth, in the currency that `size` counts in."""
    broken: int
    """How many quotes are none."""
    stale: int
    """How many of the others are too old."""

    def notes(self, parameters: Parameters) -> Iterator[Note]:
        """What was not used, and why."""
        left_out = [f"{self.broken} broken (no price, no fee, or a bid above its ask)"] if self.broken else []
        left_out += [f"{self.stale} older than {parameters.max_age_seconds:g} s"] if self.stale else []
        if left_out:
            yield Note(f"quotes that were not used: {', '.join(left_out)}")


def usable(quotes: Quotes, parameters: Parameters) -> Books:
    """The quotes less those that are broken or too old."""
    quoted = ~(np.isnan(quotes.bid) & np.isnan(quotes.ask))
    sound = (quotes.bid > 0) & (quotes.ask < np.inf) & (quotes.bid <= quotes.ask) & (np.abs(quotes.fee) < 1)
    ages = np.maximum(quotes.at - quotes.times, 0)
    fresh = ages <= 1000 * parameters.max_age_seconds
    return Books(
        venues=quotes.venues,
        symbols=quotes.symbols,
        bid=np.where(sound & fresh, quotes.bid, np.nan),
        ask=np.where(sound & fresh, quotes.ask, np.nan),
        bid_size=_known(quotes.bid_size),
        ask_size=_known(quotes.ask_size),
        fee=quotes.fee,
        times=quotes.times,
        ages=ages,
        worth=quotes.worth,
        broken=int((quoted & ~sound).sum()),
        stale=int((sound & ~fresh).sum()),
    )


def _known(sizes: Prices) -> Prices:
    return np.where((sizes >= 0) & (sizes < np.inf), sizes, np.nan)


def leg(books: Books, venue: int, column: int, *, sells: bool) -> dict[str, str | float]:
    """One trade, for the metadata: against the bid if it sells, else against the ask. Without `size` if none is known.

    `size` is what the quote offers, in the base currency of the symbol.
    """
    price, size = (books.bid, books.bid_size) if sells else (books.ask, books.ask_size)
    plain: dict[str, str | float] = {
        "venue": books.venues[venue],
        "symbol": books.symbols[column],
        "side": "sell" if sells else "buy",
        "price": float(price[venue, column]),
        "fee": float(books.fee[venue, column]),
    }
    offered = float(size[venue, column])
    return plain if np.isnan(offered) else {**plain, "size": offered}

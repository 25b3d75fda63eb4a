"""Arbitrage between exchanges: what is sold on one for less than is paid for it on another, fees and the move included.

Source: Makarov, Schoar 2020, Trading and arbitrage in cryptocurrency markets, Journal of Financial Economics
135:293-319: without arbitrage, prices of the same thing differ between venues by no more than what it costs to trade
and to move it. The default cost of a move is an assumption: half a unit of money on the default size of 1000.
"""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from scanstream.model import Milliseconds
from scanstream.panel import Panel
from scanstream.quotes import Prices, currencies
from scanstream.strategies import books, strategy
from scanstream.strategies.books import Books
from scanstream.strategies.strategy import Note, NothingToScan, Signal


class Parameters(books.Parameters, frozen=True, kw_only=True):
    """What a request may set."""

    min_edge: Annotated[float, Meta(ge=0, le=1, description="The least profit that is left, as a fraction")] = 0.001
    transfer: Annotated[float, Meta(ge=0, le=1, description="What it costs to move what was bought, a fraction")] = (
        0.0005
    )


class CrossExchange(strategy.Strategy):
    """Buy at one venue, sell at another."""

    id = "cross_exchange"
    name = "Cross-exchange arbitrage"
    opportunity_type = "arbitrage"
    description = "Finds what one venue sells for less than another one pays, net of fees and the cost of moving it."
    source = "Makarov, Schoar 2020, Journal of Financial Economics 135:293"
    needs = ("quotes",)
    chunk = 1
    parameters = Parameters

    def units(self, panel: Panel, parameters: Parameters) -> int:
        """One: the whole universe."""
        quotes = panel.quotes
        if quotes is None or len(quotes.venues) < 2:
            raise NothingToScan(f"needs quotes of 2 venues; the market has {len(quotes.venues) if quotes else 0}")
        if not ((~np.isnan(quotes.bid)).sum(axis=0) > 1).any():
            raise NothingToScan("needs a symbol that 2 venues quote; there is none")
        return 1

    def scan(self, panel: Panel, units: range, parameters: Parameters) -> Iterator[Signal | Note]:
        """Every ordered pair of venues that leaves enough, symbol by symbol."""
        assert panel.quotes is not None  # or `units` had nothing to scan
        usable = books.usable(panel.quotes, parameters)
        yield from usable.notes(parameters)
        now = measure(usable, parameters)
        for column, buy, sell in np.argwhere(now.found.transpose(2, 0, 1)).tolist():
            worth = usable.worth[buy].get(currencies(usable.symbols[column])[1], np.nan)
            value = capacity(usable, buy, sell, column) * worth
            yield _signal(usable, now, buy, sell, column, parameters.confidence(value, _age(usable, buy, sell, column)))


class Measure(NamedTuple):
    """The rule for each pair of venues: where to buy × where to sell × symbols."""

    edge: Prices
    """What is left of one unit of money; NaN where a quote is missing, and for a venue with itself."""
    gross: Prices
    """The same before fees and the move."""
    found: NDArray[np.bool_]


def measure(usable: Books, parameters: Parameters) -> Measure:
    """Bid of the one over ask of the other, fees included."""
    itself = np.where(np.eye(len(usable.venues), dtype=bool), np.nan, 1.0)[:, :, np.newaxis]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        paid = (usable.ask * (1 + usable.fee))[:, np.newaxis]
        gross = itself * usable.bid / usable.ask[:, np.newaxis] - 1
        edge = itself * (usable.bid * (1 - usable.fee)) / paid - 1 - parameters.transfer
        found = (edge >= parameters.min_edge - books.ROUNDING) & np.isfinite(edge + gross)
    return Measure(edge, gross, found)


def capacity(usable: Books, buy: int, sell: int, column: int) -> float:
    """How much of the quote currency both quotes take; NaN where one does not say."""
    offered = np.minimum(usable.ask_size[buy, column], usable.bid_size[sell, column])
    return float(offered * usable.ask[buy, column])


def _age(usable: Books, buy: int, sell: int, column: int) -> Milliseconds:
    return int(usable.ages[[buy, sell], column].max())


def _signal(usable: Books, now: Measure, buy: int, sell: int, column: int, confidence: float) -> Signal:
    edge = float(now.edge[buy, sell, column])
    return Signal(
        symbols=(usable.symbols[column],),
        side="neutral",
        at=int(usable.times[[buy, sell], column].max()),
        key=f"{usable.venues[buy]}>{usable.venues[sell]}",
        expected_return=edge,
        confidence=confidence,
        lasts=books.LASTS,
        metadata={
            "legs": [books.leg(usable, buy, column, sells=False), books.leg(usable, sell, column, sells=True)],
            "edge": edge,
            "gross": float(now.gross[buy, sell, column]),
            "age_ms": _age(usable, buy, sell, column),
        },
    )

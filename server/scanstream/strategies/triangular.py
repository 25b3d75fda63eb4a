"""Triangular arbitrage: three trades at one venue that lead back to the first currency, and to more of it.

Source: Cormen, Leiserson, Rivest, Stein 2009, Introduction to algorithms, third edition, problem 24-3: with −log(rate)
as the length of a trade, arbitrage is a cycle of negative length; Aiba, Hatano, Takayasu, Marumo, Shimizu 2002,
Triangular arbitrage as an interaction among foreign exchange rates, Physica A 310:467-479, for cycles of three. All
are looked at here, one first currency after the other, and rates are multiplied, which needs no logarithms.
"""

from collections.abc import Iterator
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from scanstream.panel import Panel
from scanstream.quotes import Prices, currencies
from scanstream.strategies import books, strategy
from scanstream.strategies.books import Books
from scanstream.strategies.strategy import Note, NothingToScan, Signal

Cycle: TypeAlias = tuple[int, int, int]
"""Three currencies, each traded into the next, the last into the first."""


class Parameters(books.Parameters, frozen=True, kw_only=True):
    """What a request may set."""

    min_edge: Annotated[float, Meta(ge=0, le=1, description="The profit that must be exceeded, as a fraction")] = 0.0005


class Triangular(strategy.Strategy):
    """Trade in a circle."""

    id = "triangular"
    name = "Triangular arbitrage"
    opportunity_type = "arbitrage"
    description = "Finds three trades at one venue that lead back to more of the first currency, net of fees."
    source = "Cormen et al. 2009, Introduction to algorithms, problem 24-3; Aiba et al. 2002, Physica A 310:467"
    needs = ("quotes",)
    chunk = 1
    parameters = Parameters

    def units(self, panel: Panel, parameters: Parameters) -> int:
        """One: the whole universe."""
        count = len(panel.quotes.symbols) if panel.quotes else 0
        if count < 3:
            raise NothingToScan(f"needs quotes of 3 symbols, cross rates among them; there are {count}")
        return 1

    def scan(self, panel: Panel, units: range, parameters: Parameters) -> Iterator[Signal | Note]:
        """Every cycle that leaves enough, venue by venue."""
        assert panel.quotes is not None  # or `units` had nothing to scan
        usable = books.usable(panel.quotes, parameters)
        yield from usable.notes(parameters)
        for venue in range(len(usable.venues)):
            offered = trades(usable, venue)
            for cycle in cycles(offered.net, 1 + parameters.min_edge + books.ROUNDING):
                yield _signal(usable, venue, offered, cycle, parameters)


class Trades(NamedTuple):
    """What one venue trades, from each currency (row) into each other (column)."""

    names: list[str]
    """The currencies, in alphabetical order."""
    gross: Prices
    """What one unit becomes; 0 where there is no such trade."""
    net: Prices
    """The same less the fee."""
    symbol: NDArray[np.intp]
    """The column of the symbol that is traded."""
    sells: NDArray[np.bool_]
    """Whether it is sold, at its bid, rather than bought, at its ask."""


def trades(usable: Books, venue: int) -> Trades:
    """The rates of a venue; where two symbols are of the same two currencies, the better ones."""
    column = np.array([column for column in np.flatnonzero(usable.bid[venue] > 0) if _is_pair(usable.symbols[column])])
    column = column.astype(np.intp)
    pairs = np.array([currencies(usable.symbols[number]) for number in column], dtype=str).reshape(-1, 2)
    names, place = np.unique(pairs, return_inverse=True)
    base, quote = place.reshape(-1, 2).T
    with np.errstate(over="ignore"):
        rate = np.concatenate([usable.bid[venue, column], 1 / usable.ask[venue, column]])
        net = rate * (1 - np.tile(usable.fee[venue, column], 2))
    best_last = np.argsort(net)
    used = np.full((len(names), len(names)), -1)
    used[np.concatenate([base, quote])[best_last], np.concatenate([quote, base])[best_last]] = best_last
    gross, net = (np.where(used < 0, 0, values[used]) for values in (rate, net))
    return Trades(names.tolist(), gross, net, np.tile(column, 2)[used], used < len(column))


def _is_pair(symbol: str) -> bool:
    base, quote = currencies(symbol)
    return bool(base and quote) and base != quote


def cycles(net: Prices, least: float) -> Iterator[Cycle]:
    """Every way around three currencies that multiplies money by more than this, from its first currency on.

    One first currency at a time, so that memory grows with the square of their number, not the cube.
    """
    for first in range(len(net)):
        after = np.arange(first + 1, len(net))
        there, back = after[net[first, after] > 0], after[net[after, first] > 0]
        with np.errstate(over="ignore", invalid="ignore"):
            product = net[first, there, np.newaxis] * net[np.ix_(there, back)] * net[back, first]
        for second, third in np.argwhere((product > least) & (product < np.inf)).tolist():
            yield first, int(there[second]), int(back[third])


def capacity(usable: Books, venue: int, offered: Trades, cycle: Cycle) -> float:
    """How much of the first currency the quotes take around the cycle; NaN where one does not say."""
    least, become = np.inf, 1.0
    for here, there in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
        column = offered.symbol[here, there]
        bought = usable.ask_size[venue, column] * usable.ask[venue, column]
        taken = usable.bid_size[venue, column] if offered.sells[here, there] else bought
        least = np.minimum(least, taken / become)
        become *= offered.net[here, there]
    return float(least)


def _signal(usable: Books, venue: int, offered: Trades, cycle: Cycle, parameters: Parameters) -> Signal:
    here, there = list(cycle), [*cycle[1:], cycle[0]]
    columns = offered.symbol[here, there]
    names = [offered.names[place] for place in cycle]
    age = int(usable.ages[venue, columns].max())
    edge = float(offered.net[here, there].prod()) - 1
    value = capacity(usable, venue, offered, cycle) * usable.worth[venue].get(names[0], np.nan)
    sides = zip(columns.tolist(), offered.sells[here, there].tolist(), strict=True)
    return Signal(
        symbols=tuple(usable.symbols[column] for column in columns),
        side="neutral",
        at=int(usable.times[venue, columns].max()),
        key=f"{usable.venues[venue]},{'>'.join(names)}",
        expected_return=edge,
        confidence=parameters.confidence(value, age),
        lasts=books.LASTS,
        metadata={
            "legs": [books.leg(usable, venue, column, sells=sells) for column, sells in sides],
            "edge": edge,
            "gross": float(offered.gross[here, there].prod()) - 1,
            "age_ms": age,
            "cycle": names,
        },
    )

"""The best bids and asks of several exchanges, as one sheet."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scanstream.errors import MarketError
from scanstream.market.venue import Tickers, Venue, number
from scanstream.model import Milliseconds
from scanstream.quotes import Quotes, currencies


def read_quotes(venues: Sequence[Venue], symbols: Sequence[str]) -> Quotes:
    """Quotes of these symbols, and of whatever else is listed between their currencies: the cross rates.

    :raises MarketError: of all exchanges that failed; the quotes of some only would pass for those of all
    """
    read: dict[str, tuple[Tickers, dict[str, float], Milliseconds]] = {}
    failures: list[str] = []
    for venue in venues:
        try:
            tickers = venue.tickers(_wanted(venue, symbols))
            fees = {symbol: venue.taker_fee(symbol) for symbol in tickers}
            read[venue.id] = tickers, fees, venue.now()
        except MarketError as error:
            failures.append(error.detail)
    if failures:
        raise MarketError("; ".join(failures))
    crosses = set().union(*(tickers for tickers, _, _ in read.values())) - set(symbols)
    columns = (*symbols, *sorted(crosses))
    rows = [[_row(tickers, fees, symbol, at) for symbol in columns] for tickers, fees, at in read.values()]
    table = np.array([[numbers for numbers, _ in row] for row in rows]).transpose(2, 0, 1)
    return Quotes(
        symbols=columns,
        venues=tuple(read),
        at=max(at for _, _, at in read.values()),
        times=np.array([[at for _, at in row] for row in rows], dtype=np.int64),
        **dict(zip(("bid", "ask", "bid_size", "ask_size", "fee"), table, strict=True)),
    )


def _wanted(venue: Venue, symbols: Sequence[str]) -> list[str]:
    there = {currency for symbol in symbols for currency in currencies(symbol)}
    wanted = [symbol for symbol in venue.spot() if there.issuperset(currencies(symbol))]
    if not wanted:
        raise MarketError(f"{venue.id} lists none of the symbols")
    return wanted


def _row(tickers: Tickers, fees: dict[str, float], symbol: str, at: Milliseconds) -> tuple[list[float], Milliseconds]:
    """(bid, ask, their sizes and the fee, when the quote was made), of one symbol."""
    ticker: dict[str, Any] = tickers.get(symbol, {})
    numbers = [number(ticker.get(name)) for name in ("bid", "ask", "bidVolume", "askVolume")]
    made = min(int(ticker.get("timestamp") or at), at) if ticker else 0
    return [*numbers, fees.get(symbol, np.nan)], made

"""What is read once and then only added to: the candles of an exchange, and the payments of its contracts."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from scanstream.errors import MarketError
from scanstream.market.alignment import Bars, align
from scanstream.market.venue import Delisted, Venue
from scanstream.model import Milliseconds
from scanstream.panel import FIELDS, Array, timeframe_length
from scanstream.quotes import Funding

SETTLING: Milliseconds = 60_000
"""An exchange may correct a bar for this long after its end."""
WINDOW: Milliseconds = 8 * 3_600_000
"""The usual time between two payments. Contracts that pay more often are summed up over it."""
WINDOWS = 90
"""How many of them are kept: 30 days."""
_MINUTE: Milliseconds = 60_000

logger = logging.getLogger("scanstream")


class Candles:
    """The last finished bars of some symbols."""

    def __init__(self, venue: Venue, symbols: Sequence[str], timeframe: str, bars: int) -> None:
        self.symbols = tuple(symbols)
        self.length = timeframe_length(timeframe)
        self._venue = venue
        self._timeframe = timeframe
        self._bars = bars
        self._held: dict[str, Bars] = {}
        self._read_at: Milliseconds = 0

    @property
    def held(self) -> bool:
        """Whether they were read once."""
        return bool(self._held)

    def read(self) -> None:
        """Ask for what is new, and for each symbol's last bar again. If it fails all stays as it was.

        Nothing is asked where no bar can have ended or been corrected since the last time.

        :raises MarketError: naming exchange, call and error
        """
        now = self._venue.now()
        last = self._last_finished(now)
        if self._held and self._last_finished(self._read_at - SETTLING) == last:
            return
        first = last - (self._bars - 1) * self.length
        read = each(self.symbols, lambda symbol: self._read(symbol, first, last), first=not self._held)
        read |= {symbol: self._kept(symbol, first) for symbol in self.symbols if symbol not in read}
        some: set[Milliseconds] = set()
        for bars in read.values():
            some.update(islice(bars, 2))
        if len(some) < 2:
            raise MarketError(f"{self._venue.id} fetch_ohlcv: fewer than two finished bars of all symbols together")
        self._held, self._read_at = read, now

    def _last_finished(self, now: Milliseconds) -> Milliseconds:
        """When the last bar opened that has ended."""
        return now // self.length * self.length - self.length

    def _read(self, symbol: str, first: Milliseconds, last: Milliseconds) -> Bars:
        held = self._kept(symbol, first)
        new = self._venue.bars(symbol, self._timeframe, max(held, default=first), last)
        if held and not new:  # not even the bar that it gave before: this is no exchange without news
            raise MarketError(f"{self._venue.id} fetch_ohlcv {symbol}: an empty answer")
        return {**held, **new}

    def _kept(self, symbol: str, first: Milliseconds) -> Bars:
        return {at: values for at, values in self._held.get(symbol, {}).items() if at >= first}

    def table(self) -> tuple[NDArray[np.int64], Array]:
        """Times, and fields × times × symbols."""
        return align([self._held[symbol] for symbol in self.symbols], len(FIELDS))


class Payments:
    """The last payments of some contracts, each under the spot symbol that it is of."""

    def __init__(self, venue: Venue, contracts: Mapping[str, str]) -> None:
        self._venue = venue
        self._contracts = dict(contracts)
        self._held: dict[str, Bars] = {symbol: {} for symbol in contracts}

    def read(self) -> Funding:
        """Ask each contract that has one due for its payments since the last.

        :raises MarketError: naming exchange, call and error
        """
        now = self._venue.now()
        first = now // WINDOW * WINDOW - WINDOWS * WINDOW + _MINUTE
        unread = not any(self._held.values())
        self._held |= each(self._contracts, lambda symbol: self._read(symbol, first, now), first=unread)
        windows = [_windows(held, now) for held in self._held.values()]
        ends = set().union(*windows)
        if not ends:
            raise MarketError(f"{self._venue.id} fetch_funding_rate_history: no payment of any contract")
        times = np.arange(min(ends), max(ends) + 1, WINDOW, dtype=np.int64)
        rates = [[paid.get(end, (np.nan,))[0] for paid in windows] for end in times.tolist()]
        return Funding(symbols=tuple(self._contracts), interval=WINDOW, times=times, rates=np.array(rates))

    def _read(self, symbol: str, first: Milliseconds, now: Milliseconds) -> Bars:
        held = {at: rate for at, rate in self._held[symbol].items() if at >= first}
        if _due(held) <= now:
            held |= self._venue.payments(self._contracts[symbol], max(held, default=first) + 1, now)
        return held


def each(symbols: Iterable[str], read: Callable[[str], Bars], *, first: bool) -> dict[str, Bars]:
    """What is read of each symbol, less those that the exchange has taken off its list since the first reading.

    :raises MarketError: if one cannot be read, or all are off the list
    """
    found: dict[str, Bars] = {}
    gone: list[Delisted] = []
    for symbol in symbols:
        try:
            found[symbol] = read(symbol)
        except Delisted as error:
            if first:
                raise
            logger.warning("%s", error.detail)
            gone.append(error)
    if gone and not found:
        raise gone[0]
    return found


def _due(payments: Bars) -> Milliseconds:
    """When the next payment may be there: as long after the last as that came after the one before it."""
    before, last = ([0, 0, *sorted(payments)])[-2:]
    return last + min(last - before, WINDOW) if before else 0


def _windows(payments: Bars, now: Milliseconds) -> Bars:
    """Payments summed up over windows of eight hours, each under its end.

    A window with fewer payments than those beside it is not whole, and left out.
    """
    paid: defaultdict[Milliseconds, float] = defaultdict(float)
    counts: Counter[Milliseconds] = Counter()
    for at, (rate,) in payments.items():
        minute = round(at / _MINUTE) * _MINUTE  # exchanges stamp payments some milliseconds late
        end = -(-minute // WINDOW) * WINDOW
        paid[end] += rate
        counts[end] += 1
    ends = sorted(end for end in paid if end <= now)

    def whole(place: int) -> bool:
        beside = [counts[end] for end in (*ends[max(0, place - 1) : place], *ends[place + 1 : place + 2])]
        return not beside or counts[ends[place]] >= min(beside)

    return {end: (paid[end],) for place, end in enumerate(ends) if whole(place)}

"""One exchange through ccxt (the extra `live`): what it lists, and its candles, quotes and payments.

Every failure is a `MarketError` that names the exchange, the call and the error. Rate limits are kept by ccxt; what may
pass by itself (no connection, no answer in time, too many requests, HTTP 5xx) is asked again after a pause.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from threading import Event
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

from anyio import NoEventLoopError, from_thread

from scanstream.errors import MarketError
from scanstream.market.alignment import Bars
from scanstream.model import Milliseconds
from scanstream.panel import timeframe_length

Exchange: TypeAlias = Any
"""An object of ccxt, which has no types."""
Tickers: TypeAlias = dict[str, dict[str, Any]]
"""Symbol → what ccxt calls a ticker."""

Answer = TypeVar("Answer")

TIMEOUT: Milliseconds = 5_000
"""How long an exchange may be silent in one request; a server that stops waits for that."""
PAUSES = (0.5, 1.5, 4.0)
"""Seconds before the second, third and fourth try of a request: 6 s in all, whatever the exchange asks for."""
PAGE = 100
"""Entries asked for at a time where ccxt does not know how many the exchange gives; all give as many."""
LONGEST_REASON = 300
"""Characters of an error that are told: some exchanges answer with a whole web page."""
_HOUR: Milliseconds = 3_600_000
_SLICE = 0.1
"""Seconds."""
_QUOTE_CALLS = {"fetchTickers": "fetch_tickers", "fetchBidsAsks": "fetch_bids_asks"}


def connect(venue: str) -> Exchange:
    """The ccxt object of an exchange; nothing is sent yet.

    :raises MarketError: if ccxt is not installed, or knows no such exchange
    """
    ccxt = _ccxt()
    if venue not in ccxt.exchanges:
        near = get_close_matches(venue.lower(), ccxt.exchanges, n=5) or ccxt.exchanges
        raise MarketError(f"ccxt knows no exchange {venue!r}; it knows {', '.join(near)}")
    options = {"defaultType": "spot"}
    proxies = {"requests_trust_env": True}  # HTTPS_PROXY and NO_PROXY count here as everywhere
    return getattr(ccxt, venue)({"timeout": TIMEOUT, "enableRateLimit": True, "options": options, **proxies})


def _ccxt() -> ModuleType:
    try:
        return import_module("ccxt")
    except ImportError as error:
        raise MarketError("live prices need ccxt; install it with: pip install 'scanstream[live]'") from error


class Delisted(MarketError):
    """The exchange knows no such symbol (any more)."""


class Venue:
    """What one exchange gives, asked with patience."""

    def __init__(self, exchange: Exchange, pauses: Sequence[float] = PAUSES) -> None:
        self._exchange = exchange
        self._pauses = pauses
        self._ccxt = _ccxt()
        self.id: str = exchange.id
        # ccxt reads an answer that is no JSON as one without content, which would look like an exchange without data.
        # The hook must not refer to the exchange: in a cycle its sockets would not be closed when it is dropped.
        exchange.session.hooks["response"].append(_demand_json)

    def ask(self, read: Callable[[Any], Answer], call: str, *arguments: Any) -> Answer:
        """What `read` makes of the answer to a call of ccxt's.

        :raises Delisted: if the exchange knows no such symbol
        :raises MarketError: naming exchange, call and error, after the last try
        """
        for pause in (*self._pauses, None):
            _stop_if_unwanted()
            try:
                return read(getattr(self._exchange, call)(*arguments))
            except self._ccxt.NetworkError as error:
                if pause is None:
                    raise MarketError(self._told(error, call, arguments)) from error
                _wait(pause)
            except self._ccxt.BadSymbol as error:
                raise Delisted(self._told(error, call, arguments)) from error
            except Exception as error:  # where an answer has another shape than it expects ccxt trips over it
                raise MarketError(self._told(error, call, arguments)) from error
        raise AssertionError("the last try returns or raises")

    def _told(self, error: Exception, call: str, arguments: tuple[Any, ...]) -> str:
        subject = f" {arguments[0]}" if arguments and isinstance(arguments[0], str) else ""
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return f"{self.id} {call}{subject}: {reason[:LONGEST_REASON]}"

    def has(self, feature: str) -> bool:
        """Whether ccxt can do this with the exchange: `fetchOHLCV`."""
        return bool(self._exchange.has.get(feature))

    @property
    def has_quotes(self) -> bool:
        """Whether the exchange tells bids and asks."""
        return any(self.has(feature) for feature in (*_QUOTE_CALLS, "fetchTicker"))

    @property
    def timeframes(self) -> list[str]:
        """The lengths of bar that the exchange gives, by ccxt's names."""
        return list(self._exchange.timeframes or {})

    def now(self) -> Milliseconds:
        """ccxt's clock."""
        return int(self._exchange.milliseconds())

    def markets(self) -> dict[str, dict[str, Any]]:
        """What the exchange lists, by symbol; asked once.

        :raises MarketError: as `ask`
        """
        markets = self.ask(dict[str, dict[str, Any]], "load_markets")
        if not markets:
            raise MarketError(f"{self.id} load_markets: the exchange lists nothing")
        return markets

    def spot(self) -> list[str]:
        """The symbols that one can buy and sell at once.

        :raises MarketError: as `ask`
        """
        return [name for name, market in self.markets().items() if market["spot"] and market["active"] is not False]

    def perpetual(self, symbol: str) -> str | None:
        """The contract on a symbol that is paid in its quote currency and never ends: `BTC/USDT:USDT`.

        :raises MarketError: as `ask`
        """
        contract = f"{symbol}:{symbol.partition('/')[2]}"
        market = self.markets().get(contract)
        listed = market is not None and market["swap"] and market["linear"] and market["active"] is not False
        return contract if listed else None

    def taker_fee(self, symbol: str) -> float:
        """What somebody pays who takes a quote, as a fraction; NaN if it is not known.

        :raises MarketError: as `ask`
        """
        return number(self.markets()[symbol].get("taker"))

    def turnover(self) -> dict[str, float]:
        """Symbol → what was traded of it in a day, in its quote currency; without those of which it is not told.

        :raises MarketError: as `ask`
        """
        return self.ask(_turnover, "fetch_tickers")

    def tickers(self, symbols: Sequence[str]) -> Tickers:
        """Bids and asks, of those of the symbols that have either.

        :raises MarketError: as `ask`, or if no symbol has any
        """
        for feature, call in _QUOTE_CALLS.items():
            if self.has(feature) and (found := _quoted(self.ask(Tickers, call, list(symbols)), symbols)):
                return found
        if self.has("fetchTicker"):
            single = {symbol: self.ask(dict[str, Any], "fetch_ticker", symbol) for symbol in symbols}
            if found := _quoted(single, symbols):
                return found
        raise MarketError(f"{self.id}: no call gave a bid or an ask of any symbol")

    def bars(self, symbol: str, timeframe: str, since: Milliseconds, until: Milliseconds) -> Bars:
        """Candles that open from `since` to `until`, both included.

        :raises MarketError: as `ask`
        """
        length = timeframe_length(timeframe)
        page = self._exchange.feature_value(symbol, "fetchOHLCV", "limit", PAGE) or PAGE

        def read(start: Milliseconds) -> Bars:
            missing = (until - start) // length + 2  # and the bar that is not finished: some send it instead of another
            return self.ask(_candles, "fetch_ohlcv", symbol, timeframe, start, min(page, missing))

        return _pages(read, since, until, step=length, blank=page * length)

    def payments(self, contract: str, since: Milliseconds, until: Milliseconds) -> Bars:
        """Time → the rate that the long side of a contract paid, from `since` to `until`.

        :raises MarketError: as `ask`
        """

        def read(start: Milliseconds) -> Bars:
            return self.ask(_rates, "fetch_funding_rate_history", contract, start, PAGE)

        return _pages(read, since, until, step=1, blank=PAGE * _HOUR)


def _wait(seconds: float) -> None:
    """A pause that ends early where nobody waits for the reading any more."""
    slices = max(1, round(seconds / _SLICE))
    for _ in range(slices):
        _stop_if_unwanted()
        Event().wait(seconds / slices)


def _stop_if_unwanted() -> None:
    """End a reading that nobody waits for any more, as the server stops: a thread cannot be cancelled otherwise."""
    with suppress(NoEventLoopError):  # there is none to ask where the reading was not started by the server
        from_thread.check_cancelled()


def _pages(
    read: Callable[[Milliseconds], Bars],
    since: Milliseconds,
    until: Milliseconds,
    *,
    step: Milliseconds,
    blank: Milliseconds,
) -> Bars:
    """A history page after page: on from the last entry by `step`; by `blank`, what a page spans, if one is empty.

    An empty page is not the end: some exchanges give a stretch of time, and nothing may have been traded in it.
    """
    found: Bars = {}
    while since <= until:
        page = {at: values for at, values in read(since).items() if since <= at <= until}
        found |= page
        since = max(page) + step if page else since + blank
    return found


def _candles(rows: Iterable[Sequence[Any]]) -> Bars:
    return {int(at): tuple(number(value) for value in values) for at, *values in rows}


def _rates(entries: Iterable[dict[str, Any]]) -> Bars:
    return {int(entry["timestamp"]): (number(entry["fundingRate"]),) for entry in entries}


def _quoted(tickers: Tickers, symbols: Sequence[str]) -> Tickers:
    asked = {symbol: tickers[symbol] for symbol in symbols if symbol in tickers}
    return {symbol: ticker for symbol, ticker in asked.items() if {ticker.get("bid"), ticker.get("ask")} != {None}}


def _turnover(tickers: Tickers) -> dict[str, float]:
    volumes = {
        name: number(ticker.get("quoteVolume") or number(ticker.get("baseVolume")) * number(ticker.get("last")))
        for name, ticker in tickers.items()
    }
    return {name: volume for name, volume in volumes.items() if volume > 0}


def number(value: float | None) -> float:
    """What ccxt gives, NaN for what the exchange does not tell."""
    return float("nan") if value is None else float(value)


def _demand_json(response: Any, *_: Any, **__: Any) -> None:
    if response.ok:
        try:
            response.json()
        except ValueError as error:
            raise _ccxt().BadResponse(f"{response.url} answered what is no JSON: {response.text[:80]!r}") from error

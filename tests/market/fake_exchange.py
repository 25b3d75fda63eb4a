"""Servers on the loopback that answer like the REST interfaces of real exchanges, for the real ccxt to talk to.

What one holds is in its attributes, so a test can compare a panel with it. Trouble is ordered by `trouble`.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

from scanstream.market.venue import Exchange, connect
from scanstream.panel import timeframe_length

HOUR = 3_600_000
NOW = 1_795_444_200_000
"""2026-11-23T14:30:00Z, half way through a bar."""

Bar = tuple[float, float, float, float, float]
Query = dict[str, str]


class Quote(NamedTuple):
    """Bid, ask and their sizes; None is not told."""

    bid: float | None
    ask: float | None
    bid_size: float | None = None
    ask_size: float | None = None


class Request(NamedTuple):
    """One that came."""

    path: str
    query: Query


class Trouble(NamedTuple):
    """What a request gets in place of its answer."""

    path: str
    """Part of the paths that it is for."""
    status: int = 200
    body: str = "{}"
    delay: float = 0.0
    """Seconds before the answer."""


class FakeExchange:
    """One exchange: its data, its clock, and the requests that it got."""

    id: ClassVar[str]

    def __init__(self) -> None:
        self.bars: dict[str, dict[int, Bar]] = {}
        """Symbol → opening time → open, high, low, close, volume; a bar that is not finished may be among them."""
        self.quotes: dict[str, Quote] = {}
        self.payments: dict[str, dict[int, float]] = {}
        """Spot symbol of a perpetual → time → rate."""
        self.page = 1000
        """The most entries in one answer."""
        self.requests: list[Request] = []
        self.open_connections = 0
        self._troubles: list[Trouble] = []
        self._ahead = NOW - round(time.time() * 1000)
        self._closing = threading.Event()
        exchange = self

        class Door(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                exchange.open_connections += 1

            def finish(self) -> None:
                super().finish()
                exchange.open_connections -= 1

            def do_GET(self) -> None:
                status, body = exchange.respond(self.path)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Requests are kept in `requests`."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A client that went away, as in the tests of its timeout."""

        self._server = Server(("127.0.0.1", 0), Door)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """From now on connections are refused."""
        if not self._closing.is_set():
            self._closing.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def now(self) -> int:
        """The time at the exchange."""
        return round(time.time() * 1000) + self._ahead

    def wait(self, *, hours: float = 0, seconds: float = 0) -> None:
        """Let time pass."""
        self._ahead += round(hours * HOUR + seconds * 1000)

    def connect(self) -> Exchange:
        """ccxt's own object of this exchange, but that its requests come here, it reads this clock and hurries."""
        exchange = connect(self.id)
        exchange.urls["api"] = {
            name: re.sub(r"https://[^/]+", self.url, address) for name, address in exchange.urls["api"].items()
        }
        exchange.session.trust_env = False  # what proxy this machine has is no matter of the tests
        exchange.milliseconds = self.now
        exchange.rateLimit = 1
        return exchange

    def fill(self, symbol: str, bars: int, *, last: int = NOW // HOUR * HOUR, step: int = HOUR) -> None:
        """Bars of a symbol up to `last`, as told apart as can be, and a quote."""
        seed = sum(symbol.encode())
        for back in range(bars):
            price = 100 + seed + back / 4
            at = last - back * step
            self.bars.setdefault(symbol, {})[at] = (price, price + 2.5, price - 1.25, price + 0.5, 10 + back / 8)
        self.quotes[symbol] = Quote(seed - 0.5, seed + 0.5, seed / 8, seed / 16)

    def trouble(self, path: str, *, times: int = 1, **what: Any) -> None:
        """Give the next so many requests with this in their path something else in place of their answer."""
        self._troubles += [Trouble(path, **what)] * times

    def heal(self) -> None:
        """No more trouble."""
        self._troubles.clear()

    def seen(self, path: str) -> list[Query]:
        """The queries of the requests with this in their path."""
        return [request.query for request in self.requests if path in request.path]

    def respond(self, target: str) -> tuple[int, bytes]:
        """Status and body of an answer."""
        parts = urlsplit(target)
        request = Request(parts.path, dict(parse_qsl(parts.query)))
        self.requests.append(request)
        for trouble in self._troubles:
            if trouble.path in request.path:
                self._troubles.remove(trouble)
                self._closing.wait(trouble.delay)
                return trouble.status, trouble.body.encode()
        return 200, json.dumps(self.answer(request.path, request.query)).encode()

    def answer(self, path: str, query: Query) -> Any:
        """What the exchange says to a request."""
        raise NotImplementedError

    def between(self, symbol: str, since: int, until: int) -> Iterator[tuple[int, Bar]]:
        """Bars by their time."""
        return ((at, bar) for at, bar in sorted(self.bars.get(symbol, {}).items()) if since <= at <= until)

    def named(self, name: str) -> str:
        """The symbol of which this is the exchange's name."""
        return next(symbol for symbol in self.quotes if self.name_of(symbol) == name)

    def name_of(self, symbol: str) -> str:
        """What the exchange calls a symbol."""
        return symbol.replace("/", "")


def told(value: float | None) -> str:
    """A number as exchanges write it: 0 for none."""
    return "0.00000000" if value is None else repr(value)


class FakeBinance(FakeExchange):
    """https://developers.binance.com/docs: spot, and linear perpetuals with funding. Pages go on from `startTime`."""

    id = "binance"

    def answer(self, path: str, query: Query) -> Any:
        """See `FakeExchange.answer`."""
        limit = min(self.page, int(query.get("limit", 500)))
        match path:
            case "/api/v3/exchangeInfo":
                return {"symbols": [self._market(symbol) for symbol in self.quotes]}
            case "/fapi/v1/exchangeInfo":
                more = {"contractType": "PERPETUAL", "deliveryDate": 4133404800000, "marginAsset": "USDT"}
                return {"symbols": [self._market(symbol) | more for symbol in self.payments]}
            case "/dapi/v1/exchangeInfo":
                return {"symbols": []}
            case "/api/v3/ticker/24hr":
                wanted = json.loads(query.get("symbols", "null")) or [self.name_of(symbol) for symbol in self.quotes]
                return [self._ticker(self.named(name)) for name in wanted]
            case "/api/v3/klines":
                since = int(query["startTime"])
                bars = list(self.between(self.named(query["symbol"]), since, self.now()))[:limit]
                length = timeframe_length(query["interval"])
                return [[at, *map(repr, bar), at + length - 1, "1", 7, "1", "1", "0"] for at, bar in bars]
            case "/fapi/v1/fundingRate":
                paid = sorted(self.payments[self.named(query["symbol"])].items())
                since = int(query["startTime"])
                return [
                    {"symbol": query["symbol"], "fundingTime": at, "fundingRate": f"{rate:.8f}", "markPrice": "1"}
                    for at, rate in paid
                    if since <= at <= self.now()
                ][:limit]
        raise LookupError(path)

    def _market(self, symbol: str) -> dict[str, Any]:
        base, quote = symbol.split("/")
        names = {"symbol": self.name_of(symbol), "baseAsset": base, "quoteAsset": quote, "status": "TRADING"}
        return {**names, "baseAssetPrecision": 8, "quotePrecision": 8, "permissions": [], "filters": []}

    def _ticker(self, symbol: str) -> dict[str, Any]:
        quote = self.quotes[symbol]
        volume = sum(bar[4] * bar[3] for bar in self.bars.get(symbol, {}).values())
        return {
            "symbol": self.name_of(symbol),
            "lastPrice": "100",
            "weightedAvgPrice": "100",
            "bidPrice": told(quote.bid),
            "bidQty": told(quote.bid_size),
            "askPrice": told(quote.ask),
            "askQty": told(quote.ask_size),
            "volume": f"{volume / 100:.8f}",
            "quoteVolume": f"{volume:.8f}",
            "closeTime": self.now() - 1500,
        }


class FakeKraken(FakeExchange):
    """https://docs.kraken.com/api: spot only. Candles are the last 720 after `since`, whatever else one wants."""

    id = "kraken"

    def __init__(self) -> None:
        super().__init__()
        self.page = 720

    def name_of(self, symbol: str) -> str:
        """Kraken's old names: XXBT is BTC, ZUSD is USD."""
        return "".join(_kraken(currency) for currency in symbol.split("/"))

    def answer(self, path: str, query: Query) -> Any:
        """See `FakeExchange.answer`."""
        match path:
            case "/0/public/Assets":
                names = {currency for symbol in self.quotes for currency in symbol.split("/")}
                result: Any = {_kraken(name): {"altname": name.replace("BTC", "XBT"), "decimals": 8} for name in names}
            case "/0/public/AssetPairs":
                result = {self.name_of(symbol): self._pair(symbol) for symbol in self.quotes}
            case "/0/public/Ticker":
                wanted = [self.named(name) for name in query["pair"].split(",")] if "pair" in query else self.quotes
                result = {self.name_of(symbol): self._ticker(self.quotes[symbol]) for symbol in wanted}
            case "/0/public/OHLC":
                after = int(query["since"]) * 1000 + 1
                bars = list(self.between(self.named(query["pair"]), after, self.now()))[-self.page :]
                rows = [[at // 1000, *map(repr, bar[:4]), repr(bar[3]), repr(bar[4]), 3] for at, bar in bars]
                result = {query["pair"]: rows, "last": 0}
            case _:
                raise LookupError(path)
        return {"error": [], "result": result}

    def _pair(self, symbol: str) -> dict[str, Any]:
        base, quote = symbol.split("/")
        names = {"altname": symbol.replace("/", ""), "wsname": symbol, "base": _kraken(base), "quote": _kraken(quote)}
        return {**names, "pair_decimals": 5, "lot_decimals": 8, "fees": [[0, 0.4], [10000, 0.35]], "status": "online"}

    def _ticker(self, quote: Quote) -> dict[str, Any]:
        bid = [told(quote.bid), "1", told(quote.bid_size)]
        ask = [told(quote.ask), "1", told(quote.ask_size)]
        day = {"v": ["1", "2"], "p": ["100", "100"], "l": ["1", "1"], "h": ["9", "9"], "o": "5"}
        return {"b": bid, "a": ask, "c": ["100", "1"], **day}


def _kraken(currency: str) -> str:
    return {"BTC": "XXBT", "ETH": "XETH", "USD": "ZUSD"}.get(currency, currency)


class FakeCoinbase(FakeExchange):
    """https://docs.cdp.coinbase.com/exchange: candles of a stretch of time, and no quotes but one symbol at a time."""

    id = "coinbaseexchange"

    def __init__(self) -> None:
        super().__init__()
        self.page = 300

    def name_of(self, symbol: str) -> str:
        """See `FakeExchange.name_of`."""
        return symbol.replace("/", "-")

    def answer(self, path: str, query: Query) -> Any:
        """See `FakeExchange.answer`."""
        match path.strip("/").split("/"):
            case ["currencies"]:
                return [{"id": name} for name in {part for symbol in self.quotes for part in symbol.split("/")}]
            case ["products"]:
                return [{"id": self.name_of(symbol), "status": "online"} for symbol in self.quotes]
            case ["products", "spark-lines"]:
                return {self.name_of(symbol): [[NOW // 1000, 1, 2, 1.5, 1.75]] for symbol in self.quotes}
            case ["products", name, "ticker"]:
                quote = self.quotes[self.named(name)]
                # its clock is ahead of ours
                return {"time": "2026-11-23T15:00:00.000Z", "bid": told(quote.bid), "ask": told(quote.ask)}
            case ["products", name, "candles"]:
                start, end = (_milliseconds(query[key]) for key in ("start", "end"))
                bars = list(self.between(self.named(name), start, min(end, self.now())))
                return [[at // 1000, bar[2], bar[1], bar[0], bar[3], bar[4]] for at, bar in reversed(bars)][: self.page]
        raise LookupError(path)


def _milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)

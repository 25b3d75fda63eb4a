"""Which symbol a file is of: from its name, the directories that it lies in, or a cell that names it."""

import re
from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import unquote


def listed(words: str) -> list[str]:
    """Names that are written in one line."""
    return words.split()


SYMBOL_KEYS = ("symbol", "ticker", "pair", "instrument", "instid", "product_id", "asset", "coin")
"""What a partitioned directory may call it: `symbol=BTC`."""

_VENUES = frozenset(
    listed(
        "binance binanceus binancefutures kraken coinbase coinbasepro gdax bitstamp bitfinex gemini bybit okx okex gate"
        " gateio kucoin huobi htx mexc bitget bittrex poloniex cexio exmo hitbtc ftx deribit bitmex upbit bithumb dat"
        " ascii mt cryptodatadownload yahoo yfinance stooq nasdaq nyse amex"
    )
)
"""What exchanges and collectors write before the symbol: `Binance_BTCUSDT_d.csv`."""
_MONEY = frozenset(listed("usd usdt usdc busd fdusd tusd dai eur gbp jpy aud cad chf try brl krw btc eth bnb"))
_LENGTH = re.compile(
    r"\d+(s|sec|m|min|mins|minute|minutes|h|hr|hour|hours|d|day|days|w|wk|week|mo|month)|[mh]\d+|d1|w1|mn1?", re.I
)
_LENGTH_WORDS = frozenset(listed("d h daily hourly intraday min minute hour day week weekly month monthly"))
_MINUTES = frozenset(listed("1 2 3 5 10 15 30 60 120 240 360 480 720 1440 10080"))
"""Kraken and others write the length of a bar as a number of minutes: `XBTUSD_60.csv`."""
_DATE = re.compile(r"(19|20)\d\d|(19|20)\d{4}|(19|20)\d{6}|(19|20)\d{10}|(19|20)\d{12}|\d\d\.\d\d\.(19|20)\d\d")
_PART_OF_DATE = re.compile(r"\d{1,2}")
_WORDS = frozenset(
    listed(
        "ohlcv ohlcvt ohlc candles candlesticks klines kline spot futures history historical data prices"
        " candlestick bid ask"
    )
)
_PART = re.compile(r"(part|data|chunk|ohlcv|candles|klines?|prices|\d+)([-_.].*)?|[0-9a-f-]{32,}(-\d+)?", re.I)
_PAIR = re.compile(r"([A-Za-z0-9]{1,20})[-_/](?=[0-9]*[A-Za-z])([A-Za-z0-9]{3,10})")
_CHART = re.compile(r",\s+(\d+[A-Za-z]?|[SDWM])([_ ][0-9a-f]{4,8})?(\s\(\d+\))?$")
"""What TradingView writes behind the symbol: `BINANCE_BTCUSDT, 60`, `NASDAQ_AAPL, 1D_a1b2c`."""
_METATRADER = re.compile(r"([A-Z]{6,12})(1|5|15|30|60|240|1440|10080|43200)")
"""A symbol and its minutes, as MetaTrader 4 writes them: `EURUSD60`."""


def symbol_of(file: PurePath, below: PurePath) -> str:
    """The symbol of a file in the market `below`: from a directory `symbol=…` above it, else from its own name.

    A name that says nothing (`part-0.parquet`, `2024-01.csv`) is looked for in the directory above.
    """
    inside = file.relative_to(below).parts[:-1] if file.is_relative_to(below) else ()
    for directory in reversed(inside):
        key, equals, value = directory.partition("=")
        if equals and key.lower() in SYMBOL_KEYS:
            return pair(unquote(value))
    stem = _stem(file.name)
    above = [part for part in inside if "=" not in part]
    if above and (_PART.fullmatch(stem) or not _trimmed(_tokens(stem), whole=True)):
        return from_stem(_stem(above[-1]))
    return from_stem(stem)


def _stem(name: str) -> str:
    """The name less the endings that say what kind of file it is."""
    while (shorter := re.sub(r"\.(gz|zip|csv|tsv|txt|parquet|pq|feather|arrow|ipc)$", "", name, flags=re.I)) != name:
        name = shorter
    return name


def from_stem(stem: str) -> str:
    """The symbol in a file's name: `ETH_BTC` and `ETH-BTC` are ETH/BTC, `Binance_BTCUSDT_1h` is BTCUSDT.

    Letters that stand together stay together: where a currency ends in `BTCUSDT` is a guess.
    """
    tokens = _trimmed(_tokens(_CHART.sub("", stem)), whole=False)
    if len(tokens) == 1:
        alone = _METATRADER.fullmatch(tokens[0][0])
        return alone[1] if alone else tokens[0][0]
    words = [word for word, _ in tokens]
    if len(words) == 3 and words[1].lower() == words[2].lower() in _MONEY:
        return f"{words[0]}/{words[1]}:{words[2]}"  # a perpetual contract, as freqtrade names it: BTC_USDT_USDT
    return pair("".join(map("".join, tokens[:-1])) + words[-1])


def _tokens(stem: str) -> list[tuple[str, str]]:
    """(word, the separator behind it)."""
    pieces = re.split(r"([-_ ]+)", stem.strip())
    words = zip(pieces[::2], [*pieces[1::2], ""], strict=True)
    return [(word, separator[:1]) for word, separator in words if word]


def _trimmed(tokens: Sequence[tuple[str, str]], *, whole: bool) -> list[tuple[str, str]]:
    """The words without venue, length of bars and dates.

    :param whole: whether none may be left; else the first stays
    """
    words = list(tokens)
    least = 0 if whole else 1
    while len(words) > least and _is_suffix([word for word, _ in words]):
        words.pop()
    while len(words) > 1 and words[0][0].lower() in _VENUES and not (len(words) == 2 and words[1][0].lower() in _MONEY):
        words.pop(0)
    while len(words) > 1 and len(words[0][0]) > 1 and words[0][0].lower() in _LENGTH_WORDS:
        words.pop(0)  # `daily_IBM`, as Alpha Vantage names it
    return words


def _is_suffix(words: Sequence[str]) -> bool:
    """Whether the last word says when or how long, not what."""
    last = words[-1].lower()
    if _LENGTH.fullmatch(last) or _DATE.fullmatch(last) or last in _WORDS:
        return True
    if last in _LENGTH_WORDS:
        return len(last) > 1 or words[0].lower() in _VENUES
    if _PART_OF_DATE.fullmatch(last) and any(_DATE.fullmatch(word) for word in words[-3:-1]):
        return True
    return last in _MINUTES and len(words) > 1


def pair(name: str) -> str:
    """A name as its owner wrote it, with `/` between two currencies: `BTC-USDT` is BTC/USDT, `BRK-B` stays."""
    match = _PAIR.fullmatch(name.strip())
    return f"{match[1]}/{match[2]}" if match else name.strip()

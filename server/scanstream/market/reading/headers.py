"""What the columns of a table are, from their names: those of pandas, yfinance, exchanges, collectors, platforms."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from scanstream.market.reading.names import listed
from scanstream.panel import FIELDS

ABSENT = -1
"""In place of a column that a table does not have."""
WANTED = ",".join(("timestamp", *FIELDS))

_TIME = listed(
    "timeperiodstart periodstart opentime timeopen opentimestamp opendatetime openat starttime startat windowstart"
    " candlebegintime begintime begin unix unixtimestamp unixtime epoch timestampms timestamp timestamputc ts datetime"
    " datetimeutc dateutc gmttime time date localtime dtyyyymmdd day t datum data"
)
"""The most telling first: `open_time` before `unix`, this before `date`."""
_INDEX = ("", "index", "indexlevel0", "unnamed:0")
"""An index without a name, as pandas writes it."""
_LEVEL = ("indexlevel0",)
_NAMES = {
    "open": listed("open o openprice priceopen openingprice otwarcie eröffnung eröffn eroeffnung"),
    "high": listed("high h max highprice pricehigh highest najwyzszy hoch"),
    "low": listed("low l min lowprice pricelow lowest najnizszy tief"),
    "close": listed(
        "close c last closelast closeprice priceclose closingprice price zamkniecie schluss schlusskurs zuletzt"
    ),
    "volume": listed(
        "volume vol v basevolume volumebase basevol volumefrom tickvolume tickvol volumetraded basevolumetraded"
        " baseassetvolume amount wolumen volumen"
    ),
}
_SYMBOL = listed(
    "symbol ticker pair instrument instid instrumentid productid currencypair tradingpair asset assetid coin"
)
_FINISHED = listed("confirm isclosed isfinal complete isfinished")
"""Whether a bar is over."""
UNFINISHED = ("0", "0.0", "false", "f", "no")
"""What stands there of one that still forms."""
_OTHERS = frozenset(listed("adjclose dividends stocksplits capitalgains repaired"))
_FULL = frozenset([*FIELDS, *_OTHERS])
"""Fields as they stand in headers of two levels and in names such as BTC_close."""
_TUPLE = re.compile(r"""\(\s*['"]?([^'",]*)['"]?\s*,\s*['"]?([^'",]*)['"]?\s*\)""")
_NUMBER = re.compile(r"[-+$€£]?[\d.,]+$")
_SEPARATORS = ("_", ".", ":", "-", " ", "|")


class Columns(NamedTuple):
    """Which column is what, counted from 0."""

    time: tuple[int, ...]
    """One, or two: a date and a time of day."""
    groups: tuple[tuple[str, tuple[int, ...]], ...]
    """(symbol, the columns of the fields); the symbol is empty where the table does not name it so."""
    symbol: int = ABSENT
    finished: int = ABSENT
    words: str = ""
    """The layout, for people."""

    def needed(self) -> list[int]:
        """The columns of numbers, each once."""
        return sorted({place for _, places in self.groups for place in places if place != ABSENT})


class Lacking(ValueError):
    """A header that has some of the columns that are needed, not all."""


def normal(name: str) -> str:
    """A name as it is compared: small letters, without numbering, signs, and what stands in brackets behind a price."""
    plain = re.sub(r"^\d+[a-z]?\.\s*", "", name.strip().strip("<>#\"'*\ufeff ").lower())
    if not plain.startswith(("vol", "(")):  # `Volume (BTC)` is not `Volume (USD)`
        plain = re.sub(r"\s*\(.*\)$", "", plain)
    return re.sub(r"[\s_\-./*]+", "", plain)


def columns_of(header: Sequence[str], symbol: str = "") -> Columns | None:
    """What a header says; None if it is no header of candles.

    :param symbol: what the file is called: of two volumes the one in its base currency is taken
    :raises Lacking: naming the columns that are missing, if it has others
    """
    names = [normal(name) for name in header]
    fields = {field: _first(names, _NAMES[field]) for field in FIELDS}
    if fields["volume"] == ABSENT:
        fields["volume"] = _volume(names, symbol)
    there = [field for field in FIELDS[:-1] if fields[field] != ABSENT]
    if len(there) < 4:
        wide = _wide(header, names)
        if wide is not None or len(there) < 2:
            return wide
        missing = ", ".join(field for field in FIELDS[:-1] if field not in there)
        raise Lacking(f"the header lacks {missing}; it must have {WANTED}")
    time = _time(names)
    if not time:
        raise Lacking(f"the header lacks timestamp; it must have {WANTED}, or another name for the time of opening")
    _require_one(header, names, [*fields.values(), *time])
    order = tuple(fields[field] for field in FIELDS)
    words = "" if fields["volume"] != ABSENT else "without volume"
    return Columns(time, (("", order),), _first(names, _SYMBOL), _first(names, _FINISHED), words)


def _first(names: Sequence[str], known: Sequence[str]) -> int:
    return next((names.index(name) for name in known if name in names), ABSENT)


def _volume(names: Sequence[str], symbol: str) -> int:
    """Of names like `volumebtc` and `volumeusdt` that of the base currency, else the first."""
    found = [index for index, name in enumerate(names) if name.startswith("volume")]
    base = symbol.partition("/")[0].lower()
    wanted = [index for index in found if base.startswith(names[index].removeprefix("volume").strip("()") or "-")]
    return next(iter([*wanted, *found]), ABSENT)


def _time(names: Sequence[str]) -> tuple[int, ...]:
    """The column of the time, or those of the date and the time of day."""
    best = _first(names, _TIME)
    if best != ABSENT and names[best] == "time":
        dates = [index for name in ("date", "dtyyyymmdd", "day") if (index := _first(names, [name])) != ABSENT]
        return (*dates[:1], best)
    if best == ABSENT:  # pandas writes an index without a name first in text, last in Parquet
        best = 0 if names[0] in _INDEX else _first(names, _LEVEL)
    return () if best == ABSENT else (best,)


def _require_one(header: Sequence[str], names: Sequence[str], used: Sequence[int]) -> None:
    for index in used:
        if index != ABSENT and names[index] and names.count(names[index]) > 1:
            raise Lacking(f"two columns are called {header[index].strip()}: leave one of them out")


def _wide(header: Sequence[str], names: Sequence[str]) -> Columns | None:
    """Names such as `BTC_close`, `close.BTC` or `('Close', 'BTC')`: a group of columns a symbol."""
    cells = [_cell(name) for name in header]
    if not any(cells):
        return None
    time = _time(names)
    if not time:  # the index of such a table stands first
        time = (0,) if cells[0] is None else ()
    if not time:
        return None
    return grouped(cells, time, "a group of columns a symbol")


def _cell(name: str) -> tuple[str, str] | None:
    """(field, symbol) of a column of a wide table."""
    match = _TUPLE.fullmatch(name.strip())
    if match:
        return _told(match[1], match[2])
    for separator in _SEPARATORS:
        for left, _, right in (name.rpartition(separator), name.partition(separator)):
            cell = _told(right, left) or _told(left, right)
            if cell and cell[0] in FIELDS:
                return cell
    return None


def _told(field: str, symbol: str) -> tuple[str, str] | None:
    plain = normal(field)
    return (plain, symbol.strip()) if plain in _FULL and symbol.strip() and normal(symbol) not in _FULL else None


def grouped(cells: Sequence[tuple[str, str] | None], time: tuple[int, ...], words: str) -> Columns:
    """The columns of a table whose columns are (field, symbol).

    :raises Lacking: if a symbol lacks a price
    """
    places: dict[str, dict[str, int]] = {}
    for index, cell in enumerate(cells):
        if cell is not None and index not in time:
            field, symbol = cell
            if field in places.setdefault(symbol, {}):
                raise Lacking(f"two columns are the {field} of {symbol}: leave one of them out")
            places[symbol][field] = index
    for symbol, fields in places.items():
        if missing := ", ".join(field for field in FIELDS[:-1] if field not in fields):
            raise Lacking(f"the columns of {symbol} lack {missing}; each symbol must have open, high, low and close")
    groups = tuple((symbol, tuple(fields.get(field, ABSENT) for field in FIELDS)) for symbol, fields in places.items())
    return Columns(time, groups, words=words)


def two_levels(first: Sequence[str], second: Sequence[str]) -> Columns | None:
    """A header of two lines, as yfinance and pandas write it: fields above symbols, or symbols above fields."""
    width = min(len(first), len(second))
    above, below = ([normal(cell) for cell in row[1:width]] for row in (first, second))
    if width < 5 or not all(second[1:width]) or normal(first[0]) in _TIME:
        return None
    if all(map(_NUMBER.match, second[1:width])):
        return None
    if set(above) <= _FULL and not set(below) <= _FULL:
        cells = [None, *zip(above, map(str.strip, second[1:width]), strict=True)]
    elif set(below) <= _FULL and all(above):
        cells = [None, *zip(below, map(str.strip, first[1:width]), strict=True)]
    else:
        return None
    return grouped(cells, (0,), "a header of two lines, as yfinance writes it")


def without_header(cells: Sequence[str]) -> Iterator[Columns]:
    """How the columns of exchanges' dumps without a header may stand, for a row like this; the usual order first.

    Of eight columns the fifth price may be an average (Kraken's own API): then the volume stands behind it.
    """
    if len(cells) < 5:
        return
    dated = bool(re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?|\d{5,6}", cells[1].strip())) and not cells[0].strip().isdigit()
    dated = dated or bool(re.fullmatch(r"\d{8}", cells[0].strip()) and re.fullmatch(r"\d{4,6}", cells[1].strip()))
    time = (0, 1) if dated else (0,)
    count = len(cells) - len(time)
    for words, order in _ORDERS:
        places = tuple(index + len(time) if 0 <= index < count else ABSENT for index in order)
        if ABSENT not in places[:-1]:
            finished = 8 if words == _USUAL and len(cells) == 9 else ABSENT
            yield Columns(time, (("", places),), finished=finished, words=f"no header; {words}")


_USUAL = "open, high, low, close, volume"
_ORDERS: tuple[tuple[str, tuple[int, ...]], ...] = (
    (_USUAL, (0, 1, 2, 3, 4)),
    ("low, high, open, close, volume, as Coinbase has them", (2, 1, 0, 3, 4)),
    ("open, close, high, low, volume, as Bitfinex and KuCoin have them", (0, 2, 3, 1, 4)),
    ("volume, close, high, low, open, as Gate has them", (4, 2, 3, 1, 0)),
)
"""Where open, high, low, close and volume stand behind the time. Each is published in the exchange's own pages."""

"""Opportunities and strategies as tables for people, and as CSV."""

import heapq
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from scanstream.client.results import Results

BEST = 10
"""Opportunities in the table that stands below the progress."""
LINES_AROUND = 3
"""Lines of such a table that are no opportunities: title, header, rule."""

Found = dict[str, Any]

_TIME = re.compile(r":\d{4}-\d\d-\d\dT[\d:.]+Z$")


def best_table(
    opportunities: list[Found], rows: int = BEST, *, plain: bool = False, columns: int | None = None
) -> Table:
    """The best opportunities by confidence; in a pipe, plain, the title is the caller's."""
    best = heapq.nsmallest(rows, opportunities, key=lambda found: (-found["confidence_score"], found["id"]))
    return opportunity_table(best, None if plain else best_title(opportunities), plain=plain, columns=columns)


def best_title(opportunities: list[Found]) -> str:
    """What stands above the best of these."""
    return f"Best of {len(opportunities)} opportunities"


def opportunity_table(
    opportunities: Iterable[Found], title: str | None = None, *, plain: bool = False, columns: int | None = None
) -> Table:
    """These opportunities, in this order; plain: without lines, for a pipe. `columns`: of the terminal.

    Where there is too little room the words give way, and then whole columns, never the figures.
    """
    table = _table(title, plain=plain)
    told = [name for name in FIGURES if columns is None or columns >= NEEDED.get(name, 0)]
    for name in told:
        if name in ("symbol", "strategy"):
            table.add_column(name)
        else:
            table.add_column(name, no_wrap=True, justify="left" if name == "side" else "right")
    for found in opportunities:
        table.add_row(*(FIGURES[name](found) for name in told))
    return table


def _yielding(words: str) -> Text:
    """On one line, shortened where it must be."""
    return Text(words, no_wrap=True, overflow="ellipsis")


FIGURES: dict[str, Callable[[Found], Text | str]] = {
    "symbol": lambda found: _yielding(subject(found)),
    "strategy": lambda found: _yielding(found["strategy_id"]),
    "side": lambda found: found["side"],
    "score": lambda found: f"{found['confidence_score']:.1f}",
    "hit rate": lambda found: f"{found['hit_rate']:.0%} of {found['hit_rate_n']}" if found.get("hit_rate_n") else "–",
    "return": lambda found: f"{found['expected_return']:+z.2%}",
    "within": lambda found: found["estimated_timeframe"],
}
"""Column → what it tells of an opportunity."""
NEEDED = {"hit rate": 60, "within": 48, "strategy": 42}
"""Columns of the terminal that a column takes: with fewer it is left out."""


def subject(found: Found) -> str:
    """What an opportunity is about, in short: `BTC/USDT`, `BTC+ETH/USDT`, `BTC/USDT +2`.

    With what tells it from others of the same symbols: `DOGE/ETH beta>gamma`, or `alpha BTC>ETH>USDT`, a key that names
    every currency itself.
    """
    symbols: list[str] = found["symbols"]
    key = _key(found).replace(",", " ")
    if key and len(symbols) > 1 and all(currency in key for symbol in symbols for currency in symbol.split("/")):
        return key
    return f"{_shortly(symbols)} {key}".rstrip()


def _key(found: Found) -> str:
    """Of the id, which is `strategy:symbols[@key]:time`."""
    rest = _TIME.sub("", found["id"].removeprefix(f"{found['strategy_id']}:{'+'.join(found['symbols'])}"))
    return rest[1:] if rest.startswith("@") else ""


def _shortly(symbols: list[str]) -> str:
    quotes = {symbol.partition("/")[2] for symbol in symbols}
    if len(symbols) == 2 and len(quotes) == 1:
        return f"{symbols[0].partition('/')[0]}+{symbols[1]}"
    return f"{symbols[0]} +{len(symbols) - 1}" if len(symbols) > 1 else symbols[0]


def strategy_table(catalogue: Iterable[dict[str, Any]], *, plain: bool = False) -> Table:
    """What can be run, and with which parameters."""
    table = _table(None, plain=plain)
    for name in ("strategy", "looks for"):
        table.add_column(name, no_wrap=True)
    table.add_column("what it does")
    table.add_column("parameters", no_wrap=not plain)
    for strategy in catalogue:
        properties = strategy["parameters"].get("properties", {})
        parameters = [f"{name}={_short(schema.get('default'))}" for name, schema in properties.items()]
        between = ", " if plain else "\n"
        table.add_row(
            strategy["id"], strategy["opportunity_type"], strategy["description"], between.join(parameters) or "–"
        )
    return table


def key_table(keys: Iterable[dict[str, Any]], *, plain: bool = False) -> Table:
    """API keys, as far as they may be shown."""
    table = _table(None, plain=plain)
    for name in ("name", "principal", "rights", "created", "expires"):
        table.add_column(name, no_wrap=plain)
    for key in keys:
        expires = f"{key['expires']} (over)" if key["expired"] else key["expires"]
        table.add_row(key["name"], key["principal"], ", ".join(key["rights"]), key["created"], expires)
    return table


def _table(title: str | None, *, plain: bool) -> Table:
    table = Table(title=title, title_justify="left", pad_edge=False, box=None, header_style="" if plain else "bold")
    if not plain:
        table.box, table.show_edge, table.padding = box.SIMPLE_HEAD, False, 0
    return table


def _short(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def csv_text(opportunities: Iterable[Found]) -> str:
    """Every field of every opportunity: symbols joined with +, metadata as JSON, what is absent empty."""
    return Results(opportunities).csv_text()

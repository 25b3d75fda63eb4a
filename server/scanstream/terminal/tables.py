"""Opportunities and strategies as tables for people, and as CSV."""

import heapq
import re
from collections.abc import Iterable
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


def best_table(opportunities: list[Found], rows: int = BEST, *, plain: bool = False) -> Table:
    """The best opportunities by confidence; in a pipe, plain, the title is the caller's."""
    best = heapq.nsmallest(rows, opportunities, key=lambda found: (-found["confidence_score"], found["id"]))
    return opportunity_table(best, None if plain else best_title(opportunities), plain=plain)


def best_title(opportunities: list[Found]) -> str:
    """What stands above the best of these."""
    return f"Best of {len(opportunities)} opportunities"


def opportunity_table(opportunities: Iterable[Found], title: str | None = None, *, plain: bool = False) -> Table:
    """These opportunities, in this order; plain: without lines, for a pipe.

    Where there is too little room the words give way, never the figures.
    """
    table = _table(title, plain=plain)
    for name in ("symbol", "strategy"):
        table.add_column(name)
    table.add_column("side", no_wrap=True)
    for name in ("score", "hit rate", "return", "within"):
        table.add_column(name, justify="right", no_wrap=True)
    for found in opportunities:
        table.add_row(_yielding(subject(found)), _yielding(found["strategy_id"]), found["side"], *_figures(found))
    return table


def _yielding(words: str) -> Text:
    """On one line, shortened where it must be."""
    return Text(words, no_wrap=True, overflow="ellipsis")


def _figures(found: Found) -> list[str]:
    return [
        f"{found['confidence_score']:.1f}",
        f"{found['hit_rate']:.0%} of {found['hit_rate_n']}" if found.get("hit_rate_n") else "–",
        f"{found['expected_return']:+.2%}",
        found["estimated_timeframe"],
    ]


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

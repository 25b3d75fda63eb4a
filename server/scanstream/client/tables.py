"""Opportunities and strategies as tables for people, and as CSV."""

import csv
import heapq
import io
from collections.abc import Iterable
from typing import Any

import msgspec
from rich import box
from rich.table import Table

from scanstream.model import Opportunity

BEST = 10
"""Opportunities in the table that stands below the progress."""

Found = dict[str, Any]


def best_table(opportunities: list[Found]) -> Table:
    """The best opportunities by confidence."""
    best = heapq.nsmallest(BEST, opportunities, key=lambda found: (-found["confidence_score"], found["id"]))
    return opportunity_table(best, f"Best of {len(opportunities)} opportunities")


def opportunity_table(opportunities: Iterable[Found], title: str | None = None, *, plain: bool = False) -> Table:
    """These opportunities, in this order; plain: without lines, for a pipe."""
    table = _table(title, plain=plain)
    for name in ("symbol", "strategy", "side"):
        table.add_column(name, no_wrap=True)
    for name in ("score", "hit rate", "return", "within"):
        table.add_column(name, justify="right", no_wrap=True)
    for found in opportunities:
        hit_rate = f"{found['hit_rate']:.0%} of {found['hit_rate_n']}" if found.get("hit_rate_n") else "–"
        table.add_row(
            subject(found["symbols"]),
            found["strategy_id"],
            found["side"],
            f"{found['confidence_score']:.1f}",
            hit_rate,
            f"{found['expected_return']:+.2%}",
            found["estimated_timeframe"],
        )
    return table


def subject(symbols: list[str]) -> str:
    """What an opportunity is about, in short: `BTC/USDT`, `BTC+ETH/USDT`, or `BTC/USDT +2`."""
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
    lines = None if plain else box.SIMPLE_HEAD
    return Table(title=title, title_justify="left", pad_edge=False, box=lines, header_style="" if plain else "bold")


def _short(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def csv_text(opportunities: Iterable[Found]) -> str:
    """Every field of every opportunity: symbols joined with +, metadata as JSON, what is absent empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, Opportunity.__struct_fields__, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for found in opportunities:
        flat = {"symbols": "+".join(found["symbols"]), "metadata": _short(found["metadata"])}
        writer.writerow({**found, **flat})
    return text.getvalue()

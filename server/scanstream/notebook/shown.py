"""What is shown of a scan, as plain data: the widget's trait, and what its texts are made of. Pure, and bounded."""

import json
from datetime import UTC, datetime
from heapq import nsmallest
from typing import Any

import httpx

from scanstream.client import Scan
from scanstream.model import Document

BEST = 5
"""Opportunities shown, the most confident."""
MOST_STRATEGIES = 40
"""More are counted only."""
MOST_LETTERS = 300
"""Of a note or an error."""

GENERATED = "synthetic"
"""The kind of market of which nothing is real."""


def plain(scan: Scan, *, trouble: str = "", cancelling: bool = False) -> Document:
    """A scan as it is now.

    :param trouble: what went wrong as somebody asked for something here
    :param cancelling: whether its end was asked for here
    """
    state, progress = scan.state, scan.state.get("progress", {})
    strategies = state.get("strategies", {})
    market = str(state.get("market", ""))
    return {
        "scan_id": scan.id,
        "status": scan.status,
        "phase": state.get("phase", "init"),
        "message": _short(_told(state)),
        "percentage": progress.get("percentage", 0),
        "shards": [progress.get("shards_completed", 0), progress.get("total_shards", 0)],
        "found": progress.get("opportunities_found_so_far", 0),
        "market": market,
        "generated": market.partition(":")[0] == GENERATED,
        "strategies": [_strategy(name, one) for name, one in list(strategies.items())[:MOST_STRATEGIES]],
        "more_strategies": max(0, len(strategies) - MOST_STRATEGIES),
        "seconds_left": state.get("estimated_time_remaining_seconds"),
        "best": [_found(one) for one in nsmallest(BEST, scan.opportunities, key=_confidence)],
        "connection": _connection(scan),
        "over": scan.over,
        "left": _left(scan),
        "trouble": _short(trouble),
        "cancelling": cancelling and not scan.over,
        "call": f"client.watch({json.dumps(scan.id)})",
        "link": page(scan.url, scan.id),
    }


def page(url: str, scan_id: str) -> str:
    """Where the server's own page shows a scan; without a name or a password, as notebooks are passed on."""
    return f"{str(httpx.URL(url).copy_with(userinfo=b'')).rstrip('/')}/#{scan_id}"


def now() -> str:
    """The time of day as a line that may be read much later says it."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _told(state: Document) -> str:
    return str(state["error"]["detail"] if "error" in state else state.get("message", ""))


def _strategy(name: str, state: Document) -> Document:
    return {
        "name": name,
        "status": state["status"],
        "done": state["shards_completed"],
        "total": state["total_shards"],
        "found": state["opportunities_found"],
        "note": _short(str(state["error"]["detail"] if "error" in state else state.get("note", ""))),
    }


def _confidence(found: Document) -> tuple[float, str]:
    return (-found["confidence_score"], found["id"])


def _found(found: Document) -> Document:
    names = ("symbol", "strategy_id", "side", "confidence_score", "expected_return", "profit_potential_usd")
    return {name: found[name] for name in names}


def _connection(scan: Scan) -> Document:
    how = scan.connection
    return {
        "state": how.state,
        "transport": how.transport or "",
        "reason": _short(how.reason),
        "retry_at": how.retry_at,
    }


def _left(scan: Scan) -> str:
    """Why it is followed here no more, though it has not ended."""
    if scan.error is not None:
        return _short(str(scan.error))
    return "It is followed here no more, and goes on at the server" if scan.left else ""


def _short(text: Any) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"

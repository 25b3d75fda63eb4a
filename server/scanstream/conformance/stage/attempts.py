"""Requests to the scripted server: what each is about, and over which transport it goes."""

import base64
from typing import Any, NamedTuple

from scanstream.conformance.stage.lines import Asked, Reply, as_json
from scanstream.conformance.stage.weather import ABSENT, problem

EVENTS = "text/event-stream"
ONE_STREAM = "/opportunities/events/"


class Attempt(NamedTuple):
    """One request that a client made."""

    kind: str
    at: float
    since: str | None
    token: str | None
    waits: bool = False
    """Whether it may be answered late: a poll that says how long it waits."""


def kind_of(asked: Asked) -> str:
    """Over which transport it goes, or what it is about."""
    if asked.upgrade:
        return "websocket"
    if asked.path == "/opportunities/follow" and isinstance(asked.body, dict):
        return "stream" if EVENTS in asked.headers.get("accept", "") else "longpoll"
    if asked.path.startswith(ONE_STREAM):
        return "stream"
    kinds = {"status": "poll", "discover": "discover", "results": "results"}
    return kinds.get(asked.path.removeprefix("/opportunities/").partition("/")[0], "other")


def followed(asked: Asked) -> list[dict[str, Any]]:
    """The scans that a stream or a long poll is about, each with where it begins."""
    if asked.path.startswith(ONE_STREAM):
        since = asked.headers.get("last-event-id") or asked.query.get("since")
        return [{"scan_id": asked.path.removeprefix(ONE_STREAM), "since": since}]
    return [*asked.body.get("follow", ())]


def gone(absent: str, scan_id: str) -> Reply:
    """The answer to who asks for a scan that is not there."""
    told = {**ABSENT, "status": absent or "not_found", "scan_id": scan_id}
    return as_json(410 if absent == "expired" else 404, told)


def bearer(asked: Asked) -> str | None:
    """The credential among the subprotocols of a browser's WebSocket."""
    offered = [one.strip() for one in asked.headers.get("sec-websocket-protocol", "").split(",")]
    shown = [one.removeprefix("scanstream.bearer.") for one in offered if one.startswith("scanstream.bearer.")]
    return base64.urlsafe_b64decode(shown[0] + "=" * (-len(shown[0]) % 4)).decode() if shown else None


def other(asked: Asked) -> Reply:
    """The answer to what is about no scan."""
    known: dict[str, Any] = {
        "/opportunities/strategies": {"strategies": []},
        "/opportunities/market": {"market": "told", "symbols": []},
        "/opportunities/scans": {"scans": []},
        "/healthz": {"status": "ok"},
        "/readyz": {"status": "ok"},
    }
    return as_json(200, known[asked.path]) if asked.path in known else problem(404, "no_such_route")

"""The contracts that machines read: OpenAPI 3.1 for the plain requests, AsyncAPI 3.0 for what is told as it happens.

Both are made from the Structs that decode and encode the messages, so they cannot say anything else. A route is written
down in `_scan_paths`, `_list_paths` or `_server_paths`; a message needs no more than its place in `ClientMessage` or
`ServerMessage`. Then `python docs/contracts.py` writes docs/openapi.json and docs/asyncapi.json again.
"""

import re
from functools import cache

from scanstream.explanation import Explanation
from scanstream.message import (
    MOST_FOLLOWED,
    AckBody,
    DiscoverRequest,
    FollowRequest,
    NotifyAccepted,
    NotifyRequest,
    Shared,
    SharedLinks,
    ShareRequest,
)
from scanstream.model import Opportunity, ScanState
from scanstream.push.bodies import (
    AbsentScan,
    CandlesBody,
    CatalogueEntry,
    Condition,
    Envelope,
    MarketBody,
    ProblemDetails,
    Results,
)
from scanstream.push.contract.channels import FRAMES, asyncapi
from scanstream.push.contract.operations import (
    PUBLIC,
    SCHEMES,
    TOKENS,
    Answer,
    Parameter,
    absent,
    header_components,
    in_json,
    operation,
    options,
    parameter_components,
    refusal,
    response_components,
    without_body,
)
from scanstream.push.contract.schemas import ABOUT, TEXT, Plain, components, ref
from scanstream.push.http import MOST_RESULTS, MOST_SCANS, SOME_SCANS
from scanstream.push.page import CONFINED
from scanstream.push.query import EVENTS_TYPE, JSON_TYPE, LINES_TYPE

__all__ = ["asyncapi", "openapi"]

EVENTS, LINES = "x-events", "x-lines"
"""Of a stream of events what is in the `data` of each, by the event's name; of lines what is in each."""
_STATE: Plain = {"allOf": [ref(ScanState), ref(Envelope)]}
_WAITED = ("Preference-Applied",)
_STREAMED = ("X-Accel-Buffering",)
_OBJECT: Plain = {"type": "object", "additionalProperties": True}
_DESCRIPTION = (
    "Scans of seconds to minutes, told as they go. The id that `discover` gives is true from that moment on, on every"
    " transport. What the words mean, what is promised, and the WebSocket: docs/protocol.md, and /asyncapi.json. Every"
    " refusal is a problem (RFC 9457) with a `code` (docs/errors.md), but for that of a scan which is not there."
)


@cache
def openapi() -> Plain:
    """The OpenAPI document of the plain requests."""
    kinds = (
        *(DiscoverRequest, FollowRequest, ShareRequest, Shared, SharedLinks, AckBody, ScanState, Opportunity, *FRAMES),
        *(
            ProblemDetails,
            AbsentScan,
            Envelope,
            Results,
            MarketBody,
            CandlesBody,
            CatalogueEntry,
            Condition,
            Explanation,
            NotifyRequest,
            NotifyAccepted,
        ),
    )
    paths = {**_scan_paths(), **_list_paths(), **_server_paths()}
    return {
        "openapi": "3.1.0",
        "info": {**ABOUT, "description": _DESCRIPTION},
        "paths": {path: _all_methods(path, methods) for path, methods in paths.items()},
        "components": {
            "schemas": components(kinds),
            "headers": header_components(),
            "parameters": parameter_components(),
            "responses": response_components(),
            "securitySchemes": SCHEMES,
        },
    }


def _all_methods(path: str, methods: Plain) -> Plain:
    """With those that every path takes beside its own."""
    (name, *_) = (one["operationId"] for one in methods.values())
    head = {"head": without_body(methods["get"])} if "get" in methods else {}
    return {**methods, **head, "options": options(name, *re.findall(r"{(\w+)}", path))}


def _scan_paths() -> Plain:
    """What is about one scan, or several that are named."""
    scan = "/{scan_id}"
    return {
        "/opportunities/discover": {"post": _discover()},
        f"/opportunities/status{scan}": {"get": _status()},
        f"/opportunities/results{scan}": {"get": _results()},
        f"/opportunities/events{scan}": {
            "get": operation(
                "events",
                "The scan as server-sent events, until its end",
                {
                    200: Answer("Its frames, each as an event with the cursor as its id", _events(FRAMES), _STREAMED),
                    204: Answer("The scan is terminal, and nothing of it is new"),
                    **absent(),
                },
                *("scan_id", "since", "Last-Event-ID"),
                refuses=(422, 429),
                access=TOKENS,
            )
        },
        f"/opportunities/explain{scan}": {"get": _explain()},
        "/opportunities/follow": {"post": _follow()},
        f"/opportunities/share{scan}": {"post": _share()},
        f"/opportunities/notify{scan}": {"post": _notify()},
        f"/opportunities/cancel{scan}": {
            "post": operation(
                "cancel",
                "Ask for the scan's end",
                {202: in_json("The state", ref(ScanState)), **absent()},
                "scan_id",
                access=TOKENS,
            )
        },
    }


def _discover() -> Plain:
    return operation(
        "discover",
        "Register a scan, acknowledge it, start it",
        {202: in_json("The ack", ref(AckBody), "Location", "Retry-After")},
        "Idempotency-Key",
        refuses=(415, 422, 429),
        body=DiscoverRequest,
    )


def _status() -> Plain:
    return operation(
        "status",
        "The state, at once or as soon as it is newer",
        {
            200: in_json("The state", _STATE, "ETag", "Retry-After", *_WAITED),
            304: Answer("It is as the caller has it", None, ("ETag", "Retry-After", *_WAITED)),
            **absent(),
        },
        *("scan_id", "since", "wait", "Prefer", "If-None-Match"),
        refuses=(422,),
        access=TOKENS,
    )


def _results() -> Plain:
    lines: Plain = {**TEXT, "description": "An `Opportunity` in each line", LINES: ref(Opportunity)}
    return operation(
        "results",
        "Everything found, once the scan is terminal",
        {
            200: Answer("The results", {JSON_TYPE: ref(Results), LINES_TYPE: lines}, _WAITED),
            202: in_json("The state: the scan goes on", _STATE, "Retry-After", *_WAITED),
            **absent(),
        },
        *("scan_id", "wait", "Prefer"),
        own={
            "limit": _within(1, MOST_RESULTS, MOST_RESULTS, "The most that is given"),
            "offset": _within(0, MOST_RESULTS, 0, "How many to pass over"),
        },
        refuses=(422,),
        access=TOKENS,
    )


def _explain() -> Plain:
    return operation(
        "explain",
        "The scan's life as a timeline, and what it waits for",
        {200: in_json("Its life until now", ref(Explanation)), **absent()},
        "scan_id",
    )


def _follow() -> Plain:
    frames: Plain = {
        "type": "array",
        "maxItems": MOST_FOLLOWED,
        "items": {"oneOf": [ref(kind) for kind in FRAMES]},
    }
    polled: Plain = {"type": "object", "required": ["frames"], "properties": {"frames": frames}}
    return operation(
        "follow",
        "Many scans: as events until all have ended, or a long poll",
        {200: Answer("What is new of them", {JSON_TYPE: polled, **_events(FRAMES)}, _STREAMED)},
        refuses=(415, 422, 429),
        body=FollowRequest,
        access=TOKENS,
    )


def _notify() -> Plain:
    accepted = "It will be told when the scan has ended, or is told at once where it has"
    return operation(
        "notify",
        "Have an address told of the scan's end (docs/webhooks.md)",
        {202: in_json(accepted, ref(NotifyAccepted)), **absent()},
        "scan_id",
        refuses=(415, 422),
        body=NotifyRequest,
    )


def _share() -> Plain:
    return operation(
        "share",
        "A token for this one scan, to be handed on; there is no such path where nobody is asked who they are",
        {200: in_json("The token, and addresses with it", ref(Shared)), **absent()},
        "scan_id",
        refuses=(415, 422),
        body=ShareRequest,
    )


def _events(kinds: tuple[type, ...]) -> Plain:
    told = {kind.__struct_config__.tag: ref(kind) for kind in kinds}  # type: ignore[attr-defined]  # Structs
    event: Plain = {
        "type": "object",
        "description": "One event (WHATWG HTML, section 9.2)",
        "properties": {
            "event": {"enum": [*told]},
            "data": {**TEXT, "contentMediaType": JSON_TYPE},
            "id": {**TEXT, "description": "The cursor after it, where the stream is of one scan"},
        },
    }
    return {EVENTS_TYPE: {**event, EVENTS: told}}


def _within(least: int, most: int, default: int, description: str) -> Parameter:
    schema: Plain = {"type": "integer", "minimum": least, "maximum": most, "default": default}
    return Parameter("query", description, schema)


def _list_paths() -> Plain:
    """What there is."""
    state: Plain = {"allOf": [ref(ScanState), {"required": ["cursor"], "properties": {"cursor": TEXT}}]}
    scans: Plain = {
        "type": "object",
        "required": ["success", "scans"],
        "properties": {"success": {"const": True}, "scans": {"type": "array", "maxItems": MOST_SCANS, "items": state}},
    }
    catalogue: Plain = {"type": "array", "items": ref(CatalogueEntry)}
    return {
        "/opportunities/scans": {
            "get": operation(
                "scans",
                "The caller's scans, newest first",
                {200: in_json("The scans", scans), **absent(in_path=False)},
                "before",
                own={"limit": _within(1, MOST_SCANS, SOME_SCANS, "The most that are told")},
                refuses=(422,),
            )
        },
        "/opportunities/market": {
            "get": operation("market", "What is scanned", {200: in_json("The market", ref(MarketBody))}),
        },
        "/opportunities/market/candles": {
            "get": operation(
                "candles",
                "The newest prices of one symbol",
                {
                    200: in_json("The candles", ref(CandlesBody), "ETag"),
                    304: Answer("They are as the caller has them", None, ("ETag",)),
                },
                *("symbol", "bars", "If-None-Match"),
                refuses=(422,),
            )
        },
        "/opportunities/strategies": {
            "get": operation("strategies", "What is looked for", {200: in_json("The catalogue", catalogue)}),
        },
    }


def _server_paths() -> Plain:
    """What is about the server."""
    handshake = ("Sec-WebSocket-Version",)
    upgrade = {
        101: Answer("A WebSocket", None, ("Upgrade",)),
        400: refusal(400, handshake),
        426: refusal(426, ("Upgrade", *handshake)),
        429: refusal(429),
    }
    return {
        "/": {"get": _page("page", "The web page")},
        "/docs": {"get": _page("docs", "This contract, for people")},
        "/healthz": {
            "get": operation(
                "alive", "Whether the process is alive", {200: in_json("It is", ref(Condition))}, access=PUBLIC
            ),
        },
        "/readyz": {
            "get": operation(
                "ready", "Whether the store answers", {200: in_json("It does", ref(Condition))}, access=PUBLIC
            ),
        },
        "/metrics": {
            "get": operation("metrics", "For Prometheus", {200: Answer("The metrics", {"text/plain": TEXT})}),
        },
        "/openapi.json": {"get": operation("openapi", "This document", {200: in_json("It", _OBJECT)}, access=PUBLIC)},
        "/asyncapi.json": {
            "get": operation(
                "asyncapi",
                "The contract of the WebSocket and the streams",
                {200: in_json("It", _OBJECT)},
                access=PUBLIC,
            )
        },
        "/ws": {"get": operation("socket", "The WebSocket: see /asyncapi.json", upgrade)},
    }


def _page(name: str, summary: str) -> Plain:
    """A page, and the headers that confine it."""
    confined = tuple("-".join(part.capitalize() for part in header.split("-")) for header in CONFINED)
    told = {
        200: Answer("It", {"text/html": TEXT}, ("ETag", "Content-Encoding", *confined)),
        304: Answer("It is as the caller has it", None, ("ETag", *confined)),
    }
    return operation(name, summary, told, "If-None-Match", access=PUBLIC)

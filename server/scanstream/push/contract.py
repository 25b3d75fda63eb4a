"""The contracts that machines read: OpenAPI 3.1 for the plain requests, AsyncAPI 3.0 for the WebSocket.

Both are made from the Structs that decode and encode the messages, so they cannot say anything else.
"""

from collections.abc import Iterable
from typing import Any, TypeAlias, get_args

import msgspec

from scanstream import __version__
from scanstream.message import AckBody, ClientMessage, End, Error, FollowRequest, ServerMessage, Snapshot, Update
from scanstream.model import DiscoverRequest, Opportunity, ScanState
from scanstream.push.codec import CODECS

Plain: TypeAlias = dict[str, Any]

REF = "#/components/schemas/{name}"
FRAMES = (Snapshot, Update, End, Error)
"""What is told of a scan that is followed."""
_INFO = {"title": "scanstream", "version": __version__}
_SCAN_ID = {"name": "scan_id", "in": "path", "required": True, "schema": {"type": "string"}}
_PROBLEM: Plain = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "message", "code"],
    "properties": {
        **{name: {"type": "string"} for name in ("type", "title", "detail", "message", "code")},
        "status": {"type": "integer"},
        "errors": {"type": "array", "items": {"type": "object", "required": ["field", "reason"]}},
    },
}
_ABSENT: Plain = {"type": "object", "required": ["success", "status", "scan_id", "message"]}
_RESULTS: Plain = {
    "type": "object",
    "required": ["success", "scan_id", "status", "opportunities", "total_opportunities", "cursor"],
    "properties": {"opportunities": {"type": "array", "items": {"$ref": REF.format(name="Opportunity")}}},
}
_LIST: Plain = {
    "type": "object",
    "required": ["success", "scans"],
    "properties": {"scans": {"type": "array", "items": {"$ref": REF.format(name="ScanState")}}},
}


def openapi() -> Plain:
    """The OpenAPI document of the plain requests."""
    state, ack = ({"$ref": REF.format(name=kind.__name__)} for kind in (ScanState, AckBody))
    wait, since = _query("wait", "integer"), _query("since", "string")
    absent = {404: _ABSENT, 410: _ABSENT}
    refused = dict.fromkeys((400, 403, 413, 422, 429, 503), _PROBLEM)
    scan = "/{scan_id}"
    paths = {
        "/opportunities/discover": {
            "post": _operation("Register a scan, acknowledge it, start it", {202: ack, **refused}, body=DiscoverRequest)
        },
        f"/opportunities/status{scan}": _get(
            "The state, at once or as soon as it is newer",
            {200: state, 304: None, 422: _PROBLEM, **absent},
            since,
            wait,
        ),
        f"/opportunities/results{scan}": _get(
            "Everything found, once the scan is terminal",
            {200: _RESULTS, 202: state, 422: _PROBLEM, **absent},
            wait,
            _query("limit", "integer"),
            _query("offset", "integer"),
        ),
        f"/opportunities/events{scan}": _get("Server-sent events", {200: None, 204: None, **absent}, since),
        "/opportunities/follow": {"post": _follow(refused)},
        f"/opportunities/cancel{scan}": {
            "post": _operation("Ask for the scan's end", {202: state, 403: _PROBLEM, **absent}, _SCAN_ID)
        },
        "/opportunities/scans": _get(
            "The caller's scans, newest first",
            {200: _LIST, 422: _PROBLEM},
            _query("limit", "integer"),
            _query("before"),
        ),
        **{
            path: _get(summary, {200: schema})
            for path, summary, schema in (
                ("/opportunities/market", "What is scanned", {"type": "object"}),
                ("/opportunities/strategies", "The catalogue", {"type": "array"}),
                ("/healthz", "Whether the process is alive", {"type": "object"}),
                ("/readyz", "Whether the store answers", {"type": "object"}),
                ("/metrics", "Prometheus text", None),
                ("/openapi.json", "This document", {"type": "object"}),
                ("/asyncapi.json", "The WebSocket's contract", {"type": "object"}),
            )
        },
        "/ws": _get("The WebSocket; its contract is /asyncapi.json", {101: None, 426: _PROBLEM}),
    }
    schemas = _schemas([DiscoverRequest, FollowRequest, AckBody, ScanState, Opportunity, *FRAMES])
    return {"openapi": "3.1.0", "info": _INFO, "paths": paths, "components": {"schemas": schemas}}


def _follow(refused: dict[int, Plain]) -> Plain:
    frames = {"type": "array", "items": {"oneOf": [{"$ref": REF.format(name=kind.__name__)} for kind in FRAMES]}}
    answer: Plain = {"type": "object", "required": ["frames"], "properties": {"frames": frames}}
    operation = _operation("Many scans: events, or a long poll", {200: answer, **refused}, body=FollowRequest)
    operation["responses"]["200"]["content"]["text/event-stream"] = {}
    return operation


def asyncapi() -> Plain:
    """The AsyncAPI document of the WebSocket."""
    sides = {"receive": get_args(ClientMessage), "send": get_args(ServerMessage)}
    kinds = [kind for side in sides.values() for kind in side]
    messages = {kind.__name__: {"payload": {"$ref": REF.format(name=kind.__name__)}} for kind in kinds}
    pointer = "#/channels/scans/messages/{name}"
    return {
        "asyncapi": "3.0.0",
        "info": _INFO,
        "channels": {
            "scans": {
                "address": "/ws",
                "description": "Subprotocols: " + ", ".join(codec.subprotocol for codec in CODECS),
                "messages": messages,
            }
        },
        "operations": {
            action: {
                "action": action,
                "channel": {"$ref": "#/channels/scans"},
                "messages": [{"$ref": pointer.format(name=kind.__name__)} for kind in side],
            }
            for action, side in sides.items()
        },
        "components": {"schemas": _schemas(kinds)},
    }


def _schemas(kinds: Iterable[type]) -> Plain:
    _, components = msgspec.json.schema_components(list(kinds), ref_template=REF)
    return dict(components)


def _query(name: str, kind: str = "string") -> Plain:
    return {"name": name, "in": "query", "schema": {"type": kind}}


def _get(summary: str, answers: dict[int, Plain | None], *query: Plain) -> Plain:
    of_one_scan = 404 in answers
    return {"get": _operation(summary, answers, *([_SCAN_ID] if of_one_scan else []), *query)}


def _operation(summary: str, answers: dict[int, Plain | None], *parameters: Plain, body: type | None = None) -> Plain:
    operation: Plain = {
        "summary": summary,
        "responses": {str(status): _answer(status, schema) for status, schema in answers.items()},
    }
    if parameters:
        operation["parameters"] = list(parameters)
    if body is not None:
        schema = {"$ref": REF.format(name=body.__name__)}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation


def _answer(status: int, schema: Plain | None) -> Plain:
    media = "application/problem+json" if schema is _PROBLEM else "application/json"
    content = {} if schema is None else {"content": {media: {"schema": schema}}}
    return {"description": "" if status < 400 else "Refused; docs/errors.md", **content}

"""The contracts that machines read: OpenAPI 3.1 for the plain requests, AsyncAPI 3.0 for the WebSocket.

Both are made from the Structs that decode and encode the messages, so they cannot say anything else.
"""

from functools import cache
from typing import get_args

from scanstream import __version__
from scanstream.message import (
    AckBody,
    ClientMessage,
    DiscoverRequest,
    End,
    Error,
    FollowRequest,
    ServerMessage,
    Shared,
    SharedLinks,
    ShareRequest,
    Snapshot,
    Update,
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
from scanstream.push.codec import CODECS
from scanstream.push.contract.operations import (
    PUBLIC,
    SCHEMES,
    TEXT,
    TOKENS,
    Answer,
    absent,
    header_components,
    in_json,
    operation,
    parameter_components,
    refused,
)
from scanstream.push.contract.schemas import Plain, components, ref
from scanstream.push.credentials import BEARER_PROTOCOL
from scanstream.push.problem import PROBLEM_MEDIA_TYPE
from scanstream.push.query import EVENTS_TYPE, JSON_TYPE, LINES_TYPE

FRAMES = (Snapshot, Update, End, Error)
"""What is told of a scan that is followed."""
_INFO = {"title": "scanstream", "version": __version__}
_STATE: Plain = {"allOf": [ref(ScanState), ref(Envelope)]}
STREAMED = ("X-Accel-Buffering",)
_OBJECT: Plain = {"type": "object", "additionalProperties": True}


@cache
def openapi() -> Plain:
    """The OpenAPI document of the plain requests."""
    kinds = (
        *(DiscoverRequest, FollowRequest, ShareRequest, AckBody, ScanState, Opportunity, *FRAMES),
        *(Shared, SharedLinks),
        *(ProblemDetails, AbsentScan, Envelope, Results, MarketBody, CandlesBody, CatalogueEntry, Condition),
    )
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "paths": {**_scan_paths(), **_list_paths(), **_server_paths()},
        "components": {
            "schemas": components(kinds),
            "headers": header_components(),
            "parameters": parameter_components(),
            "securitySchemes": SCHEMES,
        },
    }


def _scan_paths() -> Plain:
    """What is about one scan, or several that are named."""
    scan = "/{scan_id}"
    waited = ("Preference-Applied",)
    return {
        "/opportunities/discover": {"post": _discover()},
        f"/opportunities/status{scan}": {
            "get": operation(
                "The state, at once or as soon as it is newer",
                {
                    200: in_json("The state", _STATE, "ETag", "Retry-After", *waited),
                    304: Answer("It is as the caller has it", None, ("ETag", "Retry-After", *waited)),
                    **absent(),
                    **refused(422, 503),
                },
                *("scan_id", "since", "wait", "Prefer", "If-None-Match"),
                access=TOKENS,
            )
        },
        f"/opportunities/results{scan}": {
            "get": operation(
                "Everything found, once the scan is terminal",
                {
                    200: Answer(
                        "The results; as lines one opportunity a line",
                        {JSON_TYPE: ref(Results), LINES_TYPE: ref(Opportunity)},
                        waited,
                    ),
                    202: in_json("The state: the scan goes on", _STATE, "Retry-After", *waited),
                    **absent(),
                    **refused(422, 503),
                },
                *("scan_id", "wait", "Prefer", "limit", "offset"),
                access=TOKENS,
            )
        },
        f"/opportunities/events{scan}": {
            "get": operation(
                "The scan as server-sent events, until its end",
                {
                    200: Answer("The events `snapshot`, `update`, `end`", {EVENTS_TYPE: TEXT}, STREAMED),
                    204: Answer("The scan is terminal, and nothing of it is new"),
                    **absent(),
                    **refused(422, 503),
                },
                *("scan_id", "since", "Last-Event-ID"),
                access=TOKENS,
            )
        },
        "/opportunities/follow": {"post": _follow()},
        f"/opportunities/share{scan}": {"post": _share()},
        f"/opportunities/cancel{scan}": {
            "post": operation(
                "Ask for the scan's end",
                {202: in_json("The state", ref(ScanState)), **absent(), **refused(503)},
                "scan_id",
                access=TOKENS,
            )
        },
    }


def _discover() -> Plain:
    return operation(
        "Register a scan, acknowledge it, start it",
        {
            202: in_json("The ack", ref(AckBody), "Location", "Retry-After"),
            **refused(400, 413, 415, 422, 429, 503),
        },
        "Idempotency-Key",
        body=DiscoverRequest,
    )


def _share() -> Plain:
    absent_or_none = Answer(
        "As for any scan that is not there; `no_such_route` where nobody is asked who they are",
        {JSON_TYPE: ref(AbsentScan), PROBLEM_MEDIA_TYPE: ref(ProblemDetails)},
    )
    return operation(
        "A token for this one scan, to be handed on",
        {
            200: in_json("The token, and addresses with it", ref(Shared)),
            **absent(),
            404: absent_or_none,
            **refused(400, 413, 415, 422, 503),
        },
        "scan_id",
        body=ShareRequest,
    )


def _follow() -> Plain:
    frames: Plain = {"type": "array", "items": {"oneOf": [ref(kind) for kind in FRAMES]}}
    polled: Plain = {"type": "object", "required": ["frames"], "properties": {"frames": frames}}
    bodies = {JSON_TYPE: polled, EVENTS_TYPE: TEXT}
    return operation(
        "Many scans: as events until all have ended, or a long poll",
        {200: Answer("What is new of them", bodies, STREAMED), **refused(400, 413, 415, 422, 503)},
        body=FollowRequest,
        required=True,
        access=TOKENS,
    )


def _list_paths() -> Plain:
    """What there is."""
    state: Plain = {"allOf": [ref(ScanState), {"required": ["cursor"], "properties": {"cursor": TEXT}}]}
    scans: Plain = {
        "type": "object",
        "required": ["success", "scans"],
        "properties": {"success": {"const": True}, "scans": {"type": "array", "items": state}},
    }
    catalogue: Plain = {"type": "array", "items": ref(CatalogueEntry)}
    return {
        "/opportunities/scans": {
            "get": operation(
                "The caller's scans, newest first",
                {200: in_json("The scans", scans), **absent(), **refused(422, 503)},
                *("limit", "before"),
            )
        },
        "/opportunities/market": {
            "get": operation("What is scanned", {200: in_json("The market", ref(MarketBody))}),
        },
        "/opportunities/market/candles": {
            "get": operation(
                "The newest prices of one symbol",
                {
                    200: in_json("The candles", ref(CandlesBody), "ETag"),
                    304: Answer("They are as the caller has them", None, ("ETag",)),
                    **refused(422),
                },
                *("symbol", "bars", "If-None-Match"),
            )
        },
        "/opportunities/strategies": {
            "get": operation("What is looked for", {200: in_json("The catalogue", catalogue)}),
        },
    }


def _server_paths() -> Plain:
    """What is about the server."""
    upgrade = {
        **refused(400, headers=("Sec-WebSocket-Version",)),
        **refused(426, headers=("Upgrade", "Sec-WebSocket-Version")),
    }
    return {
        "/healthz": {
            "get": operation("Whether the process is alive", {200: in_json("It is", ref(Condition))}, access=PUBLIC)
        },
        "/readyz": {
            "get": operation(
                "Whether the store answers", {200: in_json("It does", ref(Condition)), **refused(503)}, access=PUBLIC
            )
        },
        "/metrics": {"get": operation("For Prometheus", {200: Answer("The metrics", {"text/plain": TEXT})})},
        "/openapi.json": {"get": operation("This document", {200: in_json("It", _OBJECT)}, access=PUBLIC)},
        "/asyncapi.json": {"get": operation("The WebSocket's contract", {200: in_json("It", _OBJECT)}, access=PUBLIC)},
        "/ws": {
            "get": operation("The WebSocket: see /asyncapi.json", {101: Answer("A WebSocket"), **upgrade}),
        },
    }


_ENDS = (
    "A handshake is refused as a plain request is (see /ws in /openapi.json). Close codes: 1000 normal, 1003 wrong kind"
    " of frame, 1007 no UTF-8, 1008 policy, 1009 message too big, 1012 restart, 1013 try again later, 4401 and 4403 who"
    " is asking; reasons are words"
)
_HANDSHAKE: Plain = {
    "method": "GET",
    "headers": {
        "type": "object",
        "properties": {
            "Origin": {**TEXT, "description": "Of a web page: this server's, or one of --allow-origin"},
            "Sec-WebSocket-Protocol": {
                "enum": [codec.subprotocol for codec in CODECS],
                "description": f"Beside it {BEARER_PROTOCOL} and a credential in base64url, where one is asked for",
            },
            "Authorization": {**TEXT, "description": "`Bearer` and a credential, from others than web pages"},
        },
    },
    "bindingVersion": "0.1.0",
}


@cache
def asyncapi() -> Plain:
    """The AsyncAPI document of the WebSocket."""
    sides = {"receive": get_args(ClientMessage), "send": get_args(ServerMessage)}
    kinds = [kind for side in sides.values() for kind in side]
    pointer = "#/channels/scans/messages/{name}"
    return {
        "asyncapi": "3.0.0",
        "info": _INFO,
        "defaultContentType": JSON_TYPE,
        "channels": {
            "scans": {
                "address": "/ws",
                "description": "Subprotocols: " + ", ".join(codec.subprotocol for codec in CODECS) + f". {_ENDS}",
                "bindings": {"ws": _HANDSHAKE},
                "messages": {kind.__name__: {"name": kind.__name__, "payload": ref(kind)} for kind in kinds},
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
        "components": {"schemas": components(kinds)},
    }

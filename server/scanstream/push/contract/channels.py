"""AsyncAPI 3.0: what goes over the WebSocket, and what the two streams of events tell."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import get_args

from scanstream.message import (
    Ack,
    Authenticate,
    Cancel,
    ClientMessage,
    Discover,
    Done,
    End,
    Error,
    Ping,
    Pong,
    Renewed,
    ServerMessage,
    Snapshot,
    Subscribe,
    Unsubscribe,
    Update,
)
from scanstream.push.codec import CODECS
from scanstream.push.contract.schemas import ABOUT, TEXT, Plain, components, ref
from scanstream.push.credentials import BEARER_PROTOCOL
from scanstream.push.query import EVENTS_TYPE, JSON_TYPE

FRAMES: tuple[type, ...] = (Snapshot, Update, End, Error)
"""What is told of a scan that is followed; an error where it expires, or the credential runs out."""
REPLIES: Mapping[type, tuple[type, ...]] = {
    Discover: (Ack, Error),
    Subscribe: (Ack, Error),
    Unsubscribe: (Done, Error),
    Cancel: (Done, Error),
    Authenticate: (Renewed, Error),
    Ping: (Pong, Error),
}
"""What each message of a client is answered with; frames follow as they happen."""
SOCKET, EVENTS, FOLLOW = "scans", "events", "follow"
"""The channels."""

_DESCRIPTION = (
    "One WebSocket follows many scans, each from a cursor. The same frames come as server-sent events. What the words"
    " mean and what is promised: docs/protocol.md; the plain requests: /openapi.json."
)
_SUBPROTOCOLS = [codec.subprotocol for codec in CODECS]
CLOSES: Mapping[int, str] = {
    1000: "normal",
    1002: "what came is no WebSocket's frame",
    1003: "a wrong kind of frame for the subprotocol",
    1007: "text that is no UTF-8, or what cannot be decompressed",
    1008: "policy: repeated malformed messages",
    1009: "a message that is too big",
    1011: "a ping was not answered in time, or a defect",
    1012: "restart: reconnect with your cursors",
    1013: "try again later: reconnect with your cursors",
    4401: "the credential is missing, or has run out",
    4403: "forbidden",
}
"""The codes with which a socket is closed."""
_ENDS = (
    f"Subprotocols: {', '.join(_SUBPROTOCOLS)} (the same messages in JSON as text, and in MessagePack as binary"
    " frames); the first is meant where none is offered. A handshake is refused as a plain request is (see /ws in"
    " /openapi.json). Reasons of a close are words."
)
_HANDSHAKE: Plain = {
    "method": "GET",
    "headers": {
        "type": "object",
        "properties": {
            "Origin": {**TEXT, "description": "Of a web page: this server's, or one of --allow-origin"},
            "Sec-WebSocket-Protocol": {
                "enum": _SUBPROTOCOLS,
                "description": f"Beside it {BEARER_PROTOCOL} and a credential in base64url, where one is asked for",
            },
            "Authorization": {**TEXT, "description": "`Bearer` and a credential, from others than web pages"},
        },
    },
    "bindingVersion": "0.1.0",
}
_SCAN_ID: Plain = {"scan_id": {"description": "An id that `discover` gave, or `latest`"}}


@cache
def asyncapi() -> Plain:
    """The AsyncAPI document of the WebSocket and the streams of events."""
    kinds = (*get_args(ClientMessage), *get_args(ServerMessage))
    return {
        "asyncapi": "3.0.0",
        "info": {**ABOUT, "description": _DESCRIPTION},
        "defaultContentType": JSON_TYPE,
        "channels": {
            SOCKET: {
                "address": "/ws",
                "description": _ENDS,
                "x-close-codes": {str(code): told for code, told in CLOSES.items()},
                "bindings": {"ws": _HANDSHAKE},
                "messages": _messages(kinds),
            },
            EVENTS: {
                "address": "/opportunities/events/{scan_id}",
                "description": f"`GET`, answered with `{EVENTS_TYPE}`: the name of an event is the type of its message",
                "parameters": _SCAN_ID,
                "messages": _messages(FRAMES),
            },
            FOLLOW: {
                "address": "/opportunities/follow",
                "description": f"`POST` with `Accept: {EVENTS_TYPE}`; a long poll has the same messages in a list",
                "messages": _messages(FRAMES),
            },
        },
        "operations": {
            **{_name(asked): _asked(asked, REPLIES[asked]) for asked in get_args(ClientMessage)},
            "tell": _told(SOCKET, FRAMES, "What happens to the scans that are followed, as it happens"),
            "tellOne": _told(EVENTS, FRAMES, "The frames of one scan, until its end", "GET"),
            "tellMany": _told(FOLLOW, FRAMES, "The frames of many scans, until all have ended", "POST"),
        },
        "components": {
            "messages": {kind.__name__: _message(kind) for kind in kinds},
            "schemas": components(kinds),
            "correlationIds": {
                "id": {
                    "description": "Chosen by the client; the reply repeats it",
                    "location": "$message.payload#/id",
                }
            },
        },
    }


def _name(kind: type) -> str:
    return str(kind.__struct_config__.tag)  # type: ignore[attr-defined]  # a Struct


def _messages(kinds: Iterable[type]) -> Plain:
    return {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"} for kind in kinds}


def _message(kind: type) -> Plain:
    addressed = {"correlationId": {"$ref": "#/components/correlationIds/id"}} if hasattr(kind, "id") else {}
    return {"name": kind.__name__, "title": _name(kind), "payload": ref(kind), **addressed}


def _asked(kind: type, replies: Iterable[type]) -> Plain:
    return {
        "action": "receive",
        "channel": _channel(SOCKET),
        "messages": _pointers(SOCKET, [kind]),
        "reply": {"channel": _channel(SOCKET), "messages": _pointers(SOCKET, replies)},
    }


def _told(channel: str, kinds: Iterable[type], summary: str, method: str | None = None) -> Plain:
    http = {"bindings": {"http": {"method": method, "bindingVersion": "0.3.0"}}} if method else {}
    return {
        "action": "send",
        "summary": summary,
        "channel": _channel(channel),
        "messages": _pointers(channel, kinds),
        **http,
    }


def _channel(name: str) -> Plain:
    return {"$ref": f"#/channels/{name}"}


def _pointers(channel: str, kinds: Iterable[type]) -> list[Plain]:
    return [{"$ref": f"#/channels/{channel}/messages/{kind.__name__}"} for kind in kinds]

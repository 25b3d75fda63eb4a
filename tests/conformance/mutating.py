"""The real application with something wrong with it: what is asked, told or answered passes through a `Mutation`.

Everything goes the plain ways of ASGI, so that each message is met as data, whatever transport it is on.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scanstream import server
from scanstream.core import Core
from scanstream.routes import Doors, doors
from scanstream.server import serving
from scanstream.settings import Settings

KEPT_EXTENSION = "websocket.http.response"
FRAMES = ("snapshot", "update", "end")


class Talk:
    """One request, or one WebSocket: what was asked, and room for what a mutation wants to remember of it."""

    def __init__(self, door: str, method: str, path: str, query: dict[str, str], headers: dict[str, str]) -> None:
        self.door = door
        """`http`, `sse`, `follow`, `websocket` or `msgpack`."""
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body: Any = None
        self.memory: dict[str, Any] = {}

    def about(self, what: str) -> bool:
        """Whether it is a question below `/opportunities/` that begins like this."""
        return self.path.startswith(f"/opportunities/{what}")


class Answer(NamedTuple):
    """A whole answer over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    def having(self, **changed: Any) -> "Answer":
        """With other values of some fields of its object; None leaves the field out."""
        told = {**json.loads(self.body), **changed}
        return self._replace(body=json.dumps({key: value for key, value in told.items() if value is not None}).encode())

    def headed(self, **changed: str) -> "Answer":
        """With other headers; an empty one leaves the header out."""
        headers = {**self.headers, **{name.replace("_", "-"): value for name, value in changed.items()}}
        return self._replace(headers={name: value for name, value in headers.items() if value})


def plain(status: int, told: Any, **headers: str) -> Answer:
    """An answer in JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": "application/json", **named}, json.dumps(told).encode())


class Mutation:
    """What is wrong; with this one: nothing."""

    def asked(self, talk: Talk) -> Answer | None:
        """A request over HTTP: it may be changed, or answered at once."""
        return None

    def called(self, talk: Talk) -> None:
        """A WebSocket is asked for: the headers of its handshake may be changed."""

    def said(self, talk: Talk, message: dict[str, Any]) -> list[dict[str, Any]]:
        """A message of a client, on a WebSocket: what the server is told instead."""
        return [message]

    def told(self, talk: Talk, message: dict[str, Any]) -> list[dict[str, Any]]:
        """A message to a client, on any transport that has them: what it is told instead."""
        return [message]

    def written(self, events: bytes) -> bytes:
        """Events of a stream, as they go out."""
        return events

    def accepted(self, talk: Talk, event: Message) -> Message:
        """The handshake of a WebSocket is taken: it may be taken otherwise."""
        return event

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        """An answer that is no stream."""
        return answer


class Mutated:
    """The application, with whatever mutation is set."""

    def __init__(self) -> None:
        self.mutation = Mutation()
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        assert self.app is not None
        extensions = scope.get("extensions") or {}
        scope["extensions"] = {name: value for name, value in extensions.items() if name == KEPT_EXTENSION}
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    # WebSockets

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        talk = _talk("websocket", scope)
        self.mutation.called(talk)
        if "subprotocols" in scope:
            offered = talk.headers.get("sec-websocket-protocol", "")
            scope["subprotocols"] = [one.strip() for one in offered.split(",") if one.strip()]
        scope["headers"] = _fields(talk.headers)
        waiting: list[dict[str, Any]] = []

        def encoded(message: Mapping[str, Any], kind: str) -> Message:
            if talk.door == "msgpack":
                return {"type": kind, "bytes": msgspec.msgpack.encode(message)}
            return {"type": kind, "text": json.dumps(message)}

        async def through_receive() -> Message:
            while not waiting:
                event = await receive()
                message = _decoded(event)
                if message is None:
                    return event
                waiting.extend(self.mutation.said(talk, message))
            return encoded(waiting.pop(0), "websocket.receive")

        async def through_send(event: Message) -> None:
            if event["type"] == "websocket.accept":
                talk.door = "msgpack" if "msgpack" in (event.get("subprotocol") or "") else talk.door
                event = self.mutation.accepted(talk, event)
            message = _decoded(event)
            for one in [event] if message is None else self.mutation.told(talk, message):
                await send(event if message is None else encoded(one, "websocket.send"))

        assert self.app is not None
        await self.app(scope, through_receive, through_send)

    # Requests

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        talk, content = _talk("http", scope), b""
        event: Message = {"more_body": True}
        while event.get("more_body"):
            event = await receive()
            content += event.get("body", b"")
        try:
            talk.body = json.loads(content) if content else None
        except ValueError:
            talk.body = content
        early = self.mutation.asked(talk)
        if early is not None:
            await _send(send, self.mutation.answered(talk, early))
            return
        scope["method"], scope["path"] = talk.method, talk.path
        scope["query_string"] = urlencode(talk.query).encode()
        body = (
            talk.body if isinstance(talk.body, bytes) else b"" if talk.body is None else json.dumps(talk.body).encode()
        )
        if body:
            talk.headers["content-length"] = str(len(body))
        scope["headers"] = _fields(talk.headers)
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def through_receive() -> Message:
            return given.pop() if given else await receive()

        assert self.app is not None
        await self.app(scope, through_receive, _Out(self, talk, send))


class _Out:
    """What an answer passes through: a stream event by event, all else as a whole."""

    def __init__(self, mutated: Mutated, talk: Talk, send: Send) -> None:
        self._mutated = mutated
        self._talk = talk
        self._send = send
        self._start: Message = {}
        self._held = b""
        self._streams = False

    async def __call__(self, event: Message) -> None:
        if event["type"] == "http.response.start":
            self._start = event
            headers = _headers(event)
            self._streams = headers.get("content-type", "").startswith("text/event-stream")
            if self._streams:
                self._talk.door = "sse" if self._talk.about("events") else "follow"
                await self._send(event)
        elif self._streams:
            await self._events(event)
        else:
            self._held += event.get("body", b"")
            if not event.get("more_body"):
                await self._whole()

    async def _events(self, event: Message) -> None:
        *events, self._held = (self._held + event.get("body", b"")).split(b"\n\n")
        out = b"".join(b"".join(self._event(one)) for one in events)
        await self._send({**event, "body": self._mutated.mutation.written(out)})

    def _event(self, event: bytes) -> list[bytes]:
        lines = event.decode().split("\n")
        data = [line[6:] for line in lines if line.startswith("data: ")]
        if not data:
            return [event + b"\n\n"]
        named = any(line.startswith("id:") for line in lines)
        told = []
        for one in self._mutated.mutation.told(self._talk, json.loads(data[0])):
            event_id = one.pop("_id", one.get("cursor")) if named else None
            head = [f"event: {one['type']}", *([f"id: {event_id}"] if event_id else [])]
            told.append("\n".join([*head, f"data: {json.dumps(one)}", "", ""]).encode())
        return told

    async def _whole(self) -> None:
        answer = Answer(self._start["status"], _headers(self._start), self._held)
        mutation = self._mutated.mutation
        if self._talk.about("follow") and answer.status == 200:
            self._talk.door = "follow"
            frames = [one for frame in json.loads(answer.body)["frames"] for one in mutation.told(self._talk, frame)]
            answer = answer.having(frames=frames)
        await _send(self._send, mutation.answered(self._talk, answer))


async def _send(send: Send, answer: Answer) -> None:
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    if answer.status not in (204, 304):
        headers["content-length"] = str(len(answer.body))
    await send({"type": "http.response.start", "status": answer.status, "headers": _fields(headers)})
    await send({"type": "http.response.body", "body": answer.body})


def _fields(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def _headers(event: Message) -> dict[str, str]:
    return {name.decode().lower(): value.decode("latin-1") for name, value in event["headers"]}


def _talk(door: str, scope: Scope) -> Talk:
    query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return Talk(door, scope.get("method", ""), scope["path"], query, headers)


def _decoded(event: Message) -> dict[str, Any] | None:
    """The message in an event of a WebSocket; None where there is none."""
    try:
        if event.get("text") is not None:
            message = json.loads(event["text"])
        elif event.get("bytes") is not None:
            message = msgspec.msgpack.decode(event["bytes"])
        else:
            return None
    except (ValueError, msgspec.DecodeError):
        return None
    return message if isinstance(message, dict) else None


@asynccontextmanager
async def mutated_server(patches: pytest.MonkeyPatch, **settings: Any) -> AsyncIterator[tuple[str, Mutated]]:
    """A real server on a real socket, and what its mutation is set by."""
    mutated = Mutated()

    def wrapped(given: Settings, core: Core) -> Doors:
        mutated.app = doors(given, core).app
        return Doors(mutated, None)  # type: ignore[arg-type]  # nothing is answered at a glance

    patches.setattr(server, "doors", wrapped)
    async with serving(
        Settings(**{"port": 0, "data": ":memory:", "workers": 1, "worker_priority": "low", **settings})
    ) as url:
        yield url, mutated

"""The SSE door: one scan as an `EventSource` reads it (WHATWG HTML, section 9.2), resumed by `Last-Event-ID`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from scanstream.log.cursor import Position, parse
from scanstream.log.scanlog import ScanLog
from scanstream.model import ANYONE
from scanstream.push.codec import JSON
from scanstream.push.desk import Desk
from scanstream.push.drain import Drain
from scanstream.push.fanout import Encoded, Fanout
from scanstream.push.presence import while_there
from scanstream.push.query import EVENTS_TYPE, single

HEARTBEAT_SECONDS = 5.0
"""A comment this often keeps proxies from taking the silence for the end, and lets a reader notice a dead line."""
HEARTBEAT = ": still here\n\n"
RETRY = "retry: 1000\n\n"
"""Milliseconds until a lost stream is asked for again."""


class EventsDoor:
    """`GET /opportunities/events/{scan_id}`."""

    def __init__(self, desk: Desk, fanout: Fanout, drain: Drain) -> None:
        self._desk = desk
        self._fanout = fanout
        self._drain = drain

    async def events(self, request: Request) -> Response:
        """Frames as events; 204 where nothing is left of a terminal scan, which makes an EventSource stop."""
        log = await self._desk.find(ANYONE, request.path_params["scan_id"])
        since = request.headers.get("last-event-id") or single(request, "since")
        position = await self._desk.place(log, parse(since) if since else None)
        if log.ended and not log.news(position):
            return Response(status_code=204)
        return EventStream(self._frames(log, position))

    async def _frames(self, log: ScanLog, position: Position) -> AsyncGenerator[str, None]:
        yield RETRY
        with self._fanout.reading(log.scan_id) as reader, self._drain.attending(reader.wake):
            while not self._drain.begun and not log.expired:
                message = reader.channel.next(log, position, JSON)
                if message is not None:
                    position = message.position
                    yield event(message, str(log.cursor(position)))
                    if message.last:
                        return
                elif not await reader.woken(HEARTBEAT_SECONDS):
                    yield HEARTBEAT


def event(message: Encoded, cursor: str | None = None) -> str:
    """One event: its name is the message's type, its id the cursor after it where the stream is of one scan."""
    identity = "" if cursor is None else f"id: {cursor}\n"
    return f"event: {message.type}\n{identity}data: {message.payload!s}\n\n"


class EventStream(Response):
    """A stream of events that ends when the reader leaves. Whether it takes any is for the transport to judge."""

    media_type = EVENTS_TYPE

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until they end, while listening for the reader's leaving."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        with suppress(ClientDisconnect):
            async with aclosing(self._events), while_there(receive):
                await self._send_all(send)

    async def _send_all(self, send: Send) -> None:
        async for text in self._events:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

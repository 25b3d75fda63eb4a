"""The SSE door: one scan as an `EventSource` reads it (WHATWG HTML, section 9.2), resumed by `Last-Event-ID`."""

from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response

from scanstream.log.cursor import Position, parse
from scanstream.log.scanlog import ScanLog
from scanstream.model import ANYONE
from scanstream.push.codec import JSON
from scanstream.push.desk import Desk
from scanstream.push.drain import Drain
from scanstream.push.fanout import Encoded, Fanout
from scanstream.push.query import EVENTS_TYPE, single
from scanstream.push.streaming import PiecewiseResponse

HEARTBEAT_SECONDS = 5.0
"""A comment this often keeps proxies from taking the silence for the end, and lets a reader notice a dead line."""
HEARTBEAT = b": still here\n\n"
UNBUFFERED = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""Headers of a stream; the second is for proxies that would gather its events."""
RETRY = b"retry: 1000\n\n"
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

    async def _frames(self, log: ScanLog, position: Position) -> AsyncGenerator[bytes, None]:
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


def event(message: Encoded, cursor: str | None = None) -> bytes:
    """One event: its name is the message's type, its id the cursor after it where the stream is of one scan."""
    identity = "" if cursor is None else f"id: {cursor}\n"
    return b"".join((f"event: {message.type}\n{identity}data: ".encode(), message.data, b"\n\n"))


class EventStream(PiecewiseResponse):
    """A stream of events."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(events, UNBUFFERED, EVENTS_TYPE)

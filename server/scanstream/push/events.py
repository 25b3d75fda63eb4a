"""The SSE door: one scan as a stream of events, resumed by `Last-Event-ID`."""

from collections.abc import AsyncGenerator
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from scanstream.log.cursor import Position, parse
from scanstream.log.scanlog import ScanLog
from scanstream.push.callers import caller_of
from scanstream.push.codec import JSON
from scanstream.push.desk import Desk
from scanstream.push.holding import HeldStream
from scanstream.push.line import Line
from scanstream.push.query import single
from scanstream.push.sse import HEARTBEAT, HEARTBEAT_SECONDS, RETRY, EventStream, event
from scanstream.push.stream import EXPELLED, Stream, Streams, chunk
from scanstream.push.vigil import is_over, watched
from scanstream.security.caller import Caller
from scanstream.security.seats import Seat


class EventsDoor:
    """`GET /opportunities/events/{scan_id}`."""

    def __init__(self, desk: Desk, streams: Streams) -> None:
        self._desk = desk
        self._streams = streams
        self._room = streams.room

    async def events(self, request: Request) -> Response:
        """Frames as events; 204 where nothing is left of a terminal scan, which makes an EventSource stop."""
        scan_id, resumes = request.path_params["scan_id"], self._room.fanout.resumes
        caller = caller_of(request)
        with resumes.sought("stream"):
            log = await self._desk.find(caller.reads(scan_id), scan_id)
        since = request.headers.get("last-event-id") or single(request, "since")
        cursor = parse(since) if since else None
        position = await self._desk.place(log, cursor)
        resumes.took("stream", log, cursor, position, given=bool(since))
        if log.ended and not log.news(position):
            return Response(status_code=204)
        events = self._frames(log, position, caller)
        if log.ended:
            return EventStream(events)
        seat = self._room.seat(caller, request.scope)
        wait = partial(self._stream, log, position, caller, seat)
        return HeldStream(events, wait, seat)

    def _stream(self, log: ScanLog, position: Position, caller: Caller, seat: Seat | None, line: Line) -> Stream:
        return Stream(self._streams, log, position, line, chunk(RETRY), caller, seat)

    async def _frames(self, log: ScanLog, position: Position, caller: Caller) -> AsyncGenerator[bytes, None]:
        yield RETRY
        with (
            self._room.fanout.reading(log.scan_id) as reader,
            self._room.drain.attending(reader.wake),
            watched(self._room.vigil, reader.wake, caller),
        ):
            while not self._room.drain.begun and not log.expired and not log.left:
                if is_over(self._room.vigil, caller):
                    yield EXPELLED
                    return
                message = reader.channel.next(log, position, JSON)
                if message is not None:
                    position = message.position
                    self._room.fanout.told.add(message)
                    yield event(message, str(log.cursor(position)))
                    if message.last:
                        return
                elif not await reader.woken(HEARTBEAT_SECONDS):
                    yield HEARTBEAT

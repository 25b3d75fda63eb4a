"""Event streams without a task: of each its position, and what is new is written to it by whoever tells of it.

The bytes of an event are made once for all streams of a scan that are at the same position.
"""

import asyncio
from collections import OrderedDict

from starlette.responses import Response

from scanstream.log.cursor import Position
from scanstream.log.scanlog import ScanLog
from scanstream.push.answers import lines
from scanstream.push.codec import JSON
from scanstream.push.credentials import unauthorized
from scanstream.push.ended import refused
from scanstream.push.fanout import Channel, Encoded
from scanstream.push.line import Line
from scanstream.push.query import EVENTS_TYPE
from scanstream.push.question import Question
from scanstream.push.sse import HEARTBEAT, HEARTBEAT_SECONDS, RETRY, UNBUFFERED, event
from scanstream.push.transport.bounds import HIGH_WATER_BYTES
from scanstream.push.waiter import Room, ScanWaiter
from scanstream.security.caller import Caller
from scanstream.security.seats import Seat

MOST_BYTES = 8 * 1024 * 1024
"""Of events that are kept for others at the same position; the oldest are forgotten first."""
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """A piece of an answer whose length nobody knows yet (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _head() -> bytes:
    """Header lines as the chain and uvicorn write them."""
    answer = Response(None, 200, UNBUFFERED, EVENTS_TYPE)
    del answer.headers["content-length"]
    answer.headers.update({"vary": "Origin", "transfer-encoding": "chunked"})
    return lines(answer)


_BEGINNING = _head() + chunk(RETRY)
HEARTBEAT_CHUNK = chunk(HEARTBEAT)
EXPELLED = event(refused(unauthorized(), JSON))
"""The last event of those whose credential is no good any more."""


class Events:
    """Events as they leave."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[str, Position, str, Position], bytes] = OrderedDict()
        self.bytes = 0

    def chunk(self, log: ScanLog, before: Position, message: Encoded) -> bytes:
        """The event of a message that takes a reader on from a position."""
        key = log.scan_id, before, message.type, message.position
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = chunk(event(message, str(log.cursor(message.position))))
            self.bytes += len(kept)
            while self.bytes > self._most_bytes:
                self.bytes -= len(self._kept.popitem(last=False)[1])
        return kept


class Streams:
    """What streams have in common."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.events = Events()

    def take(self, log: ScanLog, asked: Question, line: Line) -> "Stream | None":
        """The stream of an unfinished scan; of others None: the chain tells it to its end, or that there is nothing."""
        since = asked.since
        if log.ended or self.room.drain.begun or (since and since.epoch == log.epoch and since.position.seq > log.seq):
            return None
        seat, seats = None, self.room.seats
        if seats is not None and (seat := seats.at_once(asked.caller.principal)) is None:
            return None
        position = log.place(since)
        self.room.fanout.resumes.took("stream", log, since, position, given=since is not None)
        return Stream(self, log, position, line, line.start(200) + _BEGINNING, asked.caller, seat)


class Stream(ScanWaiter):
    """One reader: a position, and the way to it. While it takes nothing more it is left where it is."""

    __slots__ = ("_events", "_position", "_said_at", "_seat")
    _line: Line

    def __init__(
        self,
        streams: Streams,
        log: ScanLog,
        position: Position,
        line: Line,
        beginning: bytes,
        caller: Caller,
        seat: Seat | None,
    ) -> None:
        """:param beginning: what is said before any event"""
        super().__init__(streams.room, log, line)
        self._events = streams.events
        self._seat = seat
        self._position = position
        self._said_at = asyncio.get_running_loop().time()
        self._join(HEARTBEAT_SECONDS)
        if (vigil := streams.room.vigil) is not None:
            vigil.attend(self.expel, caller)
        line.say(beginning)
        self.resume()

    def _news(self) -> None:
        """Say what there is to say, as long as the reader takes it."""
        if self._room.drain.begun or self._log.expired or self._log.left:
            self._end()
        elif self._channel is not None and not self._line.paused:
            self._tell(self._channel)

    def _tell(self, channel: Channel) -> None:
        """In one go no more than the system is glad to take: only later it says that it has enough."""
        while message := channel.next(self._log, self._position, JSON):
            self._line.say(self._events.chunk(self._log, self._position, message))
            self._position = message.position
            self._room.fanout.told.add(message)
            self._said_at = asyncio.get_running_loop().time()
            if message.last:
                self._end()
                return
            if self._line.untaken > HIGH_WATER_BYTES:
                asyncio.get_running_loop().call_soon(self.resume)
                return

    def _time(self) -> None:
        """A comment, where nothing was said for so long; a reader that takes nothing needs none."""
        now = asyncio.get_running_loop().time()
        if now - self._said_at >= HEARTBEAT_SECONDS:
            if not self._line.paused:
                self._line.say(HEARTBEAT_CHUNK)
            self._said_at = now
        self._again(self._said_at + HEARTBEAT_SECONDS - now)

    def _part(self) -> None:
        super()._part()
        if self._seat is not None:
            self._seat.leave()
        if (vigil := self._room.vigil) is not None:
            vigil.depart(self.expel)

    def expel(self) -> None:
        """See `Vigil.attend`."""
        self._end(chunk(EXPELLED))

    def _end(self, last: bytes = b"") -> None:
        self.leave()
        self._line.say(last + LAST_CHUNK)
        self._line.end()

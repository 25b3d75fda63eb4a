"""The stream of a `follow`, without a task: many scans that one connection follows, as events of one answer."""

import asyncio
from collections.abc import Callable

from scanstream.push.codec import JSON
from scanstream.push.fanout import Encoded
from scanstream.push.flushes import READERS_A_WAKE
from scanstream.push.following import Find, Following
from scanstream.push.line import Line
from scanstream.push.outgoing import Outgoing
from scanstream.push.outlet import Outlet, Start
from scanstream.push.round import Round
from scanstream.push.sse import HEARTBEAT_SECONDS, RETRY, event
from scanstream.push.stream import EXPELLED, HEARTBEAT_CHUNK, LAST_CHUNK, chunk
from scanstream.push.transport.bounds import HIGH_WATER_BYTES
from scanstream.push.waiter import Room, Waiter
from scanstream.security.caller import Caller
from scanstream.security.seats import Seat


class EventsOutlet(Outlet):
    """Messages leave as events, at a line."""

    __slots__ = ("_box", "_line", "_over", "said_at")

    def __init__(self, line: Line, over: Callable[[], bool]) -> None:
        """:param over: says at each flush whether nothing more comes: then the rest leaves with the end"""
        super().__init__()
        self._line = line
        self._over = over
        self._box = chunk(RETRY)
        self.said_at = 0.0
        """On the loop's clock."""

    def put(self, message: Outgoing) -> None:
        """See `Outlet.put`."""
        assert isinstance(message, Encoded)
        self._box += chunk(event(message))
        if len(self._box) > HIGH_WATER_BYTES:
            self._write()

    def flush(self) -> None:
        """See `Outlet.flush`."""
        if not self._over():
            self._write()

    def take(self) -> bytes:
        """What was put, and has not left."""
        box, self._box = self._box, b""
        return box

    def _write(self) -> None:
        """No more than the system is glad to take: only later it says that it has enough."""
        box = self.take()
        if not box or self.closed:
            return
        self._line.say(box)
        self.said_at = asyncio.get_running_loop().time()
        if self._line.paused or self._line.untaken > HIGH_WATER_BYTES:
            self.ready = False
            asyncio.get_running_loop().call_soon(self.look)

    def look(self) -> None:
        """Whether the line takes more again; while it is paused, it tells that itself."""
        if not (self.ready or self._line.paused):
            self._resume()

    def shut(self) -> None:
        """See `Outlet.shut`; what leads to the stream would keep it alive in a circle."""
        super().shut()
        self._over = bool


class Together(Waiter):
    """The stream of one `follow`."""

    __slots__ = ("_following", "_outlet", "_seat")
    _line: Line

    def __init__(
        self, room: Room, scans: Round, line: Line, find: Find, start: Start, caller: Caller, seat: Seat | None
    ) -> None:
        super().__init__(room, line)
        self._seat = seat
        self._outlet = EventsOutlet(line, self._over)
        self._following = Following(self._outlet, JSON, room.fanout, find, start)
        self._following.failed = self._failed
        try:
            scans.hand_over(self._following)
            self._join(HEARTBEAT_SECONDS)
            if room.vigil is not None:
                room.vigil.attend(self.expel, caller)
            self._following.fill()
        except BaseException:
            self._part()
            self.leave()
            raise

    def _enter(self) -> None:
        """What it follows tells it."""

    def _part(self) -> None:
        self._following.close()
        self._outlet.shut()
        if self._seat is not None:
            self._seat.leave()
        if self._room.vigil is not None:
            self._room.vigil.depart(self.expel)

    def _news(self) -> None:
        if self._room.drain.begun:
            self._end()
        else:
            self._outlet.look()

    def _over(self) -> bool:
        """Whether all is told; it ends in its turn then, as thousands may end at once."""
        over = not len(self._following) and self._following.failed is not None
        if over:
            self._soon()
        return over

    def flush(self, most: int, _: list[Outlet]) -> tuple[int, bool]:
        """See `Flushable.flush`."""
        self.pending = False
        self._end()
        return min(most, READERS_A_WAKE), True

    async def _failed(self, error: Exception) -> None:
        """What is told ends here."""
        self.fail(error)

    def _time(self) -> None:
        """A comment, where nothing was said for so long; a reader that takes nothing needs none."""
        now = asyncio.get_running_loop().time()
        if now - self._outlet.said_at >= HEARTBEAT_SECONDS:
            if not self._line.paused:
                self._line.say(HEARTBEAT_CHUNK)
            self._outlet.said_at = now
        self._again(self._outlet.said_at + HEARTBEAT_SECONDS - now)

    def expel(self) -> None:
        """See `Vigil.attend`."""
        self._end(chunk(EXPELLED))

    def _end(self, last: bytes = b"") -> None:
        if self._there:
            rest = self._outlet.take()
            self.leave()
            self._line.say(rest + last + LAST_CHUNK)
            self._line.end()

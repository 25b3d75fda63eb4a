"""The follow door: many scans over one answer, as a stream of events or as a long poll, whichever the caller accepts.

Browsers allow six connections to an HTTP/1.1 origin, so a page that shows many scans cannot have one for each.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import nullcontext, suppress
from functools import partial

import anyio
from starlette.requests import Request
from starlette.responses import Response

from scanstream.errors import InvalidRequest, StoreUnavailable
from scanstream.legible import legible
from scanstream.log.cursor import parse
from scanstream.log.refold import OneOfEach, Slices
from scanstream.message import Follow
from scanstream.model import Principal
from scanstream.push.attendance import Attendance
from scanstream.push.callers import body_of, caller_of
from scanstream.push.codec import JSON
from scanstream.push.desk import Desk
from scanstream.push.ended import ABSENT
from scanstream.push.following import Find
from scanstream.push.holding import Held, HeldStream, waited
from scanstream.push.line import Line, WayBack
from scanstream.push.outlet import nothing
from scanstream.push.presence import while_there
from scanstream.push.query import EVENTS_TYPE, JSON_TYPE, accepted
from scanstream.push.resumes import Transport
from scanstream.push.round import Round
from scanstream.push.sse import HEARTBEAT, HEARTBEAT_SECONDS, RETRY, event
from scanstream.push.stream import EXPELLED
from scanstream.push.together import Together
from scanstream.push.vigil import is_over, watched
from scanstream.push.waiter import Room, Waiter
from scanstream.security.caller import Caller, Owner
from scanstream.security.seats import Seat

MOST_ANSWER_BYTES = 1024 * 1024
"""An answer of the long poll takes no further frame beyond this; what is left comes with the next one, at once."""
MOST_BODY_BYTES = 128 * 1024
"""Of a request: some 500 for each scan that there may be."""
MANY = 32
"""Of more scans those of one principal's requests are looked for one after the other."""
VARIES = {"vary": "Accept"}


class FollowDoor:
    """`POST /opportunities/follow`."""

    def __init__(self, desk: Desk, room: Room, attendance: Attendance, *, most_bytes: int) -> None:
        self._desk = desk
        self._room = room
        self._attendance = attendance
        self._most_bytes = most_bytes
        self._large = OneOfEach[Principal | None]()

    async def follow(self, request: Request) -> Response:
        """The messages of many scans: as events until all have ended, or in JSON as soon as there are any."""
        caller = caller_of(request)
        waiting = waited(request)
        if isinstance(waiting, Poller):
            async with while_there(request.receive):
                return _answer(await self._frames(waiting.scans))
        asked = JSON.decode_follow(await body_of(request, self._most_bytes, needed=MOST_BODY_BYTES))
        streams = accepted(request, JSON_TYPE, EVENTS_TYPE) == EVENTS_TYPE
        async with while_there(request.receive):
            scans = await self._round(asked.follow, caller, "stream" if streams else "longpoll")
            frames = [] if streams else await self._frames(scans)
        if streams:
            seat = self._room.seat(caller, request.scope)
            stream = HeldStream(self._events(scans, caller), lambda line: self._stream(scans, line, caller, seat), seat)
            stream.headers.update(VARIES)
            return stream
        if frames or not asked.seconds or self._room.drain.begun:
            return _answer(frames)
        return Held(self.follow, lambda way: Poller(self._room, scans, way, asked.seconds, caller))

    def _stream(self, scans: Round, line: Line, caller: Caller, seat: Seat | None) -> Together:
        return Together(self._room, scans, line, self._find(caller), self._attendance.start, caller, seat)

    def _find(self, caller: Caller) -> Find:
        return partial(self._desk.find, caller.owner)

    async def _frames(self, scans: Round) -> list[bytes]:
        """The messages that there are now."""
        with scans.opened():
            return await scans.all(MOST_ANSWER_BYTES)

    async def _round(self, wanted: Sequence[Follow], caller: Caller, transport: Transport) -> Round:
        """Find the scans; one that is not there is a message, too.

        :raises InvalidRequest: if two of them are one scan
        :raises Forbidden: if the caller may not ask for one of them, whether it is there or not
        """
        owners = [caller.reads(follow.scan_id) for follow in wanted]
        async with self._large.turn(caller.principal) if len(wanted) > MANY else nullcontext():
            return await self._found([*zip(wanted, owners, strict=True)], caller, transport)

    async def _found(self, wanted: Sequence[tuple[Follow, Owner]], caller: Caller, transport: Transport) -> Round:
        scans = Round(self._find(caller), self._room.fanout)
        resumes = self._room.fanout.resumes
        arrived = anyio.current_time()
        named, slices = set[str](), Slices()
        for index, (follow, owner) in enumerate(wanted):
            await slices.turn()
            try:
                with resumes.sought(transport):
                    log = await self._desk.find(owner, follow.scan_id, arrived)
            except ABSENT as error:
                _name(named, index, follow.scan_id)
                scans.refuse(error)
            else:
                _name(named, index, log.scan_id)
                cursor = None if follow.since is None else parse(follow.since)
                position = await self._desk.place(log, cursor)
                resumes.took(transport, log, cursor, position, given=follow.since is not None)
                scans.add(log, position, follow.only)
        return scans

    async def _events(self, scans: Round, caller: Caller) -> AsyncGenerator[bytes, None]:
        yield RETRY
        drain, vigil = self._room.drain, self._room.vigil
        with scans.opened(), drain.attending(scans.wake), watched(vigil, scans.wake, caller):
            beat = anyio.current_time() + HEARTBEAT_SECONDS
            while not drain.begun and not scans.over:
                if is_over(vigil, caller):
                    yield EXPELLED
                    return
                message = None
                with suppress(StoreUnavailable):  # what has ended keeps, until it can be read again
                    message = await scans.next()
                if message is not None:
                    yield event(message)
                elif anyio.current_time() >= beat:
                    yield HEARTBEAT
                else:
                    await scans.woken(beat - anyio.current_time())
                    continue
                beat = anyio.current_time() + HEARTBEAT_SECONDS


class Poller(Waiter):
    """Who waits for news of any of them, and is answered with all that there is then."""

    __slots__ = ("caller", "scans")
    patient = True

    def __init__(self, room: Room, scans: Round, way: WayBack, seconds: float, caller: Caller) -> None:
        super().__init__(room, way)
        self.scans = scans
        self.caller = caller
        self._join(seconds)

    def _enter(self) -> None:
        self.scans.told = self.resume
        self.scans.open()
        self._news()

    def _part(self) -> None:
        self.scans.close()
        self.scans.told = nothing

    def _news(self) -> None:
        if self.scans.due or self._room.drain.begun:
            self._soon()

    def _time(self) -> None:
        self._soon()


def _answer(frames: list[bytes]) -> Response:
    return Response(b'{"frames":[%b]}' % b",".join(frames), 200, VARIES, JSON_TYPE)


def _name(named: set[str], index: int, scan_id: str) -> None:
    if scan_id in named:
        raise InvalidRequest.of(
            f"follow[{index}].scan_id", f"{legible(scan_id, 80)!r} is followed twice; name each scan once"
        )
    named.add(scan_id)

"""The follow door: many scans over one answer, as a stream of events or as a long poll, whichever the caller accepts.

Browsers allow six connections to an HTTP/1.1 origin, so a page that shows many scans cannot have one for each.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from functools import partial

import anyio
from starlette.requests import Request
from starlette.responses import Response

from scanstream.errors import InvalidRequest, StoreUnavailable
from scanstream.log.cursor import parse
from scanstream.message import Follow
from scanstream.model import ANYONE
from scanstream.push.codec import JSON
from scanstream.push.desk import Desk
from scanstream.push.drain import Drain
from scanstream.push.ended import ABSENT
from scanstream.push.fanout import Fanout
from scanstream.push.presence import while_there
from scanstream.push.query import EVENTS_TYPE, JSON_TYPE, accepted, read_body
from scanstream.push.round import Round
from scanstream.push.sse import HEARTBEAT, HEARTBEAT_SECONDS, RETRY, EventStream, event

MOST_ANSWER_BYTES = 1024 * 1024
"""An answer of the long poll takes no further frame beyond this; what is left comes with the next one, at once."""
VARIES = {"vary": "Accept"}


class FollowDoor:
    """`POST /opportunities/follow`."""

    def __init__(self, desk: Desk, fanout: Fanout, drain: Drain, *, most_bytes: int) -> None:
        self._desk = desk
        self._fanout = fanout
        self._drain = drain
        self._most_bytes = most_bytes

    async def follow(self, request: Request) -> Response:
        """The messages of many scans: as events until all have ended, or in JSON as soon as there are any."""
        asked = JSON.decode_follow(await read_body(request, self._most_bytes))
        streams = accepted(request, JSON_TYPE, EVENTS_TYPE) == EVENTS_TYPE
        frames: list[bytes] = []
        async with while_there(request.receive):
            scans = await self._round(asked.follow)
            if not streams:
                frames = await self._frames(scans, asked.seconds)
        if streams:
            stream = EventStream(self._events(scans))
            stream.headers.update(VARIES)
            return stream
        return Response(b'{"frames":[%b]}' % b",".join(frames), 200, VARIES, JSON_TYPE)

    async def _round(self, wanted: Sequence[Follow]) -> Round:
        """Find the scans; one that is not there is a message, too.

        :raises InvalidRequest: if two of them are one scan
        """
        scans = Round(partial(self._desk.find, ANYONE), self._fanout)
        named: set[str] = set()
        for index, follow in enumerate(wanted):
            try:
                log = await self._desk.find(ANYONE, follow.scan_id)
            except ABSENT as error:
                _name(named, index, follow.scan_id)
                scans.refuse(error)
            else:
                _name(named, index, log.scan_id)
                cursor = None if follow.since is None else parse(follow.since)
                scans.add(log, await self._desk.place(log, cursor), follow.only)
        return scans

    async def _events(self, scans: Round) -> AsyncGenerator[bytes, None]:
        yield RETRY
        with suppress(StoreUnavailable), scans.opened(), self._drain.attending(scans.wake):
            beat = anyio.current_time() + HEARTBEAT_SECONDS
            while not self._drain.begun and not scans.over:
                message = await scans.next()
                if message is not None:
                    yield event(message)
                elif anyio.current_time() >= beat:
                    yield HEARTBEAT
                else:
                    await scans.woken(beat - anyio.current_time())
                    continue
                beat = anyio.current_time() + HEARTBEAT_SECONDS

    async def _frames(self, scans: Round, seconds: float) -> list[bytes]:
        """The messages that there are, at once or as soon as there are any; none after so many seconds."""
        deadline = anyio.current_time() + seconds
        with scans.opened(), self._drain.attending(scans.wake):
            while not (frames := await scans.all(MOST_ANSWER_BYTES)) and not self._drain.begun:
                left = deadline - anyio.current_time()
                if left <= 0:
                    break
                await scans.woken(left)
        return frames


def _name(named: set[str], index: int, scan_id: str) -> None:
    if scan_id in named:
        raise InvalidRequest.of(f"follow[{index}].scan_id", f"{scan_id[:80]!r} is followed twice; name each scan once")
    named.add(scan_id)

"""The follow door: many scans over one answer, as a stream of events or as a long poll, whichever the caller accepts.

Browsers allow six connections to an HTTP/1.1 origin, so a page that shows many scans cannot have one for each.
"""

from collections.abc import AsyncGenerator, Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import anyio
from starlette.requests import Request
from starlette.responses import Response

from scanstream.errors import Expired, InvalidRequest, NotFound
from scanstream.log.cursor import START, parse
from scanstream.message import Follow
from scanstream.model import ANYONE, ScanId
from scanstream.push.codec import JSON, error_message
from scanstream.push.desk import Desk
from scanstream.push.drain import Drain
from scanstream.push.fanout import Encoded, Fanout
from scanstream.push.presence import while_there
from scanstream.push.query import EVENTS_TYPE, JSON_TYPE, accepted, read_body
from scanstream.push.sse import HEARTBEAT, HEARTBEAT_SECONDS, RETRY, EventStream, event
from scanstream.push.subscription import Subscription

MOST_ANSWER_BYTES = 4 * 1024 * 1024
"""An answer of the long poll takes no further frame beyond this; what is left comes with the next one, at once."""
VARIES = {"vary": "Accept"}


class Round:
    """The scans of one request: where the reader of each is, and which of them may have a message."""

    def __init__(self, subscriptions: Sequence[Subscription], absent: Sequence[Encoded]) -> None:
        self._subscriptions = {subscription.log.scan_id: subscription for subscription in subscriptions}
        self._absent = list(absent)
        self._ready: dict[ScanId, None] = {}
        self._woken = anyio.Event()

    @contextmanager
    def opened(self, fanout: Fanout) -> Iterator[None]:
        """Be told of news in here."""
        with ExitStack() as stack:
            for scan_id, subscription in self._subscriptions.items():
                stack.callback(subscription.close)
                subscription.open(fanout, partial(self._wake, scan_id))
                if subscription.due:
                    self._ready[scan_id] = None
            yield

    @property
    def over(self) -> bool:
        """Whether nothing more will come of any of them."""
        return not self._subscriptions and not self._absent

    def wake(self) -> None:
        """There is something beside the scans to look at."""
        self._woken.set()

    def _wake(self, scan_id: ScanId) -> None:
        self._ready[scan_id] = None
        self._woken.set()

    async def woken(self, seconds: float) -> None:
        """Wait until there may be a message, or the time is over."""
        with anyio.move_on_after(seconds):
            await self._woken.wait()
        self._woken = anyio.Event()

    def next(self) -> Encoded | None:
        """The message that is to be sent now, of the scans in turn; None while there is none."""
        if self._absent:
            return self._absent.pop(0)
        while self._ready:
            if message := self._pop():
                return message
        return None

    def all(self, most_bytes: int) -> list[bytes]:
        """The messages that are to be sent now, at most one a scan, and no further one beyond so many bytes."""
        taken = [_bytes(message) for message in self._absent]
        size = sum(map(len, taken))
        self._absent.clear()
        for _ in range(len(self._ready)):
            if size >= most_bytes:
                break
            if message := self._pop():
                taken.append(_bytes(message))
                size += len(taken[-1])
        return taken

    def _pop(self) -> Encoded | None:
        scan_id = next(iter(self._ready))
        del self._ready[scan_id]
        subscription = self._subscriptions.get(scan_id)
        message = subscription.next(JSON) if subscription else None
        if subscription is None or message is None:
            return None
        subscription.position = message.position
        if message.last:
            del self._subscriptions[scan_id]
            subscription.close()
        elif subscription.due:
            self._ready[scan_id] = None  # behind the others: each has its turn
        return message


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
        scans = await self._round(asked.follow)
        if accepted(request, JSON_TYPE, EVENTS_TYPE) == EVENTS_TYPE:
            stream = EventStream(self._events(scans))
            stream.headers.update(VARIES)
            return stream
        frames: list[bytes] = []
        async with while_there(request.receive):
            frames = await self._frames(scans, asked.seconds)
        return Response(b'{"frames":[%b]}' % b",".join(frames), 200, VARIES, JSON_TYPE)

    async def _round(self, wanted: Sequence[Follow]) -> Round:
        """Find the scans; one that is not there is a message, too.

        :raises InvalidRequest: if two of them are one scan
        """
        subscriptions: dict[str, Subscription] = {}
        absent: dict[str, Encoded] = {}
        for index, follow in enumerate(wanted):
            scan_id = follow.scan_id
            try:
                log = await self._desk.find(ANYONE, scan_id)
            except (NotFound, Expired) as error:
                error.scan_id = scan_id
                message = Encoded("error", JSON.encode(error_message(error)), START)
                _require_new(index, scan_id, absent)
                absent[scan_id] = message
                continue
            _require_new(index, log.scan_id, subscriptions)
            position = await self._desk.place(log, None if follow.since is None else parse(follow.since))
            subscriptions[log.scan_id] = Subscription(log, position, follow.only)
        return Round(list(subscriptions.values()), list(absent.values()))

    async def _events(self, scans: Round) -> AsyncGenerator[str, None]:
        yield RETRY
        with scans.opened(self._fanout), self._drain.attending(scans.wake):
            beat = anyio.current_time() + HEARTBEAT_SECONDS
            while not self._drain.begun and not scans.over:
                message = scans.next()
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
        with scans.opened(self._fanout), self._drain.attending(scans.wake):
            while not (frames := scans.all(MOST_ANSWER_BYTES)) and not self._drain.begun:
                left = deadline - anyio.current_time()
                if left <= 0:
                    break
                await scans.woken(left)
        return frames


def _bytes(message: Encoded) -> bytes:
    return str(message.payload).encode()


def _require_new(index: int, scan_id: str, known: Container[str]) -> None:
    if scan_id in known:
        raise InvalidRequest.of(f"follow[{index}].scan_id", f"{scan_id[:80]!r} is followed twice; name each scan once")

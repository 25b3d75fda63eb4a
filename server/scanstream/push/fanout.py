"""From one log to many readers: tells them at most once a tick, and makes each frame once for all of them.

The first change goes out at once, then at most one flush a scan each tick, the end at once. Flushes of many scans are
made together: a connection that follows several of them is written to once. Telling ten thousand readers takes tens of
milliseconds, so it is done in turns of the loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from math import ceil
from time import monotonic
from typing import Literal, Protocol, TypeAlias

import anyio

from scanstream.errors import Expired
from scanstream.log.cursor import Position
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.message import End
from scanstream.model import Only, ScanId
from scanstream.push.codec import Codec, Payload, error_message, frame_message
from scanstream.push.frames import FrameCache
from scanstream.push.outgoing import Outgoing
from scanstream.push.outlet import Outlet

TICK_SECONDS = 0.025
"""Unless `--tick` says otherwise."""
GRAINS = 5
"""Parts of a tick: what is due in the same part is flushed together, by one timer for all of it."""
READERS_IN_TURN = 400
FEWEST_IN_TURN = 50
SECONDS_IN_TURN = 0.003
"""How many readers are told in one turn of the loop: fewer, if the turns take longer than this."""
READERS_A_WAKE = 10
"""Readers that are told in the time that one takes who has a task to be woken."""

Wake = Callable[[], None]

MessageType: TypeAlias = Literal["snapshot", "update", "end", "error"]


class Encoded(Outgoing):
    """What a reader is told of a scan, as it leaves."""

    __slots__ = ("position", "type")

    def __init__(self, type: MessageType, payload: Payload, position: Position) -> None:
        super().__init__(payload)
        self.type = type
        self.position = position
        """Where its reader is afterwards."""

    @property
    def last(self) -> bool:
        """Whether nothing more comes of this scan."""
        return self.type in ("end", "error")


class Follower(Protocol):
    """A reader that is told through its outlet, if that is ready; what it is not told stays a position."""

    position: Position
    codec: Codec
    only: Only | None
    outlet: Outlet
    """One that is never ready, once the reader has left."""

    def told(self, message: Encoded) -> None:
        """The message was put into the outlet, and more may be there to tell."""
        ...

    def notice(self) -> None:
        """There is news, but the outlet is not ready, or the reader has left."""
        ...


class Flushable(Protocol):
    """Who has something to tell, in the turn of the loop that comes to it."""

    pending: bool
    """Whether it waits for its turn, or is in the midst of it."""

    def flush(self, most: int, written: list[Outlet]) -> tuple[int, bool]:
        """Tell so many readers what is new, or all: how many have been told, and whether these were all.

        :param written: takes the outlets that are to be flushed
        """
        ...


class Channel:
    """One scan's readers on this node."""

    def __init__(self, hub: Hub, scan_id: ScanId, frames: FrameCache[Encoded], flushes: "Flushes") -> None:
        self.wakes: set[Wake] = set()
        """Of readers that fetch what is new themselves."""
        self.followers: dict[Follower, None] = {}
        self.pending = False
        """Whether a flush is to come, or is under way."""
        self._scan_id = scan_id
        self._frames = frames
        self._flushes = flushes
        self._head = -1
        self._flushed_at = float("-inf")
        self._log: ScanLog
        self._walk: Iterator[Follower] | None = None
        self._waking: Iterator[Wake] = iter(())
        self._changed = False
        """Whether there was a change since the flush that is under way has begun."""
        self._watching = ExitStack()
        self._watching.enter_context(hub.watching(scan_id, self._notice))

    def close(self) -> None:
        """Let go of the scan."""
        self._watching.close()
        self._frames.drop(self._scan_id)

    def __len__(self) -> int:
        """How many readers there are."""
        return len(self.wakes) + len(self.followers)

    def _notice(self, log: ScanLog) -> None:
        self._log = log
        if self._walk is not None:
            self._changed = True
            return
        due = self._flushed_at + self._flushes.tick
        if log.ended or self._flushes.now() >= due:
            self._flushes.soon(self)
        elif not self.pending:
            self._flushes.later(self, due)

    def flush(self, most: int, written: list[Outlet]) -> tuple[int, bool]:
        """See `Flushable.flush`."""
        if self._walk is None:
            self._flushed_at = self._flushes.now()
            self._walk, self._waking = iter(tuple(self.followers)), iter(tuple(self.wakes))
        followers = list(islice(self._walk, most))
        self._tell(followers, written)
        told = len(followers)
        for wake in islice(self._waking, max(0, most - told) // READERS_A_WAKE):
            told += READERS_A_WAKE
            if wake in self.wakes:
                wake()
        if told > most - READERS_A_WAKE:
            return told, False
        self._walk = None
        self.pending = False
        if self._changed:
            self._changed = False
            self._notice(self._log)
        return told, True

    def _tell(self, followers: Iterable[Follower], written: list[Outlet]) -> None:
        """Most are at the same position and want the same: what they are told is looked up where one is elsewhere."""
        log = self._log
        position: Position | None = None
        codec, only, message, more = None, None, None, False
        for follower in followers:
            outlet = follower.outlet
            if not outlet.ready:
                follower.notice()
                continue
            if follower.position is not position or follower.codec is not codec or follower.only is not only:
                position, codec, only = follower.position, follower.codec, follower.only
                message = self.next(log, position, codec, only)
                more = message is not None and (log.ended or log.news(message.position, only))
            if message is not None:
                outlet.put(message)
                written.append(outlet)
                follower.position = message.position
                if more:
                    follower.told(message)

    def next(self, log: ScanLog, position: Position, codec: Codec, only: Only | None = None) -> Encoded | None:
        """What a reader at a position is to be told now; None while there is nothing.

        A frame, then the end of a terminal scan; of one whose time is over, that it has expired. Made once for all who
        are at this position and want the same.
        """
        if log.expired:
            expired = Expired("This scan has expired. Please initiate a new scan.", scan_id=log.scan_id)
            return Encoded("error", codec.encode(error_message(expired)), position)
        news = log.news(position, only)
        if not news and not log.ended:
            return None
        if log.seq != self._head:
            self._frames.drop(self._scan_id)
            self._head = log.seq
        key = (position, codec.name, only)
        known = self._frames.get(self._scan_id, key)
        if known is None:
            known = _frame(log, position, codec, only) if news else _end(log, position, codec)
            self._frames.put(self._scan_id, key, known)
        return known


def _frame(log: ScanLog, position: Position, codec: Codec, only: Only | None) -> Encoded:
    frame = log.read(position, only)
    kind: MessageType = "snapshot" if frame.snapshot else "update"
    return Encoded(kind, codec.encode(frame_message(log, frame, codec)), frame.position)


def _end(log: ScanLog, position: Position, codec: Codec) -> Encoded:
    end = End(scan_id=log.scan_id, cursor=str(log.cursor(position)), status=log.folded.state.status)
    return Encoded("end", codec.encode(end), position)


class Flushes:
    """Which channels are to be flushed, and when: at once, or together with others in the same part of a tick."""

    def __init__(self, tick: float) -> None:
        self.tick = tick
        """Seconds between two flushes of one channel."""
        self._soon: deque[Flushable] = deque()
        self._later: dict[int, list[Channel]] = {}
        self._scheduled = False
        self._most = READERS_IN_TURN
        """What one turn tells; what its writes take is known afterwards only."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def now(self) -> float:
        """Seconds, of the loop's clock."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop.time()

    def soon(self, flushable: Flushable) -> None:
        """With the next turn of the loop."""
        flushable.pending = True
        self._soon.append(flushable)
        self._schedule()

    def later(self, channel: Channel, due: float) -> None:
        """Not before `due`."""
        channel.pending = True
        grain = ceil(due * GRAINS / self.tick)
        if (together := self._later.get(grain)) is None:
            together = self._later[grain] = []
            asyncio.get_running_loop().call_at(grain * self.tick / GRAINS, self._ripen, grain)
        together.append(channel)

    def _ripen(self, grain: int) -> None:
        self._soon.extend(self._later.pop(grain))
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Tell so many readers as others may wait for, then write to all of their connections."""
        self._scheduled = False
        began = monotonic()
        left = most = self._most
        written: list[Outlet] = []
        while self._soon and left > 0 and monotonic() < began + SECONDS_IN_TURN:
            flushable = self._soon.popleft()
            if flushable.pending:
                told, all_told = flushable.flush(max(left, READERS_A_WAKE), written)
                left -= told + 1
                if not all_told:
                    self._soon.appendleft(flushable)
        for outlet in written:
            outlet.flush()
        self._learn(most - left, monotonic() - began)
        if self._soon:
            self._schedule()

    def _learn(self, told: int, seconds: float) -> None:
        """Tell fewer in the next turn, if this one has taken long; step by step more, if not."""
        if seconds > SECONDS_IN_TURN:
            self._most = max(FEWEST_IN_TURN, int(told * SECONDS_IN_TURN / seconds))
        else:
            self._most = min(READERS_IN_TURN, self._most * 2)


class Reader:
    """One reader's wait for news of a scan."""

    def __init__(self) -> None:
        self.channel: Channel
        self._event = anyio.Event()

    def wake(self) -> None:
        """There may be news."""
        self._event.set()

    async def woken(self, seconds: float) -> bool:
        """Wait until there may be news; False if the time was over before."""
        with anyio.move_on_after(seconds) as waiting:
            await self._event.wait()
        self._event = anyio.Event()
        return not waiting.cancelled_caught


class Fanout:
    """The channels of all scans that somebody follows."""

    def __init__(self, hub: Hub, *, tick: float = TICK_SECONDS) -> None:
        self._hub = hub
        self._frames = FrameCache[Encoded]()
        self.flushes = Flushes(tick)
        self._channels: dict[ScanId, Channel] = {}

    def channel(self, scan_id: ScanId) -> Channel:
        """The scan's channel; whoever joins its readers is to `leave` it again."""
        channel = self._channels.get(scan_id)
        if channel is None:
            channel = self._channels[scan_id] = Channel(self._hub, scan_id, self._frames, self.flushes)
        return channel

    def left(self, scan_id: ScanId) -> None:
        """Somebody has left the scan's channel; with its last reader it is closed."""
        channel = self._channels.get(scan_id)
        if channel is not None and not len(channel):
            channel.close()
            del self._channels[scan_id]

    @contextmanager
    def following(self, scan_id: ScanId, wake: Wake) -> Iterator[Channel]:
        """Have `wake` called when there may be news of the scan; read the frames from the channel."""
        channel = self.channel(scan_id)
        channel.wakes.add(wake)
        try:
            yield channel
        finally:
            channel.wakes.discard(wake)
            self.left(scan_id)

    @contextmanager
    def reading(self, scan_id: ScanId) -> Iterator[Reader]:
        """A reader that waits for itself."""
        reader = Reader()
        with self.following(scan_id, reader.wake) as reader.channel:
            yield reader

    def readers(self) -> int:
        """How many readers follow anything."""
        return sum(map(len, self._channels.values()))

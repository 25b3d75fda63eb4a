"""From one log to many readers: wakes them at most once a tick, and encodes each frame once for all of them.

The first change goes out at once, then at most one flush a scan each `TICK_SECONDS`, the end at once. The tick is
conflation and encode-once in one place: waking a reader costs more than the frame that it shares with the others.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal, NamedTuple, TypeAlias

import anyio

from scanstream.errors import Expired
from scanstream.log.cursor import Position
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.message import End
from scanstream.model import Only, ScanId
from scanstream.push.codec import Codec, Payload, error_message, frame_message
from scanstream.push.frames import FrameCache

TICK_SECONDS = 0.025

Wake = Callable[[], None]


MessageType: TypeAlias = Literal["snapshot", "update", "end", "error"]


class Encoded(NamedTuple):
    """What a reader is told of a scan, as it leaves."""

    type: MessageType
    payload: Payload
    position: Position
    """Where its reader is afterwards."""

    @property
    def last(self) -> bool:
        """Whether nothing more comes of this scan."""
        return self.type in ("end", "error")


class Channel:
    """One scan's readers on this node."""

    def __init__(self, hub: Hub, scan_id: ScanId, frames: FrameCache[Encoded]) -> None:
        self.readers: set[Wake] = set()
        self._scan_id = scan_id
        self._frames = frames
        self._head = -1
        self._flushed_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._watching = ExitStack()
        self._watching.enter_context(hub.watching(scan_id, self._notice))

    def close(self) -> None:
        """Let go of the scan."""
        self._watching.close()
        self._frames.drop(self._scan_id)
        if self._timer is not None:
            self._timer.cancel()

    def _notice(self, log: ScanLog) -> None:
        due = self._flushed_at + TICK_SECONDS
        if log.ended or self._loop.time() >= due:
            self._flush()
        elif self._timer is None:
            self._timer = self._loop.call_at(due, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flushed_at = self._loop.time()
        for wake in tuple(self.readers):
            wake()

    def next(self, log: ScanLog, position: Position, codec: Codec, only: Only | None = None) -> Encoded | None:
        """What a reader at a position is to be told now; None while there is nothing.

        A frame, then the end of a terminal scan; of one whose time is over, that it has expired.
        """
        if log.expired:
            expired = Expired("This scan has expired. Please initiate a new scan.", scan_id=log.scan_id)
            return Encoded("error", codec.encode(error_message(expired)), position)
        if log.news(position, only):
            return self._frame(log, position, codec, only)
        if log.ended:
            end = End(scan_id=log.scan_id, cursor=str(log.cursor(position)), status=log.folded.state.status)
            return Encoded("end", codec.encode(end), position)
        return None

    def _frame(self, log: ScanLog, position: Position, codec: Codec, only: Only | None) -> Encoded:
        """The next frame, encoded once for all who are at this position and want the same."""
        if log.seq != self._head:
            self._frames.drop(self._scan_id)
            self._head = log.seq
        key = (position, codec.name, only)
        known = self._frames.get(self._scan_id, key)
        if known is not None:
            return known
        frame = log.read(position, only)
        kind: MessageType = "snapshot" if frame.snapshot else "update"
        encoded = Encoded(kind, codec.encode(frame_message(log, frame)), frame.position)
        self._frames.put(self._scan_id, key, encoded)
        return encoded


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

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._frames = FrameCache[Encoded]()
        self._channels: dict[ScanId, Channel] = {}

    @contextmanager
    def following(self, scan_id: ScanId, wake: Wake) -> Iterator[Channel]:
        """Have `wake` called when there may be news of the scan; read the frames from the channel."""
        channel = self._channels.get(scan_id)
        if channel is None:
            channel = self._channels[scan_id] = Channel(self._hub, scan_id, self._frames)
        channel.readers.add(wake)
        try:
            yield channel
        finally:
            channel.readers.discard(wake)
            if not channel.readers:
                channel.close()
                self._channels.pop(scan_id, None)

    @contextmanager
    def reading(self, scan_id: ScanId) -> Iterator[Reader]:
        """A reader that waits for itself."""
        reader = Reader()
        with self.following(scan_id, reader.wake) as reader.channel:
            yield reader

    def readers(self) -> int:
        """How many readers follow anything."""
        return sum(len(channel.readers) for channel in self._channels.values())

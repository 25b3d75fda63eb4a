"""From one log to many readers: tells them at most once a tick, and makes each frame once for all of them.

The first change goes out at once, then at most one flush a scan each tick, the end at once (push/flushes.py). Flushes
of many scans are made together: a connection that follows several of them is written to once.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Literal, Protocol, TypeAlias

import anyio

from scanstream.errors import Expired, StoreUnavailable
from scanstream.log.cursor import Position
from scanstream.log.entry import newer_words
from scanstream.log.hub import LEFT_SECONDS, Hub
from scanstream.log.scanlog import ScanLog
from scanstream.message import End
from scanstream.model import Only, ScanId
from scanstream.push.codec import Codec, Payload, error_message, frame_message
from scanstream.push.flushes import BYTES_A_READER, READERS_A_WAKE, TICK_SECONDS, Flushes
from scanstream.push.frames import FrameCache
from scanstream.push.outgoing import Outgoing
from scanstream.push.outlet import Outlet
from scanstream.push.resumes import Resumes

FEW = 8
"""Readers that are told without a walk that could be broken off."""

Wake = Callable[[], None]

MessageType: TypeAlias = Literal["snapshot", "update", "end", "error"]


class Encoded(Outgoing):
    """What a reader is told of a scan, as it leaves."""

    __slots__ = ("position", "skipped", "type")

    def __init__(self, type: MessageType, payload: Payload, position: Position, skipped: int = 0) -> None:
        super().__init__(payload)
        self.type = type
        self.position = position
        """Where its reader is afterwards."""
        self.skipped = skipped
        """Revisions folded into it beyond the first."""

    @property
    def last(self) -> bool:
        """Whether nothing more comes of this scan."""
        return self.type in ("end", "error")


class Told:
    """What readers were told: numbers that grow."""

    __slots__ = ("messages", "skipped")

    def __init__(self) -> None:
        self.messages = 0
        self.skipped = 0
        """Revisions that readers were told together with later ones."""

    def add(self, message: Encoded, readers: int = 1) -> None:
        """So many readers were told this."""
        self.messages += readers
        self.skipped += message.skipped * readers


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

    def fail(self, error: Exception) -> None:
        """What there is to tell cannot be made."""
        ...


class Channel:
    """One scan's readers on this node."""

    def __init__(self, hub: Hub, scan_id: ScanId, frames: FrameCache[Encoded], flushes: Flushes, told: Told) -> None:
        self.wakes: set[Wake] = set()
        """Of readers that fetch what is new themselves."""
        self.followers: dict[Follower, None] = {}
        self.pending = False
        """Whether a flush is to come, or is under way."""
        self._scan_id = scan_id
        self._frames = frames
        self._flushes = flushes
        self._told = told
        self._head = -1
        self._flushed_at = float("-inf")
        self._since: float | None = None
        """When the first change came that is not told yet, and of the flush that is under way …"""
        self._telling_since = 0.0
        """… the first that it tells."""
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
        now = self._flushes.now()
        if self._since is None:
            self._since = now
        if self._walk is not None:
            self._changed = True
            return
        due = self._flushed_at + self._flushes.tick
        if log.ended or now >= due:
            self._flushes.soon(self)
        elif not self.pending:
            self._flushes.later(self, due)

    def flush(self, most: int, written: list[Outlet]) -> tuple[int, bool]:
        """See `Flushable.flush`."""
        if self._walk is None:
            self._flushed_at = now = self._flushes.now()
            self._telling_since, self._since = now if self._since is None else self._since, None
            walk = iter(tuple(self.followers))
            if len(self.followers) <= FEW and not self.wakes:
                self.pending = False
                self._flushes.delays.add(now - self._telling_since)
                if (told := self._tell(walk, most, written)) < most:
                    return told, True
                self._telling_since = self._flushes.now()  # what is left of it
                self.pending = True
                self._walk, self._waking = walk, iter(())
                return told, False
            self._walk, self._waking = walk, iter(tuple(self.wakes))
        told = self._tell(self._walk, most, written)
        for wake in islice(self._waking, max(0, most - told) // READERS_A_WAKE):
            told += READERS_A_WAKE
            if wake in self.wakes:
                wake()
        if told > most - READERS_A_WAKE:
            return told, False
        self._walk = None
        self.pending = False
        self._flushes.delays.add(self._flushes.now() - self._telling_since)
        if self._changed:
            self._changed = False
            self._notice(self._log)
        return told, True

    def fail(self, error: Exception) -> None:
        """See `Flushable.fail`."""
        self._walk = None
        for follower in tuple(self.followers):
            follower.fail(error)

    def _tell(self, followers: Iterator[Follower], most: int, written: list[Outlet]) -> int:
        """Most are at the same position and want the same: what they are told is looked up where one is elsewhere.

        As for the count see `Flushable.flush`.
        """
        log, told, alone, sent = self._log, 0, self._flushes.alone, 0
        position: Position | None = None
        codec, only, message, more, weight = None, None, None, False, 0
        for follower in followers:
            told += 1
            outlet = follower.outlet
            if not outlet.ready:
                follower.notice()
                if told >= most:
                    break
                continue
            if follower.position is not position or follower.codec is not codec or follower.only is not only:
                if sent and message is not None:
                    self._told.add(message, sent)
                    sent = 0
                position, codec, only = follower.position, follower.codec, follower.only
                message = self.next(log, position, codec, only)
                if message is not None:
                    more = log.over or log.news(message.position, only)
                    weight = len(message) // BYTES_A_READER
            if message is not None:
                told += weight
                sent += 1
                follower.position = message.position
                if alone and not more:
                    outlet.push(message)
                else:
                    outlet.put(message)
                    written.append(outlet)
                    if more:
                        follower.told(message)
            if told >= most:
                break
        if sent and message is not None:
            self._told.add(message, sent)
        return told

    def next(self, log: ScanLog, position: Position, codec: Codec, only: Only | None = None) -> Encoded | None:
        """What a reader at a position is to be told now; None while there is nothing.

        A frame, then the end of a terminal scan; of one whose time is over, that it has expired, of one that is left to
        other nodes, that they have it. Made once for all who are at this position and want the same.
        """
        if log.left:
            left = StoreUnavailable(newer_words("while it was followed"), retry_after=LEFT_SECONDS, scan_id=log.scan_id)
            return Encoded("error", codec.encode(error_message(left)), position)
        if log.expired:
            expired = Expired.of(log.scan_id)
            return Encoded("error", codec.encode(error_message(expired)), position)
        news = log.news(position, only)
        if not news and not log.ended:
            return None
        make = _frame if news else _end
        if len(self) == 1:  # there is nobody to share it with
            return make(log, position, codec, only)
        if log.seq != self._head:
            self._frames.drop(self._scan_id)
            self._head = log.seq
        key = (position, codec.name, only)
        known = self._frames.get(self._scan_id, key)
        if known is None:
            known = make(log, position, codec, only)
            self._frames.put(self._scan_id, key, known)
        return known


def _frame(log: ScanLog, position: Position, codec: Codec, only: Only | None) -> Encoded:
    frame = log.read(position, only)
    kind: MessageType = "snapshot" if frame.snapshot else "update"
    return Encoded(kind, codec.encode(frame_message(log, frame, codec)), frame.position, frame.skipped)


def _end(log: ScanLog, position: Position, codec: Codec, _: Only | None) -> Encoded:
    end = End(scan_id=log.scan_id, cursor=str(log.cursor(position)), status=log.folded.state.status)
    return Encoded("end", codec.encode(end), position)


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
        self.told = Told()
        self.resumes = Resumes()
        self._channels: dict[ScanId, Channel] = {}

    def channel(self, scan_id: ScanId) -> Channel:
        """The scan's channel; whoever joins its readers is to `leave` it again."""
        channel = self._channels.get(scan_id)
        if channel is None:
            channel = self._channels[scan_id] = Channel(self._hub, scan_id, self._frames, self.flushes, self.told)
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

    def telling(self, scan_id: ScanId) -> bool:
        """Whether somebody is still to be told what has changed of the scan."""
        channel = self._channels.get(scan_id)
        return channel is not None and channel.pending

    def readers(self) -> int:
        """How many readers follow anything."""
        return sum(map(len, self._channels.values()))

"""What one connection follows, and what it is told next: each scan has its turn, one message at a time.

A scan that goes on is a position, told by its channel whenever the outlet is ready. Of one that has ended and could not
be told to its end at once only the place is kept; its log is held on its turn, which takes a task: else there is none.
"""

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import anyio

from scanstream.errors import StoreUnavailable
from scanstream.log.cursor import Position
from scanstream.log.scanlog import ScanLog
from scanstream.model import Only, ScanId
from scanstream.push.codec import Codec
from scanstream.push.ended import Ended, Place
from scanstream.push.fanout import Channel, Encoded, Fanout
from scanstream.push.flushes import BYTES_A_READER
from scanstream.push.outlet import NOWHERE, Outlet, Start, nothing

MOST_BYTES = 64 * 1024
"""What one reader is told in a turn, but for the last frame of it; the kernel may take megabytes at once."""

AGAIN_SECONDS = 1.0
"""When it is tried again at the earliest to read a scan that the store could not read."""

Find = Callable[[ScanId], Awaitable[ScanLog]]


class Followed:
    """One live scan of a connection: a position in its log, in the hands of the scan's channel."""

    __slots__ = ("_following", "channel", "codec", "log", "only", "outlet", "position")

    def __init__(self, following: "Following", log: ScanLog, position: Position, only: Only | None) -> None:
        self._following = following
        self.log = log
        self.position = position
        self.only = only
        self.outlet: Outlet = following.outlet
        self.codec = following.codec
        self.channel: Channel = following.fanout.channel(log.scan_id)
        self.channel.followers[self] = None

    def leave(self) -> None:
        """Let go of the scan."""
        self.outlet = NOWHERE
        self.channel.followers.pop(self, None)
        self._following.fanout.left(self.log.scan_id)

    @property
    def due(self) -> bool:
        """Whether there is a message for its reader: a frame, the end, or why nothing more comes."""
        return self.log.news(self.position, self.only) or self.log.over or self.log.expired

    def next(self) -> Encoded | None:
        """The message that is to be put now; None while there is none."""
        return self.channel.next(self.log, self.position, self.codec, self.only)

    def told(self, message: Encoded) -> None:
        """See `Follower.told`."""
        self._following.told(self, message)

    def notice(self) -> None:
        """See `Follower.notice`."""
        self._following.wait(self)

    def fail(self, error: Exception) -> None:
        """See `Follower.fail`."""
        error.add_note(f"It was to be told of {self.log.scan_id}")
        self._following.fail(error)


class Following:
    """All that one connection follows."""

    __slots__ = (
        "_ended",
        "_ended_is_next",
        "_find",
        "_live",
        "_start",
        "_taking_up",
        "_waiting",
        "codec",
        "delayed",
        "failed",
        "fanout",
        "outlet",
        "pending",
    )

    def __init__(self, outlet: Outlet, codec: Codec, fanout: Fanout, find: Find, start: Start) -> None:
        self.outlet = outlet
        self.codec = codec
        self.fanout = fanout
        self.failed: Callable[[Exception], Coroutine[Any, Any, None]] | None = None
        """Called where a scan cannot be told; nothing more is told then."""
        self.delayed: Callable[[StoreUnavailable], Coroutine[Any, Any, None]] | None = None
        """Called where one cannot be told now: it is when the store is back, and the others go on."""
        self._find = find
        self._start = start
        self._live: dict[ScanId, Followed] = {}
        self._waiting: dict[ScanId, None] | None = None
        """Those of the live ones that may have a message, which the outlet had no room for."""
        self._ended: Ended | None = None
        self._ended_is_next = False
        self._taking_up = False
        self.pending = False
        """See `Flushable.pending`."""
        outlet.drained = self._come_back

    def __contains__(self, scan_id: ScanId) -> bool:
        return scan_id in self._live or (self._ended is not None and scan_id in self._ended)

    def __len__(self) -> int:
        return len(self._live) + (0 if self._ended is None else len(self._ended))

    def begin(self, log: ScanLog, position: Position, only: Only | None) -> None:
        """Follow a scan from now on, in place of an older wish for it: what was put already and its first frame go
        together."""
        self.drop(log.scan_id)
        if log.ended and not log.news(position, only):
            self.park(log.scan_id, Place(position, only))
        else:
            self._live[log.scan_id] = followed = Followed(self, log, position, only)
            self._advance(followed)
        self.fill()

    def add(self, log: ScanLog, position: Position, only: Only | None) -> None:
        """One more that goes on: what there is to say of it is said with the next `fill`, in its turn."""
        followed = self._live[log.scan_id] = Followed(self, log, position, only)
        if followed.due:
            self.wait(followed)

    def drop(self, scan_id: ScanId) -> None:
        """Nothing more is to be told of this scan."""
        if self._ended is not None:
            self._ended.drop(scan_id)
        followed = self._live.pop(scan_id, None)
        if followed is not None:
            followed.leave()

    def close(self) -> None:
        """Follow nothing any more."""
        for followed in self._live.values():
            followed.leave()
        self._live.clear()
        self._waiting = None
        if self._ended is not None:
            self._ended.close()
            self._ended = None
        self.failed = self.delayed = None
        self.outlet.drained = nothing

    def told(self, followed: Followed, message: Encoded) -> None:
        """This one was told something by its channel, which flushes; there may be more to tell, in its turn."""
        put = len(message)
        if message.last:
            self.drop(followed.log.scan_id)
        elif self._may_go_on(followed, put):
            put = self._advance(followed, put)
        elif followed.due:
            self.wait(followed)
        self._put(put)

    def wait(self, followed: Followed) -> None:
        """There is news of this one, and no room. If it has ended, nobody knows for how long its log would be held."""
        if self._live.get(followed.log.scan_id) is not followed:
            return
        if followed.log.ended:
            self._park_live(followed)
            return
        if self._waiting is None:
            self._waiting = {}
        self._waiting[followed.log.scan_id] = None

    def _come_back(self) -> None:
        """There is something to tell, and room: in its turn, as one that reads fast has room at once again."""
        if not self.pending:
            self.fanout.flushes.soon(self)

    def flush(self, most: int, _: list[Outlet]) -> tuple[int, bool]:
        """See `Flushable.flush`."""
        self.pending = False
        return self.fill() // BYTES_A_READER, True

    def fill(self) -> int:
        """Hand over what is to be told, by turns, as long as there is room; so many bytes."""
        put = self._put()
        self.outlet.flush()
        return put

    def _put(self, put: int = 0) -> int:
        """`put`: the bytes that were put in this turn by now; beyond `MOST_BYTES` it goes on in another."""
        outlet = self.outlet
        while outlet.ready:
            if put >= MOST_BYTES:
                if self._waiting or self._ended:
                    self._come_back()
                break
            self._ended_is_next = not self._ended_is_next
            first, second = (self._of_ended, self._of_live) if self._ended_is_next else (self._of_live, self._of_ended)
            if (after := first(put)) is None and (after := second(put)) is None:
                break
            put = after
        return put

    def _of_live(self, put: int) -> int | None:
        """Put what comes next of the live scan that waits longest; None if there was none. As for bytes see `_put`."""
        if not self._waiting:
            self._waiting = None
            return None
        scan_id = next(iter(self._waiting))
        del self._waiting[scan_id]
        followed = self._live.get(scan_id)
        return put if followed is None else self._advance(followed, put)

    def _advance(self, followed: Followed, put: int = 0) -> int:
        """Put what comes next of this one, and leave the rest for its next turn. As for bytes see `_put`."""
        while (message := followed.next()) is not None:
            followed.position = message.position
            self.fanout.told.add(message)
            self.outlet.put(message)
            put += len(message)
            if message.last:
                self.drop(followed.log.scan_id)
                break
            if not followed.due:
                break
            if not self._may_go_on(followed, put):
                self.wait(followed)
                break
        return put

    def _may_go_on(self, followed: Followed, put: int) -> bool:
        """One that has ended is told to its end at once, while there is room and no other waits for it."""
        room = put < MOST_BYTES and self.outlet.ready
        return room and followed.log.ended and not self._waiting and not self._ended

    # Those that have ended

    def _park_live(self, followed: Followed) -> None:
        scan_id = followed.log.scan_id
        self.drop(scan_id)
        self.park(scan_id, Place(followed.position, followed.only))

    def park(self, scan_id: ScanId, place: Place) -> None:
        """One more that has ended: it is told in its turn."""
        if self._ended is None:
            self._ended = Ended(self._find, self.fanout, self.codec)
        self._ended.park(scan_id, place)

    def _of_ended(self, put: int) -> int | None:
        """Put what comes next of the first that has ended, if it is taken up; else None. As for bytes see `_put`."""
        if not self._ended:
            if not self._taking_up:
                self._ended = None
            return None
        message = self._ended.next(next(iter(self._ended)))
        if message is None:
            self._take_up()
            return None
        self.outlet.put(message)
        return put + len(message)

    def _take_up(self) -> None:
        if not self._taking_up:
            self._taking_up = True
            self._start(self._taken_up)

    async def _taken_up(self) -> None:
        """Fetch the log of the first; it may be dropped meanwhile, or be read from elsewhere."""
        ended = self._ended
        try:
            if ended:
                await ended.take_up(next(iter(ended)))
        except StoreUnavailable as error:
            await self._wait_for_store(error)
        except Exception as error:
            self.fail(error)
        finally:
            self._taking_up = False
        self._come_back()

    async def _wait_for_store(self, error: StoreUnavailable) -> None:
        """Say so, and let some time go by: what has ended keeps."""
        if self.delayed is not None:
            await self.delayed(error)
        await anyio.sleep(max(AGAIN_SECONDS, error.retry_after or 0))

    def fail(self, error: Exception) -> None:
        """A scan cannot be told: whoever follows hears that, if they are there still."""
        failed = self.failed
        self.close()
        if failed is not None:
            self._start(partial(failed, error))

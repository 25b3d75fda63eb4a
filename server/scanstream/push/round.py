"""The scans of one `follow`: where the reader of each is, and whose turn it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import anyio

from scanstream.errors import ScanstreamError
from scanstream.log.cursor import Position
from scanstream.log.scanlog import ScanLog
from scanstream.model import Only, ScanId
from scanstream.push.codec import JSON
from scanstream.push.ended import Ended, Place, refused
from scanstream.push.fanout import Encoded, Fanout, Wake
from scanstream.push.following import Find, Following
from scanstream.push.outlet import nothing
from scanstream.push.subscription import Subscription


class Round:
    """Each scan has its turn, one message at a time; a stream tells one that has ended to its end before the next."""

    def __init__(self, find: Find, fanout: Fanout) -> None:
        self._fanout = fanout
        self._absent: list[Encoded] = []
        self._live: dict[ScanId, Subscription] = {}
        self._ready: dict[ScanId, None] = {}
        """Those of the live ones that may have a message."""
        self._ended = Ended(find, fanout, JSON)
        self._live_is_next = True
        self._is_woken = False
        self._woken: anyio.Event | None = None
        """There is one while a task waits."""
        self.told: Wake = nothing
        """Called when there may be a message."""

    def refuse(self, error: ScanstreamError) -> None:
        """One that cannot be followed: that is said of it, once."""
        self._absent.append(refused(error, JSON))

    def add(self, log: ScanLog, position: Position, only: Only | None) -> None:
        """One more scan."""
        if log.ended:
            self._ended.park(log.scan_id, Place(position, only))
        else:
            self._live[log.scan_id] = Subscription(log, position, only)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Be told of news in here."""
        try:
            self.open()
            yield
        finally:
            self.close()

    def open(self) -> None:
        """Be told of news from now on, until it is closed again."""
        for scan_id, subscription in self._live.items():
            subscription.open(self._fanout, partial(self._wake, scan_id))
            if subscription.due:
                self._ready[scan_id] = None

    def close(self) -> None:
        """Let go of all scans, but not of where their readers are."""
        for subscription in self._live.values():
            subscription.close()
        self._ended.let_go()

    def hand_over(self, following: Following) -> None:
        """All that is to be told is told there, and not here."""
        outlet = following.outlet
        for message in self._absent:
            outlet.put(message)
        for scan_id in self._ended:
            following.park(scan_id, self._ended.place(scan_id))
        for subscription in self._live.values():
            following.add(subscription.log, subscription.position, subscription.only)
        self._absent.clear()
        self._live.clear()
        self._ended.close()

    @property
    def over(self) -> bool:
        """Whether nothing more will come of any of them."""
        return not self._live and not self._ended and not self._absent

    @property
    def due(self) -> bool:
        """Whether there is a message."""
        ready = (self._live.get(scan_id) for scan_id in self._ready)
        return bool(self._absent or self._ended) or any(subscription and subscription.due for subscription in ready)

    def wake(self) -> None:
        """There is something beside the scans to look at."""
        self._is_woken = True
        if self._woken is not None:
            self._woken.set()

    def _wake(self, scan_id: ScanId) -> None:
        self._ready[scan_id] = None
        self.told()
        self.wake()

    async def woken(self, seconds: float) -> None:
        """Wait until there may be a message, or the time is over."""
        if not self._is_woken:
            self._woken = anyio.Event()
            with anyio.move_on_after(seconds):
                await self._woken.wait()
            self._woken = None
        self._is_woken = False

    async def next(self) -> Encoded | None:
        """The message that is to be sent now, of live and ended scans by turns; None while there is none.

        :raises StoreUnavailable: if a scan that has ended cannot be read now
        """
        if self._absent:
            return self._absent.pop(0)
        while self._ready or self._ended:
            live = bool(self._ready) and (self._live_is_next or not self._ended)
            self._live_is_next = not live
            message = self._of_live() if live else await self._of_ended(next(iter(self._ended)))
            if message is not None:
                return message
        return None

    async def all(self, most_bytes: int) -> list[bytes]:
        """The messages that are to be sent now, at most one a scan, and no further one beyond so many bytes.

        :raises StoreUnavailable: if a scan that has ended cannot be read now
        """
        taken = [_bytes(message) for message in self._absent]
        self._absent.clear()
        ended = tuple(self._ended)
        for _ in range(len(self._ready)):
            if sum(map(len, taken)) < most_bytes and (message := self._of_live()):
                taken.append(_bytes(message))
        for scan_id in ended:
            if sum(map(len, taken)) < most_bytes and (message := await self._of_ended(scan_id)):
                taken.append(_bytes(message))
        return taken

    def _of_live(self) -> Encoded | None:
        """What there is to say of the first that may have a message; if there is more, it is behind the others now."""
        scan_id = next(iter(self._ready))
        del self._ready[scan_id]
        subscription = self._live.get(scan_id)
        message = subscription.next(JSON) if subscription else None
        if subscription is None or message is None:
            return None
        self._fanout.told.add(message)
        subscription.position = message.position
        if message.last or subscription.log.ended:
            del self._live[scan_id]
            subscription.close()
        elif subscription.due:
            self._ready[scan_id] = None
        if not message.last and subscription.log.ended:
            self._ended.park(scan_id, Place(message.position, subscription.only))
        return message

    async def _of_ended(self, scan_id: ScanId) -> Encoded | None:
        await self._ended.take_up(scan_id)
        return self._ended.next(scan_id)


def _bytes(message: Encoded) -> bytes:
    return str(message.payload).encode()

"""What a client follows: each scan's mirror, once however often it is followed, and who waits for news of it."""

from collections.abc import Callable, Iterator

import anyio

from scanstream.client.mirror import Mirror
from scanstream.errors import ScanstreamError
from scanstream.message import MOST_FOLLOWED
from scanstream.model import Document, Only


class Bell:
    """Rung as often as one likes; wakes all who wait just then."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def ring(self) -> None:
        """Wake them."""
        self._event.set()
        self._event = anyio.Event()

    async def rung(self) -> None:
        """The next time."""
        await self._event.wait()


class Feed:
    """One scan that is followed: what is held of it, and whether more may come."""

    def __init__(self, scan_id: str, mirror: Mirror, only: Only | None) -> None:
        self.scan_id = scan_id
        self.mirror = mirror
        self.only: Only | None = only
        self.error: ScanstreamError | None = None
        """Why nothing more comes, where that is no end of the scan's."""
        self.bell = Bell()
        self.users = 0
        self.heard: Callable[[Document], None] | None = None
        """Called with each message that is taken, as it came."""

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.mirror.ended or self.error is not None

    def widen(self) -> None:
        """Somebody wants all of what is held in part: the next frame is to be a snapshot, which brings it."""
        self.only, self.mirror.lacking = None, True


class Feeds:
    """What is followed on one line just now, by id; what changes that rings the bell. What is over is not held here."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self.bell = Bell()

    def __iter__(self) -> Iterator[Feed]:
        """As of now, whatever changes meanwhile."""
        return iter([*self._feeds.values()])

    def __len__(self) -> int:
        return len(self._feeds)

    def __contains__(self, scan_id: str) -> bool:
        return scan_id in self._feeds

    def get(self, scan_id: str) -> Feed | None:
        """That of a scan."""
        return self._feeds.get(scan_id)

    @property
    def full(self) -> bool:
        """Whether these are as many as one connection may follow."""
        return len(self) >= MOST_FOLLOWED

    def follow(self, scan_id: str, mirror: Mirror, only: Only | None) -> Feed:
        """That of a scan, with as much in it as is wanted here, or more.

        :param mirror: what is held so far, where this client does not follow it yet
        """
        feed = self._feeds.get(scan_id)
        if feed is None:
            feed = self._feeds[scan_id] = Feed(scan_id, mirror, only)
        elif only is None and (feed.only is not None or mirror.base < feed.mirror.base):
            feed.widen()
        feed.users += 1
        self.bell.ring()
        return feed

    def leave(self, feed: Feed) -> None:
        """One less wants it."""
        feed.users -= 1
        if feed.users == 0:
            self._drop(feed)

    def end(self, feed: Feed, error: ScanstreamError | None = None) -> None:
        """Nothing more will come of it; `error` says why where that is no end of the scan's."""
        feed.error = error
        self._drop(feed)

    def fail(self, error: ScanstreamError) -> None:
        """Nothing more comes of any."""
        for feed in self:
            self.end(feed, error)

    def _drop(self, feed: Feed) -> None:
        if self._feeds.get(feed.scan_id) is feed:
            del self._feeds[feed.scan_id]
        feed.bell.ring()
        self.bell.ring()

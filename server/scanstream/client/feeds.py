"""What a client follows: each scan's mirror, once however often it is followed, and who waits for news of it."""

from collections.abc import Iterator

import anyio

from scanstream.client.mirror import Mirror
from scanstream.errors import ScanstreamError, TooManySubscriptions
from scanstream.message import MOST_FOLLOWED
from scanstream.model import Only


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

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.mirror.ended or self.error is not None

    def fail(self, error: ScanstreamError) -> None:
        """Nothing more will come."""
        if not self.over:
            self.error = error
            self.bell.ring()

    def widen(self) -> None:
        """Somebody wants all of what is held in part: the next frame is to be a snapshot, which brings it."""
        self.only, self.mirror.cursor, self.mirror.ended = None, None, False


class Feeds:
    """All that one client follows, by id; what changes that rings the bell."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self.bell = Bell()

    def __iter__(self) -> Iterator[Feed]:
        """Those of which more may come."""
        return iter([feed for feed in self._feeds.values() if not feed.over])

    def __bool__(self) -> bool:
        """Whether there is one of which more may come."""
        return any(not feed.over for feed in self._feeds.values())

    def __contains__(self, scan_id: str) -> bool:
        """Whether somebody wants it, be it over or not."""
        return scan_id in self._feeds

    def get(self, scan_id: str) -> Feed | None:
        """That of a scan, if more may come."""
        feed = self._feeds.get(scan_id)
        return None if feed is None or feed.over else feed

    def check(self) -> None:
        """Whether one more may be followed.

        :raises TooManySubscriptions: if not
        """
        if sum(1 for _ in self) >= MOST_FOLLOWED:
            raise TooManySubscriptions(f"This client follows {MOST_FOLLOWED} scans; close one, or open another client")

    def follow(self, scan_id: str, mirror: Mirror, only: Only | None) -> Feed:
        """That of a scan, with as much in it as is wanted here, or more.

        :param mirror: what is held so far, where this client does not follow it yet
        """
        feed = self._feeds.get(scan_id)
        if feed is None or feed.error is not None:
            feed = self._feeds[scan_id] = Feed(scan_id, mirror, only)
        elif only is None and (feed.only is not None or mirror.base < feed.mirror.base):
            feed.widen()
        feed.users += 1
        self.bell.ring()
        return feed

    def leave(self, feed: Feed) -> None:
        """One less wants it."""
        feed.users -= 1
        if feed.users == 0 and self._feeds.get(feed.scan_id) is feed:
            del self._feeds[feed.scan_id]
            self.bell.ring()

    def fail(self, error: ScanstreamError) -> None:
        """Nothing more comes of any."""
        for feed in self:
            feed.fail(error)
        self.bell.ring()

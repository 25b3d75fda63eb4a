"""The lines of one client: one, as long as the scans that are followed fit on it, and another for each 256 more."""

from collections.abc import Callable, Iterator

from anyio.abc import TaskGroup

from scanstream.client.feeds import Feed, Feeds
from scanstream.client.line import Line
from scanstream.client.mirror import Mirror
from scanstream.model import Only


class Lines:
    """See above. A line that nothing is followed on any more closes its connection, and is there for the next scans.

    :param make: a line for these feeds; the first one is asked for before any scan is followed
    """

    def __init__(self, make: Callable[[Feeds], Line]) -> None:
        self._make = make
        self._lines: list[tuple[Feeds, Line]] = []
        self._tasks: TaskGroup

    def open(self, tasks: TaskGroup) -> None:
        """They live in here."""
        self._tasks = tasks
        self._another()

    @property
    def followed(self) -> Iterator[Feed]:
        """All that is, on whichever of them."""
        return (feed for feeds, _ in self._lines for feed in feeds)

    def follow(self, scan_id: str, mirror: Mirror, only: Only | None) -> Feed:
        """See `Feeds.follow`; of a scan that is followed already on the same line."""
        of_it = (feeds for feeds, _ in self._lines if scan_id in feeds)
        with_room = (feeds for feeds, _ in self._lines if not feeds.full)
        feeds = next(of_it, None)
        if feeds is None:
            feeds = next(with_room, None)
        if feeds is None:
            feeds = self._another()
        return feeds.follow(scan_id, mirror, only)

    def leave(self, feed: Feed) -> None:
        """One less wants it."""
        for feeds, _ in self._lines:
            if feeds.get(feed.scan_id) is feed:
                feeds.leave(feed)

    def reconnect(self) -> None:
        """Begin anew, now."""
        for _, line in self._lines:
            line.reconnect()

    def _another(self) -> Feeds:
        feeds = Feeds()
        line = self._make(feeds)
        self._lines.append((feeds, line))
        self._tasks.start_soon(line.serve)
        return feeds

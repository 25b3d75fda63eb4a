"""The feed of one node: the logs of unfinished scans, then all that its consumer brings.

What was brought waits here until whoever folds it takes it. There may be so much, and beyond that no more is asked for.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from typing import NamedTuple

import anyio

from scanstream.engines.nats.decoding import entries_of
from scanstream.engines.nats.history import LOGGED
from scanstream.engines.nats.index import Scan
from scanstream.engines.nats.position import Position
from scanstream.log.entry import AnyEntry, NewerError, Registered, ScanFailed
from scanstream.log.refold import Crowd, Slices
from scanstream.model import ScanId

MOST_WAITING = 10_000
"""Messages …"""
MOST_BYTES_WAITING = 64 * 1024 * 1024
"""… and bytes of them that were brought, and that nobody has taken."""
MOST_TOLD = 1000
"""Scans of a newer version that the log names."""

Fed = tuple[ScanId, int, AnyEntry | None]
logger = logging.getLogger("scanstream")


class Brought(NamedTuple):
    """A message, and which scan it is of; None: of no log."""

    seq: int
    scan: Scan | None
    kind: str
    data: bytes


class Feed:
    """What waits for its one consumer: first the past up to a place in the stream, then what comes behind it."""

    def __init__(self) -> None:
        self.taken = Position()
        """Up to where all was taken; whoever has written waits for that."""
        self.reading = anyio.CancelScope()
        """Of whoever reads the past; cancelled with the feed."""
        self._past: deque[Brought] = deque()
        self._live: deque[Brought] = deque()
        self._begins: int | None = None
        """The end of the past, as soon as it is read."""
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._counts: dict[str, int] = {}
        """Entries of each unfinished scan that were given."""
        self._newer: set[str] = set()

    def full(self) -> bool:
        """Whether no more should be brought."""
        return len(self._past) + len(self._live) >= MOST_WAITING or self._bytes >= MOST_BYTES_WAITING

    def bring(self, brought: Brought) -> None:
        """What the node's consumer has read just now."""
        self._live.append(brought)
        self._bytes += len(brought.data)
        self._arrived.set()

    def bring_past(self, brought: Brought) -> None:
        """What stood in the stream before."""
        self._past.append(brought)
        self._bytes += len(brought.data)
        self._arrived.set()

    def past_is_whole(self, until: int) -> None:
        """All up to this place is brought; what the consumer brings goes on behind it."""
        self._begins = until
        while self._live and self._live[0].seq <= until:
            self._bytes -= len(self._live.popleft().data)
        self._arrived.set()

    def close(self) -> None:
        """Nobody takes it any more; whoever waits for that goes on."""
        self.reading.cancel()
        self.taken.close()

    async def items(self) -> AsyncGenerator[Fed, None]:
        """See `Store.feed`."""
        crowd = Crowd()  # of those who go on because of what is taken: writers, watchers
        while True:
            slices = Slices(crowd)
            while (brought := self._next()) is not None:
                for item in self._entries(brought):
                    yield item
                    await slices.turn()
                if self._begins is not None and brought.seq > self._begins:
                    self.taken.advance(brought.seq)
                    await slices.turn()
            self._arrived.clear()
            await self._arrived.wait()

    def _next(self) -> Brought | None:
        """What is to be taken next: nothing that came just now before all that is past."""
        if self._past:
            brought = self._past.popleft()
        elif self._begins is None:
            return None
        else:
            self.taken.advance(self._begins)
            if not self._live:
                return None
            brought = self._live.popleft()
        self._bytes -= len(brought.data)
        return brought

    def _entries(self, brought: Brought) -> Iterator[Fed]:
        """What a message adds to its log: nothing, where the log is not followed or is over."""
        scan = brought.scan
        if scan is None:
            return
        token = scan.token
        if brought.kind not in LOGGED:  # settled
            self._counts.pop(token, None)
            self._newer.discard(token)
            return
        count = self._counts.get(token, 0)
        if (brought.kind == "reg") == (count > 0):  # registered twice, or not followed from its beginning
            return
        try:
            entries = entries_of(scan.scan_id, [brought.data])
        except NewerError as error:
            self._leave(scan, error)
            yield scan.scan_id, 0, None
            return
        if not count and not isinstance(entries[0], Registered):
            return
        self._counts[token] = count + len(entries)
        for seq, entry in enumerate(entries, start=count + 1):
            if isinstance(entry, ScanFailed) and entry.code == "damaged":
                self._counts.pop(token)
            yield scan.scan_id, seq, entry

    def _leave(self, scan: Scan, error: NewerError) -> None:
        """The scan is another node's, which knows what this means."""
        self._counts.pop(scan.token, None)
        if scan.token not in self._newer and len(self._newer) < MOST_TOLD:
            self._newer.add(scan.token)
            logger.warning("%s is left to other nodes: %s", scan.scan_id, error.detail)

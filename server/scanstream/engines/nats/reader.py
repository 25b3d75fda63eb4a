"""What one node reads of the stream: at the start what scans hang on, then all, through one consumer of its own."""

import logging
from collections.abc import Callable, Iterable
from typing import NoReturn

import anyio

from scanstream.engines.nats.barrier import lasting
from scanstream.engines.nats.connection import Connection
from scanstream.engines.nats.feed import Brought, Feed
from scanstream.engines.nats.history import LOGGED
from scanstream.engines.nats.index import Index, Scan
from scanstream.engines.nats.position import Position
from scanstream.engines.nats.tail import Message, Reading, replay
from scanstream.errors import StoreUnavailable

READ_BACK_SECONDS = 3600
"""How long a mark is kept up to which the past is read: longer than that takes."""
FILTERED = 100
"""So many unfinished scans are read back by their names; of more, the logs of all from the first of them on."""
PAUSE_SECONDS = 0.2
SAID_EACH_SECONDS = 5.0

Listener = Callable[[str, bytes], None]
"""Called with a note's name and its value, on the loop; must not wait and must not raise."""

logger = logging.getLogger("scanstream")


class Reader:
    """One node's reading of one stream, and what it knows from that."""

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._names = connection.names
        self._stream = stream
        self._mark = self._names.barrier(connection.node)
        self.position = Position()
        """Up to where all was read."""
        self.index = Index(self._names, lambda subject: logger.error("NATS: %s cannot be read", subject))
        self.notes: dict[str, bytes] = {}
        self.own: dict[str, bytes] = {}
        """What the store remembers of itself."""
        self.feed: Feed | None = None
        self.trouble = "the stream is not read yet"
        """Why nothing is read just now; nothing, if it is."""
        self._listeners: list[tuple[str, Listener]] = []
        self._reading: Reading | None = None
        self._said = float("-inf")
        connection.when_back(self._begin_anew)

    def _begin_anew(self) -> None:
        if self._reading is not None:
            self._reading.lose("the connection was lost")

    def _all(self, patterns: Iterable[str]) -> list[str]:
        """Filters of subjects; our own marks are never left out."""
        return [*map(self._names.subject, patterns), self._mark]

    async def catch_up(self) -> None:
        """Read what all scans hang on, but not their logs, up to now.

        :raises StoreUnavailable: if the stream takes no mark
        """
        until = await lasting(self._connection, self._stream, READ_BACK_SECONDS)
        filters = self._all(("scan.*.*.reg", "scan.*.*.end", "scan.*.*.gone", "note.>"))
        first = self.position.seq + 1
        await replay(self._connection, self._stream, self._take, first=first, until=until, filters=filters)

    async def run(self) -> NoReturn:
        """Read what comes, for ever; anew behind what was read last, whenever something is missing.

        :raises RuntimeError: if there will be no connection any more
        """
        filters = self._all(("scan.>", "note.>"))
        while True:
            one = self._reading = Reading(
                self._connection, self._stream, self._take, full=self._full, awaited=self.position.awaited
            )
            try:
                async with one.open(self.position.seq + 1, filters):
                    self.trouble = ""
                    await one.lost()
                why = one.why
            except StoreUnavailable as error:
                why = error.detail
            self.trouble = f"the feed is interrupted: {why}"
            if self._connection.client.is_closed:
                raise RuntimeError("the connection to NATS is closed for good")
            if anyio.current_time() - self._said >= SAID_EACH_SECONDS:
                self._said = anyio.current_time()
                logger.warning("NATS: the feed begins anew behind %d: %s", self.position.seq, why)
            await anyio.sleep(PAUSE_SECONDS)

    def _full(self) -> bool:
        return self.feed is not None and self.feed.full()

    def _take(self, message: Message) -> None:
        scan, kind = None, ""
        match self._names.parts(message.subject):
            case ["scan", slot, token, kind]:
                scan = self.index.take(kind, slot, token, message)
            case ["note", "store", name]:
                self.own[name] = message.data
            case ["note", part]:
                self._note(self._names.noted(part), message.data)
        if self.feed is not None:
            self.feed.bring(Brought(message.seq, scan, kind, message.data))
        self.position.advance(message.seq)

    def _note(self, name: str, value: bytes) -> None:
        self.notes[name] = value
        for prefix, listener in self._listeners:
            if name.startswith(prefix):
                listener(name, value)

    def listen(self, prefix: str, listener: Listener) -> None:
        """Have the listener called with every note whose name begins so: those that are known, then as they come."""
        self._listeners.append((prefix, listener))
        for name, value in self.notes.items():
            if name.startswith(prefix):
                listener(name, value)

    async def read_back(self, feed: Feed) -> None:
        """Give the feed the logs of all scans that are unfinished now, then what comes."""
        with feed.reading:
            until = await self._marked()
            await self.position.reach(until)
            unfinished = {scan.token: scan for scan in self.index.unfinished() if scan.number <= until}
            if unfinished:
                await self._logs(unfinished, until, feed)
            feed.past_is_whole(until)

    async def _marked(self) -> int:
        """A mark in the stream, as soon as it takes one."""
        while True:
            try:
                return await lasting(self._connection, self._stream, READ_BACK_SECONDS)
            except StoreUnavailable as error:
                logger.warning("NATS: the feed cannot begin yet: %s", error.detail)
                await anyio.sleep(1)

    async def _logs(self, unfinished: dict[str, Scan], until: int, feed: Feed) -> None:
        def take(message: Message) -> None:
            match self._names.parts(message.subject):
                case ["scan", _, token, kind] if kind in LOGGED and (scan := unfinished.get(token)):
                    scan.queued |= kind == "go"
                    feed.bring_past(Brought(message.seq, scan, kind, message.data))

        if len(unfinished) <= FILTERED:
            filters = [*(self._names.scan(scan.slot, scan.token, ">") for scan in unfinished.values()), self._mark]
        else:
            filters = self._all(f"scan.*.*.{kind}" for kind in sorted(LOGGED))
        first = min(scan.number for scan in unfinished.values())
        await replay(self._connection, self._stream, take, first=first, until=until, filters=filters, full=feed.full)

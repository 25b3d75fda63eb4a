"""What one node reads of the stream: at the start what scans hang on, then all, through one consumer of its own."""

import logging
from collections import deque
from collections.abc import Callable
from typing import NoReturn

import anyio

from scanstream.engines.nats.answers import FullError
from scanstream.engines.nats.barrier import marked
from scanstream.engines.nats.clock import StreamClock
from scanstream.engines.nats.connection import Connection
from scanstream.engines.nats.feed import Brought, Feed
from scanstream.engines.nats.history import LOGGED
from scanstream.engines.nats.index import Index
from scanstream.engines.nats.position import Position
from scanstream.engines.nats.reserve import make_room
from scanstream.engines.nats.streams import of_scans, still_as
from scanstream.engines.nats.tail import Message, Reading, replay
from scanstream.errors import EngineUnusable, StoreUnavailable
from scanstream.telling import Telling

KINDS = ("reg", "end", "gone", "note")
"""What scans hang on; no node needs the logs of those that have ended."""
READ_AT_ONCE = 100_000
"""Messages in which the logs of unfinished scans may stand and are read all together, in a second or two. Of more …"""
READ_ALONE = 200
"""… so many logs are read one by one."""
PAUSE_SECONDS = 0.2
LOOK_SECONDS = 2.0
"""In which it is found out whether it is the same stream still."""
WITNESSES = 64
"""Messages that were read last, of scans that are not purged: by these it is known again …"""
ASKED_FOR = 4
"""… and so many of them are asked for, as some may be gone all the same."""

Listener = Callable[[str, bytes], None]
"""Called with a note's name and its value, on the loop; must not wait and must not raise."""

logger = logging.getLogger("scanstream")


class Reader:
    """One node's reading of one stream, and what it knows from that."""

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._names = connection.names
        self._stream = stream
        self.position = Position()
        """Up to where all was read."""
        self.clock = StreamClock()
        self.index = Index(self._names, lambda subject: logger.error("NATS: %s cannot be read", subject))
        self.notes: dict[str, bytes] = {}
        self.own: dict[str, bytes] = {}
        """What the store remembers of itself."""
        self.feed: Feed | None = None
        self.trouble = "the stream is not read yet"
        """Why nothing is read just now; nothing, if it is."""
        self._listeners: list[tuple[str, Listener]] = []
        self._reading: Reading | None = None
        self._telling = Telling()
        self._witnesses: deque[tuple[int, int, str]] = deque(maxlen=WITNESSES)
        """Place, time and scan of each."""
        connection.when_back(self._begin_anew)
        connection.when_changed(self._look_again)

    def _begin_anew(self) -> None:
        if self._reading is not None:
            self._reading.lose("the connection was lost")

    def _look_again(self) -> None:
        if self._reading is not None:
            self._reading.lose("the settings of a stream were changed")

    async def catch_up(self) -> None:
        """Read what all scans hang on, but not their logs, up to now.

        Each kind is read by itself, and the later ones of a scan's life later. So all is known that is known when the
        first of them is read up to its mark; what was written since comes again.

        :raises StoreUnavailable: if the stream takes no mark
        """
        marks: list[int] = []
        for kind in KINDS:
            marks.append(await self._mark(self._names.mark(self._connection.node, kind)))
            await self._replay(self._know, self.position.seq + 1, marks[-1], self._names.kind(kind))
        self.position.advance(marks[0])

    async def _mark(self, subject: str) -> int:
        try:
            return await marked(self._connection, self._stream, subject)
        except FullError:
            await make_room(self._connection, self._stream)
            return await marked(self._connection, self._stream, subject)

    async def _replay(self, take: Callable[[Message], object], first: int, until: int, only: str = "") -> None:
        await replay(self._connection, self._stream, take, first=first, until=until, only=only, full=self._full)

    async def run(self) -> NoReturn:
        """Read what comes, for ever; anew behind what was read last, whenever something is missing.

        :raises EngineUnusable: if it is another stream now: what this node knows is of no use there
        :raises RuntimeError: if there will be no connection any more
        """
        while True:
            one = self._reading = Reading(
                self._connection, self._stream, self._take, full=self._full, awaited=self.position.awaited
            )
            try:
                await self._require_same()
                async with one.open(self.position.seq + 1):
                    self.trouble = ""
                    await one.lost()
                why = one.why
            except StoreUnavailable as error:
                why = error.detail
            self.trouble = f"the feed is interrupted: {why}"
            if self._connection.client.is_closed:
                raise RuntimeError("the connection to NATS is closed for good")
            if self._telling.due():
                logger.warning("NATS: the feed begins anew behind %d: %s", self.position.seq, why)
            await anyio.sleep(0 if one.last else PAUSE_SECONDS)

    async def _require_same(self) -> None:
        """It is the stream that was read so far: of one made anew, or brought back, the places mean something else.

        :raises EngineUnusable: if it is not
        :raises StoreUnavailable: if nobody says, or there is none
        """
        if (known := self.own.get("identity")) is None:
            return
        await still_as(self._connection, of_scans(self._connection), LOOK_SECONDS)
        last = await self._connection.last(self._stream, self._names.own("identity"), patience=LOOK_SECONDS)
        there = b"" if last is None else last.data
        if there != known:
            raise EngineUnusable(
                f"The stream {self._stream} of NATS was emptied or made anew: it has the identity "
                f"{there.decode(errors='replace') or '(none)'}, and this node has read {known.decode()}; start it again"
            )
        await self._require_what_was_read()

    async def _require_what_was_read(self) -> None:
        """An older backup has the same identity, and may have gone further since: other messages at the same places.

        A message that is not there says nothing, as whoever answers may be behind; where the stream ends too early the
        next barrier says so.
        """
        known = [(seq, at) for seq, at, token in reversed(self._witnesses) if self.index.get(token) is not None]
        for seq, at in known[:ASKED_FOR]:
            there = await self._connection.at(self._stream, seq, patience=LOOK_SECONDS)
            if there is not None and there.at != at:
                raise EngineUnusable(
                    f"The stream {self._stream} of NATS was brought back as it was before, and has gone on from there: "
                    f"at {seq} stands another message than this node has read; start it again"
                )
            if there is not None:
                return

    def _full(self) -> bool:
        return self.feed is not None and self.feed.full()

    def _take(self, message: Message) -> None:
        self.clock.follow(message.at)
        brought = self._know(message)
        if self.feed is not None:
            self.feed.bring(brought)
        self.position.advance(message.seq)

    def _know(self, message: Message) -> Brought:
        """Note what the message says, whatever it is."""
        self.clock.hear(message.at)
        match self._names.parts(message.subject):
            case ["scan", "mark", _, _] | ["scan", _, _, "mark"]:
                pass
            case ["scan", slot, token, kind]:
                self._witnesses.append((message.seq, message.at, token))
                return Brought(message.seq, self.index.take(kind, slot, token, message), kind, message.data)
            case ["note", "store", name]:
                if self.own.setdefault(name, message.data) != message.data and self._reading is not None:
                    self._reading.lose("the store has another identity now")
            case ["note", part]:
                self._note(self._names.noted(part), message.data)
        return Brought(message.seq, None, "", b"")

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
            until = await self._marked(self._names.mark(self._connection.node, "past"))
            await self.position.reach(until)
            unfinished = {scan.token: scan for scan in self.index.unfinished() if scan.number <= until}

            def take(message: Message) -> None:
                match self._names.parts(message.subject):
                    case ["scan", _, token, kind] if kind in LOGGED and message.seq <= until:
                        if scan := unfinished.get(token):
                            scan.queued |= kind == "go"
                            feed.bring_past(Brought(message.seq, scan, kind, message.data))

            first = min((scan.number for scan in unfinished.values()), default=until)
            if until - first < READ_AT_ONCE or len(unfinished) > READ_ALONE:
                await self._replay(take, first, until)
            else:
                for scan in unfinished.values():
                    mark = await self._marked(self._names.scan(scan.slot, scan.token, "mark"))
                    await self._replay(take, scan.number, mark, self._names.scan(scan.slot, scan.token, ">"))
            feed.past_is_whole(until)

    async def _marked(self, subject: str) -> int:
        """A mark in the stream, as soon as it takes one."""
        while True:
            try:
                return await self._mark(subject)
            except StoreUnavailable as error:
                if self._telling.due():
                    logger.warning("NATS: the feed cannot begin yet: %s", error.detail)
                await anyio.sleep(1)

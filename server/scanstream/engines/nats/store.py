"""The store on NATS JetStream: many nodes write to one stream, and each reads all of it (reader.py).

What a node knows of scans it has from its own reading, in the stream's order. NATS is asked for two things only: what
to expect at a compare-and-set, where that is but a hint, and the log of a finished scan. names.py draws the stream.
"""

import random
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Literal

import anyio
import msgspec
from anyio import to_thread
from anyio.abc import TaskGroup

from scanstream.engines.nats.answers import RETRY_AFTER, ConflictError
from scanstream.engines.nats.barrier import Barrier
from scanstream.engines.nats.connection import START_SECONDS, Connection, connected
from scanstream.engines.nats.decoding import entries_of, packed
from scanstream.engines.nats.feed import Fed, Feed
from scanstream.engines.nats.history import log_of
from scanstream.engines.nats.index import End, Scan
from scanstream.engines.nats.names import token
from scanstream.engines.nats.options import NatsOptions
from scanstream.engines.nats.reader import Listener, Reader
from scanstream.engines.nats.registry import Registry
from scanstream.engines.nats.reserve import FULL, Reserve
from scanstream.engines.nats.streams import SCANS, of_scans, require_stream
from scanstream.engines.nats.writer import Writer
from scanstream.errors import Damaged, EngineUnusable, NotFound, StoreUnavailable
from scanstream.log.abreast import abreast
from scanstream.log.entry import AnyEntry, Queued, Registered
from scanstream.log.refold import encoded
from scanstream.model import Milliseconds, Principal, ScanId

MESSAGE_BYTES = 256 * 1024
"""Entries of an append that is larger are several messages: what is reserved where a store is full must be more."""
PURGED_AT_ONCE = 8
"""The server does nothing else while it purges: some milliseconds, where a scan's messages are far apart."""
GONE_SECONDS = 3600
"""How long the word of a purge is kept. A node that was away for longer purges for itself what has expired."""
LATEST_PURGE: Milliseconds = 5_000
"""By so much, at random, a node is later than the first with purging: mostly one of them does it."""
DECODED_AT_ONCE_BYTES = 64 * 1024
"""A longer log is decoded in a thread: the loop does not wait for it."""
NO_HEADERS: Mapping[str, str] = {}
FIRST = {"Nats-Expected-Last-Subject-Sequence": "0"}
"""Headers that let a message in only if its subject has none."""


class NatsStore:
    """The store port on one stream."""

    shared = True

    def __init__(
        self, connection: Connection, reader: Reader, reserve: Reserve, tasks: TaskGroup, lag: Milliseconds
    ) -> None:
        self.connection = connection
        self.identity: str = reader.own["identity"].decode()
        self.key: bytes = reader.own["key"]
        self._names = connection.names
        self._stream = self._names.stream(SCANS)
        self._reader = reader
        self._index = reader.index
        self.now = reader.clock.now
        self._reserve = reserve
        self._barrier = Barrier(connection, self._stream, reader.position, reserve)
        self._writer = Writer(connection, self._stream, reader, reserve)
        self.commits = self._writer.commits
        self._registry = Registry(self._writer, reader.index, self._barrier)
        self._tasks = tasks
        self._lag = lag
        tasks.start_soon(reader.run)
        tasks.start_soon(self._barrier.run)

    async def register(self, scan: Registered, replaces: ScanId | Literal["any"] | None) -> ScanId:
        """See `Store.register`."""
        return await self._registry.register(scan, replaces)

    async def holder(self, slot: str) -> ScanId | None:
        """See `Store.holder`."""
        return await self._registry.holder(slot)

    async def append(self, scan_id: ScanId, *entries: AnyEntry) -> None:
        """See `Store.append`; what is more than NATS takes at once are several messages, one after the other."""
        bodies = await encoded(entries)
        scan = await self._known(scan_id)
        if len(entries) == 1 and isinstance(entries[0], Queued) and not (entries[0].waits or scan.queued):
            await self._permit(scan, bodies[0])
            return
        for message in packed(bodies, MESSAGE_BYTES):
            await self._log(scan, "ev", message, self.connection.fresh())

    async def _permit(self, scan: Scan, body: bytes) -> None:
        """Let the scan start: of several nodes that say so at once one is heard.

        :raises NotFound: if it was purged meanwhile
        """
        try:
            await self._log(scan, "go", body, f"{scan.scan_id}:go", FIRST)
        except ConflictError:
            await self.barrier()

    async def _log(
        self, scan: Scan, kind: str, body: bytes, message_id: str, only: Mapping[str, str] = NO_HEADERS
    ) -> None:
        """Write what belongs to a scan.

        :param only: headers that say what must be so
        :raises NotFound: if it was purged meanwhile
        :raises ConflictError: if it is not so
        """
        subject = self._names.scan(scan.slot, scan.token, kind)
        await self._writer.write(subject, body, {"Nats-Msg-Id": message_id, **only}, needed=kind == "end")
        if self._index.get(scan.token) is not scan:
            await self._writer.purge(subject)  # nothing else would ever take it away
            raise _unknown(scan.scan_id)

    async def _known(self, scan_id: ScanId) -> Scan:
        """The scan, also if another node has just registered it.

        :raises NotFound: if there is none (any more)
        """
        if (scan := self._index.get(token(scan_id))) is None:
            await self._barrier.passed()
            scan = self._index.get(token(scan_id))
        if scan is None:
            raise _unknown(scan_id)
        return scan

    async def feed(self) -> AsyncIterator[Fed]:
        """See `Store.feed`."""
        if self._reader.feed is not None:
            raise RuntimeError("the feed has a consumer already")
        feed = self._reader.feed = Feed()
        self._tasks.start_soon(self._reader.read_back, feed)
        try:
            async with aclosing(feed.items()) as items:
                async for item in items:
                    yield item
        finally:
            self._reader.feed = None
            feed.close()

    async def history(self, scan_id: ScanId) -> list[AnyEntry] | None:
        """See `Store.history`."""
        if (scan := self._index.get(token(scan_id))) is None:
            return None
        messages = await log_of(self.connection, self._stream, scan)
        if not messages:
            return None
        if sum(map(len, messages)) < DECODED_AT_ONCE_BYTES:
            entries = entries_of(scan_id, messages)
        else:
            entries = await to_thread.run_sync(entries_of, scan_id, messages)
        if not isinstance(entries[0], Registered):
            raise Damaged("The record of this scan is damaged. Please initiate a new scan.", scan_id=scan_id)
        return entries

    async def newest(
        self, principal: Principal, limit: int, before: ScanId | None = None, *, at: Milliseconds = 0
    ) -> list[ScanId]:
        """See `Store.newest`; as this node has read it: whoever wants more takes a barrier first."""
        earlier = None if before is None else await self._known(before)
        return self._index.newest(principal, limit, earlier, at)

    async def settle(self, scan_id: ScanId, expires_at: Milliseconds) -> None:
        """See `Store.settle`; of the nodes that say so the first is heard."""
        scan = self._index.get(token(scan_id))
        if scan is not None and scan.expires_at is None:
            with suppress(NotFound):
                await self._log(scan, "end", msgspec.json.encode(End(expires_at)), f"{scan_id}:end")

    async def settled(self, scan_id: ScanId) -> bool:
        """See `Store.settled`."""
        return self.over(token(scan_id))

    def over(self, name: str) -> bool:
        """Whether the scan of this name in subjects is settled or gone, as far as this node has read."""
        scan = self._index.get(name)
        return scan is None or scan.expires_at is not None

    async def expired(self, now: Milliseconds) -> list[ScanId]:
        """See `Store.expired`; each node is late by a little, so that mostly one of them purges."""
        return self._index.expired(now - self._lag)

    async def purge(self, scan_ids: Sequence[ScanId]) -> None:
        """See `Store.purge`."""
        names = dict.fromkeys(map(token, scan_ids))
        scans = [scan for scan in map(self._index.get, names) if scan is not None]
        random.shuffle(scans)  # another node may be at it, too
        await abreast(PURGED_AT_ONCE, scans, self._purge)

    async def _purge(self, scan: Scan) -> None:
        """Take its messages away, and then tell all nodes: whoever dies between leaves it to be purged again."""
        if self._index.get(scan.token) is not scan:
            return
        await self._writer.purge(self._names.scan(scan.slot, scan.token, ">"))
        gone = self._names.scan(scan.slot, scan.token, "gone")
        await self._writer.write(gone, b"", {"Nats-TTL": str(GONE_SECONDS)}, needed=True)

    async def remember(self, name: str, value: bytes, *, only: Mapping[str, str] | None = None) -> None:
        """See `Store.remember`.

        :param only: headers that say what must be so
        :raises ConflictError: if it is not so
        """
        # With an id of its own a try that comes late does not bring back what was before a newer note.
        headers = {"Nats-Rollup": "sub", "Nats-Msg-Id": self.connection.fresh(), **(only or {})}
        await self._writer.write(self._names.note(name), value, headers, needed=True)

    async def recall(self, name: str) -> bytes | None:
        """See `Store.recall`."""
        await self._barrier.passed()
        return self._reader.notes.get(name)

    def listen(self, prefix: str, listener: Listener) -> None:
        """Have the listener called with what is remembered under names that begin so: now, and whenever it changes."""
        self._reader.listen(prefix, listener)

    async def barrier(self) -> None:
        """See `Store.barrier`."""
        seq = await self._barrier.passed()
        if (feed := self._reader.feed) is not None:
            await feed.taken.reach(seq)

    async def probe(self) -> None:
        """See `Store.probe`."""
        if why := self.healthy():  # no need to wait for what is known
            raise StoreUnavailable(f"NATS: {why}", retry_after=RETRY_AFTER)
        await self._reserve.whole()  # what is known to be full is told at once
        await self._barrier.passed()
        await self._reserve.whole()

    def healthy(self) -> str:
        """What is wrong with the connection or the feed; nothing, if all is well."""
        return self.connection.trouble() or self._reader.trouble

    async def close(self) -> None:
        """See `Store.close`: what was accepted is written, and `open_nats` lets go of the rest."""


def _unknown(scan_id: ScanId) -> NotFound:
    return NotFound(f"There is no scan {scan_id}", scan_id=scan_id)


async def _begin(connection: Connection, reader: Reader) -> None:
    """Read what is there, and give the store an identity and a key if it has none: of many nodes one does."""
    await reader.catch_up()
    while not {"identity", "key"} <= reader.own.keys():
        stream = connection.names.stream(SCANS)
        for name, value in (("identity", secrets.token_hex(8).encode()), ("key", secrets.token_bytes(32))):
            headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
            with suppress(ConflictError):
                await connection.publish(connection.names.own(name), value, headers=headers, stream=stream)
        await reader.catch_up()


@asynccontextmanager
async def open_nats(
    options: NatsOptions, *, patience: float = START_SECONDS, lag: Milliseconds | None = None
) -> AsyncIterator[NatsStore]:
    """The store on these servers, closed at the end.

    :param patience: seconds that a start waits for NATS
    :param lag: by how much this node purges later than it might; by a little, unless given
    :raises EngineUnusable: if NATS cannot be reached, does not let us in, or is too old
    :raises SettingError: if a stream is there with other settings
    """
    if lag is None:
        lag = random.randrange(LATEST_PURGE)  # noqa: S311  # no secret
    async with connected(options, patience=patience) as connection:
        await require_stream(connection, of_scans(connection), patience)
        reader = Reader(connection, connection.names.stream(SCANS))
        try:
            await _begin(connection, reader)
        except StoreUnavailable as error:
            raise EngineUnusable(f"The stream {SCANS} of NATS cannot be read: {error.detail}") from error
        reader.clock.compare()
        reserve = Reserve(connection, connection.names.stream(SCANS))
        reader.listen(FULL, reserve.hear)
        await reserve.begin()
        async with anyio.create_task_group() as tasks:
            try:
                yield NatsStore(connection, reader, reserve, tasks, lag)
            finally:
                tasks.cancel_scope.cancel()

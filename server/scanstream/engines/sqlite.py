"""SQLite, the default engine: one file, one web process, group commit, durable before the ack.

With `synchronous=FULL` what is committed is on the disk. The data directory is locked; `:memory:` is the same code.
"""

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
from anyio import to_thread
from anyio.lowlevel import checkpoint

from scanstream.engines.deliveries import SqliteDeliveries
from scanstream.engines.directory import locked
from scanstream.engines.group_commit import MOST_AT_ONCE, GroupCommit, Malformed, Operation
from scanstream.engines.opening import connected
from scanstream.engines.reading import (
    Row,
    StoredLog,
    UnreadableError,
    decoded,
    mended,
    part_of,
    place_of,
    shelve,
    unfinished,
    write_instead,
)
from scanstream.engines.schema import DATABASE, meta_of
from scanstream.errors import Damaged, NotFound, StoreUnavailable
from scanstream.log.entry import AnyEntry, Registered, encode
from scanstream.log.refold import Crowd, Slices, encoded
from scanstream.model import Milliseconds, Principal, ScanId, now

PROBE_BYTES = 64 * 1024
"""What a probe writes: about what a scan's beginning takes, so that it needs pages of its own."""

PURGED_AT_ONCE = 1000
PURGE_SECONDS = 0.02
"""How long one transaction may delete: so much later comes whoever registers meanwhile."""

DECODED_AT_ONCE_BYTES = 64 * 1024
"""A longer log is decoded in a thread: the loop does not wait for it."""
MOST_TOLD = 1000
"""Damaged scans that the log names; of more than that there is no need to know which."""
SAID_EACH_SECONDS = 5.0
"""How far the reading at the start is, is said so often."""

logger = logging.getLogger("scanstream")

_REGISTER = "INSERT INTO scans (scan_id, slot, principal, registered_at) VALUES (?, ?, ?, ?)"
_NEWEST = (
    "SELECT scan_id FROM scans WHERE principal = ? AND number < ifnull(?, 9223372036854775807) "
    "AND (expires_at IS NULL OR expires_at > ?) ORDER BY number DESC LIMIT ?"
)

NOTE = "note "
"""Before the names of what is remembered: they never meet the store's own, as its identity is one."""

Fed = tuple[ScanId, int, AnyEntry]


class SqliteStore:
    """The store port on one SQLite connection."""

    now = staticmethod(now)

    def __init__(self, connection: sqlite3.Connection, file: Path | None, *, most_at_once: int = MOST_AT_ONCE) -> None:
        meta = meta_of(connection)
        self.identity: str = meta["identity"].decode()
        self.key: bytes = meta["key"]
        self.shared = False
        self._connection = connection
        self._file = file
        self._heads: dict[ScanId, int] = {}
        """The writer thread's own: the last seq of the logs that it appends to."""
        self._told: set[ScanId] = set()
        """Damaged scans that the log has named."""
        self._feeding = False
        self._committed: deque[tuple[Operation[Any], list[Fed]]] = deque()
        """Durable and not yet taken by the feed's consumer; bounded, as their callers wait."""
        self._arrived = asyncio.Event()
        self._commits = GroupCommit(
            connection, on_commit=self._deliver, on_rollback=self._heads.clear, most_at_once=most_at_once, file=file
        )
        self.commits = self._commits.commits
        self.deliveries = SqliteDeliveries(self._commits)

    async def register(self, scan: Registered, replaces: ScanId | Literal["any"] | None) -> ScanId:
        """See `Store.register`."""
        body = encode(scan)

        def register(connection: sqlite3.Connection) -> tuple[ScanId, list[Fed]]:
            holder = None if replaces == "any" else _holder(connection, scan.slot)
            if holder is not None and holder != replaces:
                return holder, []
            connection.execute(_REGISTER, (scan.scan_id, scan.slot, scan.principal, scan.at))
            connection.execute("INSERT OR REPLACE INTO slots VALUES (?, ?)", (scan.slot, scan.scan_id))
            connection.execute("INSERT INTO entries VALUES (?, 1, ?)", (scan.scan_id, body))
            self._heads[scan.scan_id] = 1
            return scan.scan_id, [(scan.scan_id, 1, scan)]

        return (await self._commits.run(register, fed=True))[0]

    async def holder(self, slot: str) -> ScanId | None:
        """See `Store.holder`."""
        return await self._commits.run(lambda connection: _holder(connection, slot), reads=True)

    async def append(self, scan_id: ScanId, *entries: AnyEntry) -> None:
        """See `Store.append`."""
        bodies = await encoded(entries)

        def append(connection: sqlite3.Connection) -> tuple[None, list[Fed]]:
            head = self._head(scan_id)
            rows = [(scan_id, head + 1 + index, body) for index, body in enumerate(bodies)]
            connection.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
            self._heads[scan_id] = head + len(rows)
            return None, [(scan_id, head + 1 + index, entry) for index, entry in enumerate(entries)]

        await self._commits.run(append, fed=True)

    async def feed(self) -> AsyncIterator[Fed]:
        """See `Store.feed`."""
        if self._feeding:
            raise RuntimeError("the feed has a consumer already")
        self._feeding = True
        try:
            replayed: dict[ScanId, int] = {}
            async for scan_id, entries in self._unfinished():
                for replayed[scan_id], entry in enumerate(entries, start=1):
                    yield scan_id, replayed[scan_id], entry
            crowd = Crowd()
            while True:
                slices = Slices(crowd)
                while self._committed:
                    operation, written = self._committed[0]
                    for scan_id, seq, entry in written:
                        if seq > replayed.get(scan_id, 0):
                            yield scan_id, seq, entry
                        await slices.turn()  # many may have come at once, and large ones
                    self._committed.popleft()
                    operation.answer()
                    del operation, written  # whoever appended them lets them go
                    await slices.turn()
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self._feeding = False
            while self._committed:
                self._committed.popleft()[0].answer()

    async def _unfinished(self) -> AsyncIterator[tuple[ScanId, list[AnyEntry]]]:
        """The logs of unfinished scans, in the order of their registration; of damaged ones what is left."""
        number = count = 0
        said = time.monotonic()
        while logs := await self._commits.run(partial(unfinished, after=number), reads=True, urgent=True):
            for log in logs:
                if (entries := await self._whole(log)) is not None:
                    yield log.scan_id, entries
                await checkpoint()  # whoever wants to stop the server is heard between two scans
            number, count = logs[-1].number, count + len(logs)
            if time.monotonic() - said >= SAID_EACH_SECONDS:
                said = time.monotonic()
                logger.warning("reading the logs of unfinished scans: %d so far", count)

    async def _whole(self, log: StoredLog) -> list[AnyEntry] | None:
        """The entries of an unfinished scan, which ends where they are damaged; None if nothing can be done with it."""
        try:
            if log.damage is not None:
                raise UnreadableError(1, log.damage)
            rows, entries = mended(log)
            if rows:
                await self._commits.run(partial(write_instead, scan_id=log.scan_id, rows=rows), urgent=True)
                logger.error("%s: %s ends here: entry %d is damaged", self._file, log.scan_id, rows[0][0])
        except (UnreadableError, StoreUnavailable) as error:
            logger.error("%s: %s is damaged, and left out: %s", self._file, log.scan_id, error)  # noqa: TRY400  # whole
            if isinstance(error, UnreadableError):
                with suppress(StoreUnavailable):
                    await self._commits.run(partial(shelve, scan_id=log.scan_id), urgent=True)
            return None
        return entries

    async def history(self, scan_id: ScanId) -> list[AnyEntry] | None:
        """See `Store.history`."""
        rows: list[Row] = []
        try:
            more = True
            while more:
                part = await self._commits.run(partial(part_of, scan_id=scan_id, after=len(rows)), reads=True)
                if part is None:
                    return None
                rows += part.rows
                more = part.more
            if sum(len(body) for _, body in rows) < DECODED_AT_ONCE_BYTES:
                return decoded(scan_id, rows)
            return await to_thread.run_sync(decoded, scan_id, rows)
        except (Malformed, UnreadableError) as error:
            self._say_damaged(scan_id, error)
            raise Damaged(
                "The record of this scan is damaged and cannot be read. Please initiate a new scan.", scan_id=scan_id
            ) from error

    def _say_damaged(self, scan_id: ScanId, error: Exception) -> None:
        """Once, though somebody may ask for the scan again and again."""
        if scan_id not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(scan_id)
            logger.error("%s: %s is damaged: %s", self._file, scan_id, error)

    async def newest(
        self, principal: Principal, limit: int, before: ScanId | None = None, *, at: Milliseconds = 0
    ) -> list[ScanId]:
        """See `Store.newest`."""

        def newest(connection: sqlite3.Connection) -> list[tuple[str]]:
            number = None if before is None else place_of(connection, before)
            return connection.execute(_NEWEST, (principal, number, at, limit)).fetchall()

        return [ScanId(scan_id) for (scan_id,) in await self._commits.run(newest, reads=True)]

    async def settle(self, scan_id: ScanId, expires_at: Milliseconds) -> None:
        """See `Store.settle`."""

        def settle(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE scans SET expires_at = ? WHERE scan_id = ?", (expires_at, scan_id))
            self._heads.pop(scan_id, None)

        await self._commits.run(settle)

    async def settled(self, scan_id: ScanId) -> bool:
        """See `Store.settled`."""
        query = "SELECT 1 FROM scans WHERE scan_id = ? AND expires_at IS NULL"
        return not await self._commits.run(lambda db: db.execute(query, (scan_id,)).fetchall(), reads=True)

    async def expired(self, now: Milliseconds) -> list[ScanId]:
        """See `Store.expired`."""
        query = "SELECT scan_id FROM scans WHERE expires_at <= ? ORDER BY expires_at LIMIT 1000"
        rows = await self._commits.run(lambda connection: connection.execute(query, (now,)).fetchall(), reads=True)
        return [ScanId(scan_id) for (scan_id,) in rows]

    async def purge(self, scan_ids: Sequence[ScanId]) -> None:
        """See `Store.purge`."""
        gone, at_once = 0, PURGED_AT_ONCE
        while gone < len(scan_ids):
            try:
                gone += await self._commits.run(partial(self._purge, scan_ids[gone : gone + at_once]))
                at_once = min(2 * at_once, PURGED_AT_ONCE)
            except Malformed as error:
                if at_once == 1:  # of a log on damaged pages only the name is taken away
                    logger.error("%s: %s: not deleted whole: %s", self._file, scan_ids[gone], error)  # noqa: TRY400
                    gone += await self._commits.run(partial(self._purge, scan_ids[gone : gone + 1], entries=False))
                at_once = 1

    def _purge(self, scan_ids: Sequence[ScanId], connection: sqlite3.Connection, *, entries: bool = True) -> int:
        """Forget the first of them, as many as one transaction may; how many that were."""
        until = time.monotonic() + PURGE_SECONDS
        for count, scan_id in enumerate(scan_ids, start=1):
            connection.execute(
                "DELETE FROM slots WHERE scan_id = ? AND slot = (SELECT slot FROM scans WHERE scan_id = ?)",
                (scan_id, scan_id),
            )
            if entries:
                connection.execute("DELETE FROM entries WHERE scan_id = ?", (scan_id,))
            connection.execute("DELETE FROM scans WHERE scan_id = ?", (scan_id,))
            self._heads.pop(scan_id, None)
            if time.monotonic() >= until:
                return count
        return len(scan_ids)

    async def remember(self, name: str, value: bytes) -> None:
        """See `Store.remember`."""

        def remember(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (NOTE + name, value))

        await self._commits.run(remember)

    async def recall(self, name: str) -> bytes | None:
        """See `Store.recall`."""
        query = "SELECT value FROM meta WHERE name = ?"
        row = await self._commits.run(lambda db: db.execute(query, (NOTE + name,)).fetchone(), reads=True)
        return None if row is None else bytes(row[0])

    async def barrier(self) -> None:
        """See `Store.barrier`."""
        await self._commits.run(lambda _: (None, []), fed=True)

    async def probe(self) -> None:
        """See `Store.probe`."""

        def probe(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('probe', zeroblob(?))", (PROBE_BYTES,))
            connection.execute("DELETE FROM meta WHERE name = 'probe'")

        await self._commits.run(probe)

    async def close(self) -> None:
        """See `Store.close`."""
        if not await self._commits.close():
            logger.error("%s: the disk does not answer; the server leaves without it", self._file)

    def _head(self, scan_id: ScanId) -> int:
        if scan_id not in self._heads:
            query = "SELECT max(seq) FROM entries WHERE scan_id = ?"
            head: int | None = self._connection.execute(query, (scan_id,)).fetchone()[0]
            if head is None:
                raise NotFound(f"There is no scan {scan_id}", scan_id=scan_id)
            self._heads[scan_id] = head
        return self._heads[scan_id]

    def _deliver(self, batch: list[Operation[Any]]) -> None:
        """On the loop, after the commit: what was written goes to the feed first, and then its caller hears."""
        for operation in batch:
            if self._feeding and operation.fed and operation.error is None:
                assert operation.result is not None
                self._committed.append((operation, operation.result[1]))
            else:
                operation.answer()
        self._arrived.set()


def _holder(connection: sqlite3.Connection, slot: str) -> ScanId | None:
    row = connection.execute("SELECT scan_id FROM slots WHERE slot = ?", (slot,)).fetchone()
    return ScanId(row[0]) if row else None


@asynccontextmanager
async def open_store(data: Path | None, *, most_at_once: int = MOST_AT_ONCE) -> AsyncIterator[SqliteStore]:
    """The store in the data directory (None: in memory), closed at the end.

    :raises DataLocked: if another server has the directory
    :raises DataUnusable: if it cannot be written, or its database is damaged
    """
    with locked(data):
        file = data / DATABASE if data else None
        connection = await connected(file)
        store = SqliteStore(connection, file, most_at_once=most_at_once)
        try:
            yield store
        finally:
            with anyio.CancelScope(shield=True):
                await store.close()

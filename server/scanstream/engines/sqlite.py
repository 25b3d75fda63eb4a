"""SQLite, the default engine: one file, one web process, group commit, durable before the ack.

WAL with `synchronous=FULL`: a committed transaction is on the disk. The data directory is locked while a server uses
it. `:memory:` runs the same code on a database that is gone with the process.
"""

import fcntl
import os
import secrets
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import msgspec
from anyio import to_thread

from scanstream.engines.group_commit import MOST_AT_ONCE, GroupCommit, Operation
from scanstream.errors import DataLocked, DataUnusable, NotFound
from scanstream.log.entry import AnyEntry, Registered, decode, encode
from scanstream.model import Milliseconds, Principal, ScanId

SCHEMA_VERSION = 1
DATABASE = "scanstream.db"

_SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE scans (
    scan_id TEXT PRIMARY KEY, slot TEXT NOT NULL, principal TEXT NOT NULL, registered_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX scans_by_end ON scans (expires_at);
CREATE INDEX scans_by_age ON scans (principal, registered_at, scan_id);
CREATE TABLE slots (slot TEXT PRIMARY KEY, scan_id TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE entries (
    scan_id TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (scan_id, seq)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = {SCHEMA_VERSION};
"""

Fed = tuple[ScanId, int, AnyEntry]


class SqliteStore:
    """The store port on one SQLite connection."""

    def __init__(self, connection: sqlite3.Connection, file: Path | None, *, most_at_once: int = MOST_AT_ONCE) -> None:
        meta = _meta(connection)
        self.identity: str = meta["identity"].decode()
        self.key: bytes = meta["key"]
        self._connection = connection
        self._file = file
        self._heads: dict[ScanId, int] = {}
        """The writer thread's own: the last seq of the logs that it appends to."""
        self._feeding = False
        self._committed: deque[tuple[Operation[Any], list[Fed]]] = deque()
        """Durable and not yet taken by the feed's consumer; bounded, as their callers wait."""
        self._arrived = anyio.Event()
        self._commits = GroupCommit(
            connection, on_commit=self._deliver, on_rollback=self._heads.clear, most_at_once=most_at_once
        )

    async def register(self, scan: Registered, replaces: ScanId | Literal["any"] | None) -> ScanId:
        """See `Store.register`."""
        body = encode(scan)

        def register(connection: sqlite3.Connection) -> tuple[ScanId, list[Fed]]:
            holder = _holder(connection, scan.slot)
            if holder is not None and replaces not in (holder, "any"):
                return holder, []
            row = (scan.scan_id, scan.slot, scan.principal, scan.at)
            connection.execute("INSERT INTO scans VALUES (?, ?, ?, ?, NULL)", row)
            connection.execute("INSERT OR REPLACE INTO slots VALUES (?, ?)", (scan.slot, scan.scan_id))
            connection.execute("INSERT INTO entries VALUES (?, 1, ?)", (scan.scan_id, body))
            self._heads[scan.scan_id] = 1
            return scan.scan_id, [(scan.scan_id, 1, scan)]

        return (await self._commits.run(register, fed=True))[0]

    async def append(self, scan_id: ScanId, *entries: AnyEntry) -> None:
        """See `Store.append`."""
        bodies = [encode(entry) for entry in entries]

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
            for scan_id, seq, body in await self._commits.run(_unfinished, urgent=True):
                replayed[scan_id] = seq
                yield scan_id, seq, self._read(scan_id, seq, body)
            while True:
                while self._committed:
                    operation, written = self._committed[0]
                    for scan_id, seq, entry in written:
                        if seq > replayed.get(scan_id, 0):
                            yield scan_id, seq, entry
                    self._committed.popleft()
                    operation.answer()
                self._arrived = anyio.Event()
                await self._arrived.wait()
        finally:
            self._feeding = False
            while self._committed:
                self._committed.popleft()[0].answer()

    async def history(self, scan_id: ScanId) -> list[AnyEntry] | None:
        """See `Store.history`."""
        query = "SELECT body FROM entries WHERE scan_id = ? ORDER BY seq"
        rows = await self._commits.run(lambda connection: connection.execute(query, (scan_id,)).fetchall())
        return [self._read(scan_id, seq, body) for seq, (body,) in enumerate(rows, start=1)] or None

    async def newest(self, principal: Principal, limit: int, before: ScanId | None = None) -> list[ScanId]:
        """See `Store.newest`."""
        query = (
            "SELECT scan_id FROM scans WHERE principal = ?1 AND (?2 IS NULL OR (registered_at, scan_id) < "
            "(SELECT registered_at, scan_id FROM scans WHERE scan_id = ?2)) "
            "ORDER BY registered_at DESC, scan_id DESC LIMIT ?3"
        )
        parameters = (principal, before, limit)
        rows = await self._commits.run(lambda connection: connection.execute(query, parameters).fetchall())
        return [ScanId(scan_id) for (scan_id,) in rows]

    async def settle(self, scan_id: ScanId, expires_at: Milliseconds) -> None:
        """See `Store.settle`."""

        def settle(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE scans SET expires_at = ? WHERE scan_id = ?", (expires_at, scan_id))
            self._heads.pop(scan_id, None)

        await self._commits.run(settle)

    async def expired(self, now: Milliseconds) -> list[ScanId]:
        """See `Store.expired`."""
        query = "SELECT scan_id FROM scans WHERE expires_at <= ? ORDER BY expires_at LIMIT 1000"
        rows = await self._commits.run(lambda connection: connection.execute(query, (now,)).fetchall())
        return [ScanId(scan_id) for (scan_id,) in rows]

    async def purge(self, scan_id: ScanId) -> None:
        """See `Store.purge`."""

        def purge(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM slots WHERE scan_id = ?1 AND slot = (SELECT slot FROM scans WHERE scan_id = ?1)",
                (scan_id,),
            )
            connection.execute("DELETE FROM entries WHERE scan_id = ?", (scan_id,))
            connection.execute("DELETE FROM scans WHERE scan_id = ?", (scan_id,))
            self._heads.pop(scan_id, None)

        await self._commits.run(purge)

    async def barrier(self) -> None:
        """See `Store.barrier`."""
        await self._commits.run(lambda _: (None, []), fed=True)

    async def close(self) -> None:
        """See `Store.close`."""
        await self._commits.close()
        await to_thread.run_sync(self._connection.close)

    def _read(self, scan_id: ScanId, seq: int, body: bytes) -> AnyEntry:
        try:
            return decode(body)
        except msgspec.DecodeError as error:
            raise DataUnusable(
                f"The database {self._file} is damaged: entry {seq} of {scan_id} cannot be read ({error}); restore it "
                "from a backup, or move it away to begin with an empty store"
            ) from error

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


def _unfinished(connection: sqlite3.Connection) -> list[tuple[ScanId, int, bytes]]:
    return connection.execute(
        "SELECT scan_id, seq, body FROM scans JOIN entries USING (scan_id) WHERE expires_at IS NULL "
        "ORDER BY scan_id, seq"
    ).fetchall()


@asynccontextmanager
async def open_store(data: Path | None, *, most_at_once: int = MOST_AT_ONCE) -> AsyncIterator[SqliteStore]:
    """The store in the data directory (None: in memory), closed at the end.

    :raises DataLocked: if another server has the directory
    :raises DataUnusable: if it cannot be written, or its database is damaged
    """
    with _locked(data) if data else _unlocked():
        file = data / DATABASE if data else None
        connection = await to_thread.run_sync(_connect, file)
        store = SqliteStore(connection, file, most_at_once=most_at_once)
        try:
            yield store
        finally:
            with anyio.CancelScope(shield=True):
                await store.close()


@contextmanager
def _unlocked() -> Iterator[None]:
    yield


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unwritable(data, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 32, 0).decode() or "unknown"
            raise DataLocked(
                f"The data directory {data} belongs to a running server (process {owner}); "
                "stop that one, or name another directory with --data"
            ) from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except OSError as error:
            raise _unwritable(data, error) from error
        yield
    finally:
        os.close(descriptor)


def _unwritable(data: Path, error: OSError) -> DataUnusable:
    return DataUnusable(f"The data directory {data} cannot be written ({error.strerror}); name another with --data")


def _connect(file: Path | None) -> sqlite3.Connection:
    try:
        if file:  # it holds the key of the scan ids; what SQLite puts beside it has the same mode
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(file or ":memory:", isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection)
        except sqlite3.DatabaseError:
            connection.close()
            raise
    except (sqlite3.DatabaseError, OSError) as error:
        raise DataUnusable(
            f"The database {file} cannot be used ({error}); restore it from a backup, "
            "or move it away to begin with an empty store"
        ) from error
    return connection


def _meta(connection: sqlite3.Connection) -> dict[str, bytes]:
    return dict(connection.execute("SELECT name, value FROM meta").fetchall())


def _prepare(connection: sqlite3.Connection) -> None:
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000"):
        connection.execute(f"PRAGMA {pragma}")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"it was written by a newer scanstream, schema {version}")
    if version == 0:
        _create(connection)
    if not {"identity", "key"} <= _meta(connection).keys():
        raise sqlite3.DatabaseError("it is not a database of scanstream")


def _create(connection: sqlite3.Connection) -> None:
    connection.executescript(f"BEGIN; {_SCHEMA}")
    meta = {"identity": secrets.token_hex(8).encode(), "key": secrets.token_bytes(32)}
    connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    connection.execute("COMMIT")

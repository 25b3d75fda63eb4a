"""The database file: its tables, how one of an earlier version becomes one of this, and what is refused.

`scans.number` is the order of registration. No clock is asked for it: one that is set back changes no order.

Opening does not read the whole file, which takes half a minute for two gigabytes on a cold disk. It checks what all
scans hang on: the tables of scans and slots, that the file is as long as it says, and that an entry can be written. The
entries themselves are checked as they are read (reading.py): those of unfinished scans at the start, those of finished
ones when somebody asks. So damage costs the scans it has hit, and no others.
"""

import errno
import os
import re
import secrets
import sqlite3
import threading
from pathlib import Path

from scanstream.errors import DataUnusable
from scanstream.shortage import remedy

SCHEMA_VERSION = 4
DATABASE = "scanstream.db"

STEPS_BETWEEN_LOOKS = 10_000
"""Of SQLite's machine, while opening: so often it looks whether to go on."""
KEY_BYTES = 32
_IDENTITY = re.compile(rb"[0-9a-f]{1,64}")
_LAST_PLACE = "scan_~"
"""Behind the ids of all scans, which grow with time: there new entries go."""

_SCANS = """
CREATE TABLE scans (
    number INTEGER PRIMARY KEY, scan_id TEXT NOT NULL UNIQUE, slot TEXT NOT NULL,
    principal TEXT NOT NULL, registered_at INTEGER NOT NULL, expires_at INTEGER
) STRICT;
CREATE INDEX scans_by_end ON scans (expires_at);
CREATE INDEX scans_by_order ON scans (principal, number);
"""

_DELIVERIES = """
CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, due INTEGER NOT NULL, pause INTEGER NOT NULL,
    tries INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX deliveries_by_due ON deliveries (due);
"""

_BY_TURN = """
ALTER TABLE deliveries ADD COLUMN principal TEXT NOT NULL DEFAULT 'anyone';
CREATE INDEX deliveries_by_turn ON deliveries (principal, due);
DROP INDEX deliveries_by_due;
"""
"""Those of version 3 have one queue, as if they were one principal's."""

_SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
{_SCANS}
CREATE TABLE slots (slot TEXT PRIMARY KEY, scan_id TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE entries (
    scan_id TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (scan_id, seq)
) STRICT, WITHOUT ROWID;
{_DELIVERIES}{_BY_TURN}
"""

_FROM_1 = (
    "ALTER TABLE scans RENAME TO scans_1",
    "DROP INDEX scans_by_end",
    "DROP INDEX scans_by_age",
    _SCANS,
    "INSERT INTO scans (scan_id, slot, principal, registered_at, expires_at) "
    "SELECT scan_id, slot, principal, registered_at, expires_at FROM scans_1 ORDER BY registered_at, scan_id",
    "DROP TABLE scans_1",
)
"""Version 1 knew the time of registration only: what there is keeps the order that it had."""
_STEPS = {1: ";".join(_FROM_1), 2: _DELIVERIES, 3: _BY_TURN}
"""What makes of each earlier version the next one."""

_PRIMARY = 0xFF
"""Of an extended code of SQLite what the code is in the main."""
_AS_OF_THE_SYSTEM = {
    sqlite3.SQLITE_IOERR_SHMSIZE: errno.ENOSPC,  # the file of the write-ahead log's index cannot grow
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_BUSY: errno.EBUSY,
    sqlite3.SQLITE_LOCKED: errno.EBUSY,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
}
"""What SQLite says of its surroundings, and not of the file, as the system would have said it."""


def _as_of_the_system(error: sqlite3.DatabaseError) -> int | None:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return _AS_OF_THE_SYSTEM.get(code, _AS_OF_THE_SYSTEM.get(code & _PRIMARY))


class _Newer(sqlite3.DatabaseError):
    """It is whole, and of a version that we do not know."""


def connect(file: Path | None, stop: threading.Event | None = None) -> sqlite3.Connection:
    """A connection to the database in this file (None: in memory), made or brought to this version where need be.

    :param stop: once it is set, opening ends as if the database could not be used
    :raises DataUnusable: if it is damaged, not ours, or of a newer version
    """
    try:
        if file:  # it holds the key of the scan ids; what SQLite puts beside it has the same mode
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(file or ":memory:", isolation_level=None, check_same_thread=False)
        connection.text_factory = _readable
        try:
            if stop is not None:
                connection.set_progress_handler(stop.is_set, STEPS_BETWEEN_LOOKS)
            _prepare(connection)
            if file:
                _check_length(connection, file)
            connection.set_progress_handler(None, 0)
        except sqlite3.DatabaseError:
            connection.close()
            raise
    except (sqlite3.DatabaseError, OSError) as error:
        raise DataUnusable(f"The database {file} cannot be used ({error}); {_remedy(error)}") from error
    return connection


def _remedy(error: sqlite3.DatabaseError | OSError) -> str:
    """What an operator is to do. Only of a damaged file is it told that another one may take its place."""
    if isinstance(error, _Newer):
        return "start a version that is as new, or restore a backup from before"
    number = error.errno if isinstance(error, OSError) else _as_of_the_system(error)
    if found := remedy(number):
        return f"{found}; nothing that is in it is lost"
    return "restore it from a backup, or move it away to begin with an empty store"


def meta_of(connection: sqlite3.Connection) -> dict[str, bytes]:
    """What a database says of itself: its `identity`, and the `key` of its scan ids."""
    return dict(connection.execute("SELECT name, value FROM meta").fetchall())


def _readable(stored: bytes) -> str:
    """A text of the database, also one that is none any more: then no scan has that name."""
    return stored.decode(errors="replace")


def _prepare(connection: sqlite3.Connection) -> None:
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000", "cell_size_check = ON"):
        connection.execute(f"PRAGMA {pragma}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise _Newer(f"it was written by a newer scanstream, schema {version}")
    if version == 0:
        _transact(connection, _SCHEMA)
    if not _is_ours(connection):
        raise sqlite3.DatabaseError("it is not a database of scanstream")
    _check(connection)
    if 0 < version < SCHEMA_VERSION:
        _transact(connection, ";".join(_STEPS[before] for before in range(version, SCHEMA_VERSION)))
        _check(connection)


def _check(connection: sqlite3.Connection) -> None:
    """What every scan hangs on is whole, and a new entry finds its place."""
    for table in ("meta", "scans", "slots"):
        (verdict,) = connection.execute(f"PRAGMA quick_check({table})").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("INSERT INTO entries VALUES (?, 1, x'')", (_LAST_PLACE,))
    finally:
        connection.execute("ROLLBACK")


def _check_length(connection: sqlite3.Connection, file: Path) -> None:
    """A file that was cut off: what is written into its lost part would not be read back."""
    (pages,), (size,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    if file.stat().st_size < pages * size:  # the rest may be in the write-ahead log
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if file.stat().st_size < pages * size:
            raise sqlite3.DatabaseError(f"it has {file.stat().st_size} bytes of {pages * size}")


def _transact(connection: sqlite3.Connection, script: str) -> None:
    """Do all of the script and say the version, or nothing of it."""
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {SCHEMA_VERSION};")
        if not meta_of(connection):
            meta = {"identity": secrets.token_hex(8).encode(), "key": secrets.token_bytes(KEY_BYTES)}
            connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_ours(connection: sqlite3.Connection) -> bool:
    meta = meta_of(connection)
    identity, key = meta.get("identity", b""), meta.get("key", b"")
    return _IDENTITY.fullmatch(identity) is not None and len(key) == KEY_BYTES

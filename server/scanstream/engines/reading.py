"""Logs read back from the disk, and what becomes of one that cannot be.

An entry that cannot be read costs its own scan. An unfinished one ends there: in the entry's place stands from then on
that it is damaged, and what came later counts for nothing, as after any end. A log without its first entry, or on pages
that SQLite cannot read, is shelved: it answers `damaged`, until it expires as if it had just ended.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from scanstream.engines.group_commit import is_damage
from scanstream.errors import NotFound
from scanstream.log.entry import AnyEntry, Registered, ScanFailed, decode, encode
from scanstream.model import Milliseconds, ScanId, now

SLICE_BYTES = 4 * 1024 * 1024
"""Read in one go: whoever writes meanwhile waits no longer than that."""
SLICE_SCANS = 256
MOST_MISSING = 1000
"""Entries of one log that are replaced; where more are missing a number is damaged, and nothing can be said of it."""
SHELVED: Milliseconds = 3_600_000
"""How long a scan whose retention cannot be read answers that it is damaged."""

Row: TypeAlias = tuple[int, bytes]
"""(seq, body) as it is stored."""


class UnreadableError(Exception):
    """One entry of a log is damaged."""

    def __init__(self, seq: int, why: str) -> None:
        super().__init__(f"entry {seq} {why}")
        self.seq = seq


class StoredLog(NamedTuple):
    """An unfinished scan's log, not decoded yet."""

    number: int
    """Its place in the order of registration."""
    scan_id: ScanId
    rows: list[Row]
    damage: str | None = None
    """What SQLite says, where it cannot read the rows."""


class Part(NamedTuple):
    """Some of a log's rows."""

    rows: list[Row]
    more: bool


def place_of(connection: sqlite3.Connection, scan_id: ScanId) -> int:
    """Where a scan stands in the order of registration.

    :raises NotFound: if there is no such scan (any more)
    """
    row = connection.execute("SELECT number FROM scans WHERE scan_id = ?", (scan_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no scan {scan_id}", scan_id=scan_id)
    number: int = row[0]
    return number


def unfinished(connection: sqlite3.Connection, after: int) -> list[StoredLog]:
    """The next unfinished scans behind this number, as many as are read in one go; none at the end."""
    query = "SELECT number, scan_id FROM scans WHERE expires_at IS NULL AND number > ? ORDER BY number LIMIT ?"
    logs: list[StoredLog] = []
    size = 0
    for number, scan_id in connection.execute(query, (after, SLICE_SCANS)).fetchall():
        try:
            log = "SELECT seq, body FROM entries WHERE scan_id = ? ORDER BY seq"
            logs.append(StoredLog(number, ScanId(scan_id), connection.execute(log, (scan_id,)).fetchall()))
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            logs.append(StoredLog(number, ScanId(scan_id), [], str(error)))
        size += sum(len(body) for _, body in logs[-1].rows)
        if size >= SLICE_BYTES:
            break
    return logs


def part_of(connection: sqlite3.Connection, scan_id: ScanId, after: int) -> Part | None:
    """The next rows of a log, as many as are read in one go; None if there is no such scan."""
    if connection.execute("SELECT 1 FROM scans WHERE scan_id = ?", (scan_id,)).fetchone() is None:
        return None
    rows: list[Row] = []
    size = 0
    query = "SELECT seq, body FROM entries WHERE scan_id = ? AND seq > ? ORDER BY seq"
    for row in connection.execute(query, (scan_id, after)):
        if size >= SLICE_BYTES:
            return Part(rows, more=True)
        rows.append(row)
        size += len(row[1])
    return Part(rows, more=False)


def decoded(scan_id: ScanId, rows: Iterable[Row]) -> list[AnyEntry]:
    """The log that these rows are.

    :raises UnreadableError: naming the first entry that is missing, or is none
    """
    entries: list[AnyEntry] = []
    for expected, (seq, body) in enumerate(rows, start=1):
        if seq != expected:
            raise UnreadableError(expected, "is missing")
        entries.append(_decoded(scan_id, seq, body))
    if not entries:
        raise UnreadableError(1, "is missing")
    return entries


def _decoded(scan_id: ScanId, seq: int, body: bytes) -> AnyEntry:
    try:
        entry = decode(body)
    except Exception as error:  # whatever these bytes are
        raise UnreadableError(seq, f"cannot be read: {error}") from error
    if seq == 1 and not (isinstance(entry, Registered) and entry.scan_id == scan_id):
        raise UnreadableError(seq, "is not this scan's registration")
    return entry


def mended(log: StoredLog) -> tuple[list[Row], list[AnyEntry]]:
    """An unfinished log with its damaged entries replaced: the rows to write, and the log that it is then.

    :raises UnreadableError: if its first entry is damaged: without it there is no scan to end; or too much is missing
    """
    held = dict(log.rows)
    if max(held, default=0) > len(held) + MOST_MISSING:
        raise UnreadableError(max(held), "is beyond all others")
    instead: list[Row] = []
    entries: list[AnyEntry] = []
    for seq in range(1, max(held, default=1) + 1):
        try:
            entries.append(_decoded(log.scan_id, seq, held.get(seq, b"")))
        except UnreadableError:
            if seq == 1:
                raise
            entries.append(_end_at(seq))
            instead.append((seq, encode(entries[-1])))
    return instead, entries


def _end_at(seq: int) -> ScanFailed:
    detail = f"Entry {seq} of this scan's record is damaged, so what came after it is lost; start a new scan"
    return ScanFailed(at=now(), code="damaged", detail=detail)


def write_instead(connection: sqlite3.Connection, scan_id: ScanId, rows: Sequence[Row]) -> None:
    """Put these rows in the place of what cannot be read."""
    parameters = [(scan_id, seq, body) for seq, body in rows]
    connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", parameters)


def shelve(connection: sqlite3.Connection, scan_id: ScanId) -> None:
    """Let the scan count as ended now."""
    expires_at = now() + SHELVED
    connection.execute("UPDATE scans SET expires_at = ? WHERE scan_id = ?", (expires_at, scan_id))

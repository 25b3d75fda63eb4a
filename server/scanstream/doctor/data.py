"""Where logs live: the SQLite file and its directory, looked at and not opened; or NATS, asked and not written to."""

import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanstream.doctor.finding import Finding, bad, good
from scanstream.doctor.machine import existing
from scanstream.errors import ScanstreamError

if TYPE_CHECKING:
    from scanstream.engines.nats.connection import Connection
    from scanstream.settings import Settings  # the server is an extra

PATIENCE_SECONDS = 5.0
LATE_SECONDS = 5.0
"""By which the clock of this machine may differ from that of NATS before that is told."""
NETWORKED = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "glusterfs", "ceph", "lustre"})
"""File systems whose locks and syncs are not those of a local disk."""
HEADER = b"SQLite format 3\0"
WAL = 2
"""How the header says that the journal is a write-ahead log (sqlite.org/fileformat.html, 1.3)."""


def of_sqlite(settings: "Settings") -> Iterator[Finding]:
    """The data directory."""
    directory = settings.directory
    if directory is None:
        yield good("data", ":memory:, so nothing is kept", "name a directory with --data to keep scans over a restart")
        return
    if existing(directory) != directory.absolute():
        yield from _to_be_made(directory)
        return
    if not directory.is_dir():
        yield bad("data", f"{directory} is no directory", "name one with --data; it is made if it is not there")
        return
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        yield bad(
            "data", f"{directory} cannot be written", "give it to the user that the server runs as, or name another"
        )
        return
    yield good("data", f"{directory.absolute()}")
    kind = _file_system(directory)
    if kind in NETWORKED:
        yield bad("disk", f"{directory} is on {kind}", "SQLite needs a local disk: its locks and syncs must hold")
    elif kind:
        yield good("disk", f"a local file system ({kind})")
    yield _lock(directory / "lock")
    yield from _database(directory / "scanstream.db")


def _to_be_made(directory: Path) -> Iterator[Finding]:
    above = existing(directory)
    if os.access(above, os.W_OK | os.X_OK):
        yield good("data", f"{directory} is not there yet: it is made at the start")
    else:
        says = f"{directory} cannot be made below {above}, or not be looked at"
        yield bad("data", says, "make it, for the user that the server runs as, or name another with --data")


def _file_system(path: Path) -> str:
    """What kind it is on; empty where the system does not tell."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    here = path.resolve()
    over = [(len(fields[1]), fields[2]) for fields in mounts if here.is_relative_to(fields[1].replace("\\040", " "))]
    return max(over, default=(0, ""))[1]


def _lock(path: Path) -> Finding:
    """Whether somebody has the directory. Not asked for: a server that starts just then would be refused."""
    try:
        inode = path.stat().st_ino
    except FileNotFoundError:
        return good("lock", "nobody has used the directory yet")
    except OSError as error:
        return bad("lock", f"{path}: {error.strerror}", "give it to the user that the server runs as")
    try:
        held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return good("lock", "this system does not say who has the directory")
    for fields in held:
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            return good("lock", f"a server uses the directory (process {fields[4]})", "a second one would be refused")
    return good("lock", "free")


def _database(file: Path) -> Iterator[Finding]:
    try:
        with file.open("rb") as opened:
            header = opened.read(100)
    except FileNotFoundError:
        yield good("database", "there is none yet: it is made at the start")
        return
    except OSError as error:
        yield bad("database", f"{file}: {error.strerror}", "give it to the user that the server runs as")
        return
    if not header.startswith(HEADER):
        yield bad("database", f"{file} is no SQLite database", "move it away, or bring back a backup")
        return
    from scanstream.engines.schema import SCHEMA_VERSION  # noqa: PLC0415

    schema = int.from_bytes(header[60:64], "big")
    size = f"{file.stat().st_size / 1024**2:,.1f} MiB"
    if schema > SCHEMA_VERSION:
        yield bad(
            "database", f"schema {schema}, and this version knows {SCHEMA_VERSION}", "use the version that wrote it"
        )
    elif header[18] != WAL:
        yield bad("database", f"{size}, without a write-ahead log", "start the server once: it sets the journal")
    else:
        yield good("database", f"{size}, schema {schema}, with a write-ahead log")


async def of_nats(settings: "Settings") -> AsyncIterator[Finding]:
    """NATS and its streams; what is not there is made by the first node that starts."""
    from scanstream.engines.nats.answers import ApiError  # noqa: PLC0415  # nats-py is an extra
    from scanstream.engines.nats.connection import connected  # noqa: PLC0415
    from scanstream.engines.nats.deliveries import of_deliveries  # noqa: PLC0415
    from scanstream.engines.nats.jobs import of_jobs  # noqa: PLC0415
    from scanstream.engines.nats.streams import of_scans  # noqa: PLC0415

    options = settings.nats
    assert options is not None
    try:
        async with connected(options, patience=PATIENCE_SECONDS) as connection:
            yield good("nats", f"{connection.client.version_told} at {connection.client.where()}")
            streams = {"stream": of_scans, "shards": of_jobs, "deliveries": of_deliveries}
            for check, of_stream in streams.items():
                finding, told = await _stream(connection, check, of_stream(connection))
                yield finding
            if told:
                yield _clocks(told)
    except ScanstreamError as error:
        yield bad("nats", error.detail, "docs/scaling.md says what it needs, and how to look at it")
    except ApiError as error:
        yield bad("nats", str(error), "docs/scaling.md says what it needs, and how to look at it")


async def _stream(connection: "Connection", check: str, wanted: dict[str, Any]) -> tuple[Finding, str]:
    """What a stream holds, if it is as it must be; and what time NATS told, if it is there.

    :raises ScanstreamError, ApiError: if it is not, or nobody says
    """
    from scanstream.engines.nats.answers import ApiError  # noqa: PLC0415
    from scanstream.engines.nats.streams import NO_STREAM, still_as  # noqa: PLC0415

    try:
        told = await connection.request_api(f"STREAM.INFO.{wanted['name']}", patience=PATIENCE_SECONDS)
    except ApiError as error:
        if error.code != NO_STREAM:
            raise
        return good(check, f"{wanted['name']} is not there yet: the first node makes it"), ""
    await still_as(connection, wanted, PATIENCE_SECONDS)
    state, replicas = told["state"], told["config"].get("num_replicas", 1)
    size = f"{state['messages']:,} messages, {state['bytes'] / 1024**2:,.1f} MiB, {replicas} replicas"
    return good(check, f"{wanted['name']}: {size}"), told.get("ts", "")


def _clocks(told: str) -> Finding:
    """How far the clocks are apart; that of NATS counts."""
    try:
        theirs = datetime.fromisoformat(told[:26].rstrip("Z") + "+00:00")
    except ValueError:
        return good("clocks", "NATS does not say what time it is")
    apart = (datetime.now(UTC) - theirs).total_seconds()
    if abs(apart) > LATE_SECONDS:
        return bad("clocks", f"this machine's is {apart:+.0f} s from that of NATS", "have both set by NTP")
    return good("clocks", "this machine's agrees with that of NATS")

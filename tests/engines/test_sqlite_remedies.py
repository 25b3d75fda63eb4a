"""What an operator is told to do about a database that does not open: nobody moves away a whole one for a full disk."""

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scanstream.engines import schema
from scanstream.engines.schema import DATABASE, SCHEMA_VERSION, connect
from scanstream.errors import DataUnusable
from scanstream.market.panels import unwritable
from scanstream.shortage import where_else

AWAY = "move it away"


def refused(data: Path) -> str:
    with pytest.raises(DataUnusable) as caught:
        connect(data / DATABASE)
    assert str(data / DATABASE) in caught.value.detail
    return caught.value.detail


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with a whole database."""
    connect(tmp_path / DATABASE).close()
    return tmp_path


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "user that the server runs as"),
        (errno.EACCES, "user that the server runs as"),
        (errno.EMFILE, "open files"),
        (errno.EIO, "disk cannot be read"),
    ],
    ids=errno.errorcode.get,
)
def test_what_the_system_says_is_no_damage(
    data: Path, number: int, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patches:
        patches.setattr(os, "open", fails)
        detail = refused(data)
    assert remedy in detail
    assert AWAY not in detail


@pytest.mark.parametrize(
    ("number", "other"), [(errno.ENOSPC, False), (errno.EIO, False), (errno.EACCES, True), (errno.ENOTDIR, True)]
)
def test_another_directory_is_told_only_where_this_may_be_the_wrong_one(number: int, other: bool) -> None:
    """In another one there are no scans."""
    error = OSError(number, os.strerror(number))
    for told in (unwritable(Path("/data"), error).detail, where_else(error)):
        assert ("--data" in told) == other, told


def limited(pages: int, *arguments: Any, **named: Any) -> sqlite3.Connection:
    """A connection to a file that has room for so many pages."""
    connection: sqlite3.Connection = sqlite3.connect(*arguments, **named)
    connection.execute(f"PRAGMA max_page_count = {pages}")
    return connection


def read_only(file: Path, **named: Any) -> sqlite3.Connection:
    """A connection that may not write."""
    connection: sqlite3.Connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, **named)
    return connection


def without_index(*_: Any, **__: Any) -> sqlite3.Connection:
    """What comes where a disk is full to its last block: the index of the write-ahead log has no place."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    raise error


@pytest.mark.parametrize(
    ("connects", "remedy"),
    [
        (partial(limited, 3), "make room"),
        (without_index, "make room"),
        (read_only, "user that the server runs as"),
    ],
    ids=["full", "full to its last block", "read-only"],
)
def test_what_sqlite_says_of_its_surroundings_is_no_damage(
    tmp_path: Path, connects: Callable[..., sqlite3.Connection], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patches:
        patches.setattr(schema, "sqlite3", _Sqlite(connects))
        detail = refused(tmp_path)
    assert remedy in detail
    assert AWAY not in detail


class _Sqlite:
    """The module, with another way to connect."""

    def __init__(self, connects: Callable[..., sqlite3.Connection]) -> None:
        self.connect = connects

    def __getattr__(self, name: str) -> Any:
        return getattr(sqlite3, name)


def test_a_program_that_has_it_open_is_to_be_ended(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = partial(sqlite3.connect, timeout=0)
    monkeypatch.setattr(schema, "sqlite3", _Sqlite(at_once))
    with closing(sqlite3.connect(data / DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        detail = refused(data)
    assert "end the other program" in detail
    assert AWAY not in detail


def test_of_a_newer_one_the_version_is_told_and_that_it_must_be_as_new(data: Path) -> None:
    with closing(sqlite3.connect(data / DATABASE)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    detail = refused(data)
    assert f"schema {SCHEMA_VERSION + 1}" in detail
    assert "start a version that is as new" in detail
    assert AWAY not in detail


def test_of_one_that_is_damaged_the_backup_is_told(data: Path) -> None:
    (data / DATABASE).write_bytes(b"x" * 8192)
    assert AWAY in refused(data)

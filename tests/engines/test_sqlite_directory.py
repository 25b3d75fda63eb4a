"""The data directory: one server at a time, and refusals that say what is wrong and what to do."""

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from scanstream.engines.schema import DATABASE, SCHEMA_VERSION
from scanstream.engines.sqlite import open_store
from scanstream.errors import DataLocked, DataUnusable, ScanstreamError
from scanstream.model import ScanId
from support.stores import registration

pytestmark = pytest.mark.anyio

TRY_TO_OPEN = """
import anyio, pathlib, sys
from scanstream.engines.sqlite import open_store
async def main():
    async with open_store(pathlib.Path(sys.argv[1])):
        print(__import__("os").getpid(), flush=True)
        sys.stdin.read()
try:
    anyio.run(main)
except* Exception as group:
    print(repr(group.exceptions[0]))
"""


def another_process(data: Path) -> subprocess.Popen[str]:
    """Opens the store, says its process id (or why it cannot), and closes it when its input ends."""
    command = [sys.executable, "-c", TRY_TO_OPEN, str(data)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def refused(data: Path, kind: type[ScanstreamError] = DataUnusable) -> str:
    """What the store says when it does not open."""
    with pytest.raises(kind) as caught:
        async with open_store(data):
            pass
    return caught.value.detail


async def test_a_second_store_in_this_process_is_refused(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        detail = await refused(tmp_path, DataLocked)
        await store.register(registration("scan_a"), None)  # the first one is not disturbed
    assert str(tmp_path) in detail
    async with open_store(tmp_path) as store:
        assert await store.history(ScanId("scan_a")) == [registration("scan_a")]


async def test_a_second_store_in_another_process_is_refused_by_name_and_pid(tmp_path: Path) -> None:
    with another_process(tmp_path) as other:
        assert other.stdout is not None
        pid = other.stdout.readline().strip()
        assert pid == str(other.pid)
        detail = await refused(tmp_path, DataLocked)
        other.communicate()
    assert str(tmp_path) in detail
    assert re.search(rf"\bprocess {pid}\b", detail)
    assert "--data" in detail
    async with open_store(tmp_path):  # free again
        with another_process(tmp_path) as other:
            answer, _ = other.communicate()
    assert answer.startswith("DataLocked")


async def test_a_server_that_was_killed_leaves_no_lock(tmp_path: Path) -> None:
    with another_process(tmp_path) as other:
        assert other.stdout is not None
        other.stdout.readline()
        other.kill()
        other.communicate()
    async with open_store(tmp_path):
        pass


@pytest.mark.parametrize("held", [b"\xff\xfe\x00rubbish", b"", b"\xe2\x82", b"12 and more", "٣".encode(), b"9" * 32])
async def test_whatever_stands_in_the_lock_file_the_refusal_is_one_line(tmp_path: Path, held: bytes) -> None:
    async with open_store(tmp_path):
        (tmp_path / "lock").write_bytes(held)
        assert "(process unknown)" in await refused(tmp_path, DataLocked)
    (tmp_path / "lock").write_bytes(held)
    async with open_store(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


async def test_a_directory_in_the_locks_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    assert "--data" in await refused(tmp_path)


async def test_what_the_store_writes_is_its_owners_alone(tmp_path: Path) -> None:
    """The database holds the key of the scan ids, and so does its write-ahead log."""
    async with open_store(tmp_path / "new") as store:
        await store.register(registration("scan_a"), None)
        modes = {file.name: oct(file.stat().st_mode & 0o777) for file in (tmp_path / "new").iterdir()}
    assert modes == dict.fromkeys(modes, "0o600")
    assert set(modes) >= {DATABASE, f"{DATABASE}-wal"}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


async def test_a_path_below_a_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for data in (tmp_path / "file", tmp_path / "file" / "below"):
        detail = await refused(data)
        assert str(data) in detail
        assert "--data" in detail


async def test_a_directory_in_the_databases_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATABASE).mkdir()
    assert str(tmp_path / DATABASE) in await refused(tmp_path)


async def test_a_text_file_in_the_databases_place_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_text("no database\n" * 1000)
    detail = await refused(tmp_path)
    assert str(tmp_path / DATABASE) in detail
    assert "backup" in detail
    assert (tmp_path / DATABASE).read_text() == "no database\n" * 1000


async def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    for version in (0, SCHEMA_VERSION):
        data = tmp_path / str(version)
        data.mkdir()
        with closing(sqlite3.connect(data / DATABASE)) as connection:
            connection.execute("CREATE TABLE meta (something TEXT)")
            connection.execute(f"PRAGMA user_version = {version}")
        assert str(data / DATABASE) in await refused(data)


async def test_a_newer_schema_is_refused_as_newer(tmp_path: Path) -> None:
    async with open_store(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    assert "newer" in await refused(tmp_path)


async def test_a_refusal_lets_go_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_text("no database\n" * 1000)
    await refused(tmp_path)
    (tmp_path / DATABASE).unlink()
    async with open_store(tmp_path) as store:
        assert await store.register(registration("scan_a"), None) == "scan_a"

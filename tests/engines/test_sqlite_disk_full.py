"""A full disk: the caller is told, nothing of the operation has happened, and with room the store goes on."""

import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from scanstream.engines.schema import DATABASE
from scanstream.engines.sqlite import SqliteStore, open_store
from scanstream.errors import StoreUnavailable
from scanstream.log.entry import AnyEntry, ScanFailed
from scanstream.model import ScanId
from support.stores import consuming, fact, registration

pytestmark = pytest.mark.anyio

A, B = ScanId("scan_a"), ScanId("scan_b")


@asynccontextmanager
async def no_file(store: SqliteStore, data: Path) -> AsyncIterator[None]:
    """Somebody has moved the database away: what is written now would go where nobody looks for it."""
    (data / DATABASE).rename(data / "elsewhere")
    (data / DATABASE).touch()
    try:
        yield
    finally:
        (data / "elsewhere").rename(data / DATABASE)


UNLIMITED_PAGES = 1_073_741_823

Full = Callable[[SqliteStore, Path], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def no_more_pages(store: SqliteStore, data: Path) -> AsyncIterator[None]:
    """SQLite itself refuses to grow the database: the statement fails."""

    async def allow(pages: int | str) -> None:
        await store._commits.run(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone())

    query = "PRAGMA page_count"
    (pages,) = await store._commits.run(lambda connection: connection.execute(query).fetchone())
    await allow(pages)
    try:
        yield
    finally:
        await allow(UNLIMITED_PAGES)


@asynccontextmanager
async def no_more_bytes(store: SqliteStore, data: Path) -> AsyncIterator[None]:
    """The kernel refuses to grow the write-ahead log: the commit fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((data / f"{DATABASE}-wal").stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(params=[no_more_pages, no_more_bytes, no_file])
def full(request: pytest.FixtureRequest) -> Full:
    fill: Full = request.param
    return fill


def heavy(number: int) -> ScanFailed:
    """An entry that needs pages of its own."""
    return ScanFailed(at=number, code="heavy", detail="h" * 50_000)


@asynccontextmanager
async def opened(data: Path) -> AsyncIterator[SqliteStore]:
    """A store that has written a megabyte, so that the limits have something to stand on."""
    async with open_store(data) as store:
        await store.register(registration(A, ballast=1_000_000), None)
        yield store


async def test_what_is_refused_has_not_happened_and_happens_when_there_is_room(tmp_path: Path, full: Full) -> None:
    first, second = registration(A, ballast=1_000_000), registration(B, ballast=100_000)
    entries: list[AnyEntry] = [fact(0), heavy(1), heavy(2), fact(3)]
    async with opened(tmp_path) as store, consuming(store) as consumer:
        async with full(store, tmp_path):
            for _ in range(3):
                with pytest.raises(StoreUnavailable) as caught:
                    await store.register(second, None)
                assert caught.value.retry_after
                with pytest.raises(StoreUnavailable):
                    await store.append(A, *entries)
        await store.barrier()
        assert await store.history(B) is None
        assert await store.history(A) == consumer.log(A) == [first]
        assert await store.register(second, None) == B
        await store.append(A, *entries)
        await store.barrier()
        assert await store.history(A) == consumer.log(A) == [first, *entries]
        assert consumer.log(B) == [second]
    async with open_store(tmp_path) as store:
        assert await store.history(A) == [first, *entries]
        assert await store.history(B) == [second]


async def test_of_many_at_once_the_acked_ones_and_no_others_have_happened(tmp_path: Path, full: Full) -> None:
    acked: list[int] = []
    refused: list[int] = []
    too_big = set(range(0, 100, 20))

    async def write(number: int) -> None:
        try:
            await store.append(A, fact(number), heavy(number) if number in too_big else fact(number))
        except StoreUnavailable:
            refused.append(number)
        else:
            acked.append(number)

    async with opened(tmp_path) as store, consuming(store) as consumer:
        async with full(store, tmp_path):
            for start in range(0, 100, 10):
                async with anyio.create_task_group() as tasks:
                    for number in range(start, start + 10):
                        tasks.start_soon(write, number)
        assert too_big <= set(refused)
        assert len(acked) + len(refused) == 100
        await write(100)
        assert acked[-1] == 100
        await store.barrier()
        _, *written = consumer.log(A)
        assert written == [fact(number) for number in acked for _ in range(2)]
        assert await store.history(A) == consumer.log(A)


OPEN_WITHOUT_ROOM = """
import anyio, pathlib, resource, sys
from scanstream.engines.sqlite import open_store
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
async def main():
    async with open_store(pathlib.Path(sys.argv[1])):
        pass
try:
    anyio.run(main)
except Exception as error:
    print(repr(error))
"""


def test_a_disk_that_is_full_at_the_start_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN_WITHOUT_ROOM, str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert answer.startswith("DataUnusable("), answer
    assert str(tmp_path) in answer
    assert "backup" not in answer

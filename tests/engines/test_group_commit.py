"""The writer thread outlives whatever an operation or the disk does, and nobody waits for ever."""

import gc
import sqlite3
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest

from scanstream.engines import group_commit
from scanstream.engines.group_commit import GroupCommit, Operation
from scanstream.errors import StoreUnavailable

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def committing(connection: Any = None) -> AsyncIterator[GroupCommit]:
    """A thread on a database in memory."""
    own = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)

    def answer(batch: list[Operation[Any]]) -> None:
        for operation in batch:
            operation.answer()

    commits = GroupCommit(connection or own, on_commit=answer, on_rollback=lambda: None)
    try:
        yield commits
    finally:
        await commits.close()
        own.close()


def one(connection: sqlite3.Connection) -> int:
    """Ask for 1."""
    (answer,) = connection.execute("SELECT 1").fetchone()
    return int(answer)


async def test_out_of_memory_is_a_store_that_is_away_for_the_moment() -> None:
    def greedy(_: sqlite3.Connection) -> None:
        raise MemoryError

    async with committing() as commits:
        for reads in (True, False):
            with pytest.raises(StoreUnavailable):
                await commits.run(greedy, reads=reads)
        assert await commits.run(one) == 1


async def test_what_could_not_be_written_is_let_go_with_its_error() -> None:
    class Full:
        """The disk, for what is to be written."""

        def __call__(self, _: sqlite3.Connection) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    async with committing() as commits:
        gc.disable()
        try:
            operation = Full()
            held = weakref.ref(operation)
            with suppress(StoreUnavailable):
                await commits.run(operation)
            del operation
            await commits.run(one)  # the thread has other work in hand
            assert held() is None, "only a collection would find it"
        finally:
            gc.enable()


class NoWayBack:
    """A connection on which nothing works for a while, not even to roll back."""

    def __init__(self) -> None:
        self.inner = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.broken = True
        self.in_transaction = True
        self.total_changes = 0

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        if self.broken:
            raise sqlite3.OperationalError("disk I/O error")
        return self.inner.execute(*arguments)

    def close(self) -> None:
        self.inner.close()


async def test_the_thread_goes_on_where_not_even_the_way_back_is_possible() -> None:
    connection = NoWayBack()
    async with committing(connection) as commits:
        with pytest.raises(StoreUnavailable):
            await commits.run(one)
        connection.broken = False
        connection.in_transaction = False
        assert await commits.run(one) == 1


async def test_a_disk_that_hangs_is_as_good_as_away_and_ends_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(group_commit, "CLOSE_SECONDS", 0.2)
    goes_on = threading.Event()
    done: list[str] = []

    def hang(_: sqlite3.Connection) -> None:
        goes_on.wait()
        done.append("hung")

    async with committing() as commits:
        with anyio.fail_after(20):
            with pytest.raises(StoreUnavailable, match="has not answered"):
                await commits.run(hang)
            with pytest.raises(StoreUnavailable, match="has not answered"):
                await commits.run(lambda _: done.append("waited"))
            assert not await commits.close()
            goes_on.set()
            assert await commits.close()
    assert done == ["hung"]  # what waited behind it has not happened, as its caller was told


async def test_what_waits_is_all_done_however_it_comes_and_what_is_taken_back_ends_nothing() -> None:
    async with committing() as commits:
        for _ in range(200):  # one that is gone as the thread wakes up: it waits for the next one
            gone: Operation[int] = Operation(one, fed=False, reads=True)
            commits._queue.append(gone)
            commits._bell.ring()
            with suppress(ValueError):
                commits._queue.remove(gone)
            assert await commits.run(one) == 1
        answers: list[int] = []

        async def ask() -> None:
            for _ in range(20):
                answers.append(await commits.run(one))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(ask)
        assert answers == [1] * 1000
        assert commits._thread.is_alive()
    assert not commits._thread.is_alive()

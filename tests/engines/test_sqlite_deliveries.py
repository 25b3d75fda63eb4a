"""Deliveries in a SQLite file, and in memory: killed, full, damaged, on clocks that are set, and very many."""

import random
import sqlite3
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest

from engines.deliveries_contract import (
    LONG_SECONDS,
    DeliveriesContract,
    DurableDeliveriesContract,
    Opened,
    deliveries_of,
    delivery,
    nothing,
    taken,
    told,
)
from engines.test_sqlite_disk_full import Full, no_file, no_more_bytes, no_more_pages
from scanstream.deliveries import Deliveries, Delivery
from scanstream.engines import deliveries as engine
from scanstream.engines.deliveries import SqliteDeliveries
from scanstream.engines.schema import DATABASE
from scanstream.engines.sqlite import open_store
from scanstream.errors import StoreUnavailable
from support.process import lines_until_killed

pytestmark = pytest.mark.anyio

HOUR = 3_600_000
MANY = 100_000
MOST_BYTES = 256 * 1024
"""What it may take to look among so many: far less than they are."""


def opening(data: Path | None) -> Opened:
    """Deliveries in this directory, or in memory."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Deliveries]:
        async with open_store(data) as store:
            yield store.deliveries

    return opened


class TestFile(DurableDeliveriesContract):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Opened:
        return opening(tmp_path)


class TestMemory(DeliveriesContract):
    @pytest.fixture
    def opened(self) -> Opened:
        return opening(None)


async def test_killed_at_any_moment_nothing_put_is_lost_nothing_done_comes_and_each_attempt_counts(
    tmp_path: Path,
) -> None:
    put, done, tried = set[str](), set[str](), Counter[str]()
    for _ in range(3):
        lines = lines_until_killed("deliverer.py", tmp_path, random.randrange(50, 600))
        for what, name, *told_number in map(str.split, lines):
            if what == "put":
                put.add(name)
            elif what == "done":
                done.add(name)
            elif what == "took":
                assert int(told_number[0]) > tried[name], f"{name} was tried for the {told_number[0]}. time, again"
                tried[name] = int(told_number[0])
    assert done
    async with open_store(tmp_path) as store:
        count = await store.deliveries.waiting()
        attempts = await taken(store.deliveries, count)
        left = {attempt.delivery.id: attempt.number for attempt in attempts}
        assert len(left) == count
    assert not done & left.keys()
    lost = put - done - left.keys()
    assert lost <= tried.keys(), "what was never tried is not there"
    assert len(lost) <= 3, "done when it was killed, and not said yet: one each time"
    for name, number in left.items():
        assert number in (tried[name] + 1, tried[name] + 2), "two more: taken when it was killed, and not said yet"


@pytest.mark.parametrize("full", [no_more_pages, no_more_bytes, no_file])
async def test_what_is_put_where_there_is_no_room_is_refused_and_costs_nothing(tmp_path: Path, full: Full) -> None:
    heavy = [delivery(name, url=f"https://hooks.example.com/{name * 9000}") for name in "abc"]
    async with open_store(tmp_path) as store:
        deliveries = store.deliveries
        await deliveries.put(heavy[0])
        async with full(store, tmp_path):
            for _ in range(3):
                with pytest.raises(StoreUnavailable) as caught:
                    await deliveries.put(*heavy)
                assert caught.value.retry_after
        assert await deliveries.waiting() == 1
        await deliveries.put(*heavy)
        assert told(await taken(deliveries, 3)) == [("a", 1), ("b", 1), ("c", 1)]


async def until_told(caplog: pytest.LogCaptureFixture, words: str) -> None:
    """The log says so."""
    with anyio.fail_after(20):
        while words not in caplog.text:  # noqa: ASYNC110  # it is said in a while
            await anyio.sleep(0.01)


@pytest.mark.parametrize("full", [no_more_bytes, no_file])
async def test_what_is_tried_done_or_put_off_where_there_is_no_room_waits_for_it(
    tmp_path: Path, full: Full, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "PAUSE_SECONDS", 0.05)
    came: list[str] = []

    async def take(deliveries: Deliveries) -> None:
        came.extend(attempt.delivery.id for attempt in await taken(deliveries, 1))

    async with open_store(tmp_path) as store:
        deliveries = store.deliveries
        await deliveries.put(*deliveries_of("abc"))
        first, second = await taken(deliveries, 2)
        async with anyio.create_task_group() as tasks, full(store, tmp_path):
            tasks.start_soon(first.done)
            tasks.start_soon(second.again, LONG_SECONDS)
            tasks.start_soon(take, deliveries)
            await until_told(caplog, "deliveries wait")
            assert came == []
        assert came == ["c"]
        assert await deliveries.waiting() == 2
    async with open_store(tmp_path) as store:
        assert told(await taken(store.deliveries, 1)) == [("c", 2)]
        assert await nothing(store.deliveries)


async def test_who_is_cancelled_before_it_was_written_has_it_come_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_store(tmp_path) as store:
        deliveries = store.deliveries
        await deliveries.put(*deliveries_of("ab"))
        first, second = await taken(deliveries, 2)
        async with no_file(store, tmp_path), anyio.create_task_group() as tasks:
            tasks.start_soon(first.done)
            tasks.start_soon(second.again, LONG_SECONDS)
            await until_told(caplog, "deliveries wait")
            tasks.cancel_scope.cancel()
        assert told(await taken(deliveries, 2)) == [("a", 2), ("b", 2)]


class Clock:
    """A machine's, which somebody sets; and what has elapsed, which nobody does."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000_000
        self.uptime = 5_000.0

    def elapse(self, seconds: float) -> None:
        """Time passes."""
        self.uptime += seconds
        self.wall += round(seconds * 1000)

    @asynccontextmanager
    async def opened(self, data: Path) -> AsyncIterator[Deliveries]:
        """Deliveries that go by it."""
        async with open_store(data) as store:
            yield SqliteDeliveries(store._commits, elapsed=lambda: self.uptime, wall=lambda: self.wall)


@pytest.mark.parametrize("by", [-100 * HOUR, 100 * HOUR])
async def test_a_clock_that_is_set_changes_nothing_while_the_server_runs(tmp_path: Path, by: int) -> None:
    clock = Clock()
    async with clock.opened(tmp_path) as deliveries:
        await deliveries.put(*deliveries_of("ab"))
        (first, _) = await taken(deliveries, 2)
        await first.again(600)
        clock.wall += by
        clock.elapse(599)
        assert await nothing(deliveries)
        clock.elapse(1)
        assert told(await taken(deliveries, 1)) == [("a", 2)]


async def test_a_clock_that_was_set_back_over_a_restart_makes_nothing_wait_for_longer_than_it_was_to(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with clock.opened(tmp_path) as deliveries:
        await deliveries.put(*deliveries_of("ab"))
        first, second = await taken(deliveries, 2)
        await first.again(600)
        await second.again(60)
    clock.wall -= 100 * HOUR
    async with clock.opened(tmp_path) as deliveries:
        assert await nothing(deliveries)
        clock.elapse(60)
        assert told(await taken(deliveries, 1)) == [("b", 2)]
        clock.elapse(539)
    async with clock.opened(tmp_path) as deliveries:
        assert told(await taken(deliveries, 1)) == [("b", 3)]
        assert await nothing(deliveries)
        clock.elapse(1)
        assert told(await taken(deliveries, 1)) == [("a", 2)]


async def test_a_time_that_passed_while_the_server_was_away_has_passed(tmp_path: Path) -> None:
    clock = Clock()
    async with clock.opened(tmp_path) as deliveries:
        await deliveries.put(delivery("a"))
        (attempt,) = await taken(deliveries, 1)
        await attempt.again(600)
    clock.elapse(400)
    clock.uptime = 20.0  # the machine has started anew
    async with clock.opened(tmp_path) as deliveries:
        assert await nothing(deliveries)
        clock.elapse(200)
        assert told(await taken(deliveries, 1)) == [("a", 2)]


async def test_one_that_cannot_be_read_costs_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_store(tmp_path) as store:
        await store.deliveries.put(*deliveries_of("abc"))
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection, connection:
        connection.execute("UPDATE deliveries SET body = x'7b7d' WHERE id = 'a'")
    async with open_store(tmp_path) as store:
        deliveries = store.deliveries
        assert told(await taken(deliveries, 1)) == [("b", 1)]
        (attempt,) = await taken(deliveries, 1)
        await attempt.done()
        await deliveries.put(delivery("d"))
        assert told(await taken(deliveries, 1)) == [("d", 1)]
    assert caplog.text.count("(number 1) is damaged, and left out") == 1


async def test_a_damaged_page_of_them_costs_those_that_it_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"{number:03}" for number in range(200)]
    async with open_store(tmp_path) as store:
        await store.deliveries.put(*(delivery(name, url="u" * 200) for name in names))
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        query = "SELECT pageno, pgsize FROM dbstat WHERE name = 'deliveries' AND pagetype = 'leaf' ORDER BY path"
        leaves = connection.execute(query).fetchall()
    assert len(leaves) > 10
    page, size = leaves[len(leaves) // 2]
    with (tmp_path / DATABASE).open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * 200)
    async with open_store(tmp_path) as store:
        come: list[str] = []
        async with aclosing(store.deliveries.due()) as due:  # type: ignore[type-var]  # a generator everywhere
            with anyio.move_on_after(20):
                async for attempt in due:
                    come.append(attempt.delivery.id)
                    await attempt.done()
                    if attempt.delivery.id == names[-1]:
                        break
        assert come == sorted(come)
        assert len(names) - 20 < len(come) < len(names)
        assert "is damaged, and left out" in caplog.text


async def test_of_very_many_that_wait_no_more_are_in_memory_than_somebody_has(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        deliveries = store.deliveries
        for start in range(0, MANY, 10_000):
            await deliveries.put(*(delivery(f"{number:06}") for number in range(start, start + 10_000)))
        (attempt,) = await taken(deliveries, 1)
        tracemalloc.start()
        try:
            attempts = [attempt, *await taken(deliveries, 20)]
            assert await deliveries.waiting() == MANY
            await attempt.again(LONG_SECONDS)
            assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
        finally:
            tracemalloc.stop()
        assert told(attempts) == [(f"{number:06}", 1) for number in range(21)]


def of(principal: str, count: int) -> list[Delivery]:
    return [delivery(f"{principal}{number}", principal=principal) for number in range(count)]


async def names(deliveries: Deliveries, count: int) -> list[str]:
    return [attempt.delivery.id for attempt in await taken(deliveries, count)]


async def test_principals_take_turns_however_much_one_of_them_has(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        deliveries = store.deliveries
        await deliveries.put(*of("flood", 50), *of("bob", 2))
        await deliveries.put(*of("eve", 1))
        assert await names(deliveries, 5) == ["bob0", "eve0", "flood0", "bob1", "flood1"]
        await deliveries.put(*of("zoe", 1), *of("ann", 2))
        assert await names(deliveries, 5) == ["zoe0", "ann0", "flood2", "ann1", "flood3"]
    async with open_store(tmp_path) as store:
        assert await names(store.deliveries, 6) == ["ann0", "bob0", "eve0", "flood0", "zoe0", "ann1"]


async def test_whose_time_has_not_come_has_no_turn_and_is_missed_by_nobody(tmp_path: Path) -> None:
    clock = Clock()
    async with clock.opened(tmp_path) as deliveries:
        await deliveries.put(*of("a", 2), *of("b", 1))
        first, other, _ = await taken(deliveries, 3)
        await other.again(60)
        await first.again(600)
        await deliveries.put(*of("c", 2))
        assert await names(deliveries, 2) == ["c0", "c1"]
        clock.elapse(60)
        assert await names(deliveries, 1) == ["b0"]
        clock.elapse(540)
        assert await names(deliveries, 1) == ["a0"]


async def test_of_very_many_principals_each_has_a_turn_in_a_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LOOKED_AT", 3)
    everybody = [f"principal {number:02}" for number in range(10)]
    async with open_store(tmp_path) as store:
        deliveries = store.deliveries
        for principal in everybody:
            await deliveries.put(*of(principal, 3))
        for number in range(3):
            attempts = await taken(deliveries, 10)
            assert [attempt.delivery.id for attempt in attempts] == [f"{name}{number}" for name in everybody]
        assert await nothing(deliveries)
        await attempts[1].again()
        assert await names(deliveries, 1) == ["principal 012"]


async def test_who_waits_for_something_to_do_is_woken_by_what_is_put() -> None:
    async with open_store(None) as store, anyio.create_task_group() as tasks:
        deliveries = store.deliveries
        tasks.start_soon(taken, deliveries, 1)
        with anyio.fail_after(20):
            while not deliveries._news.statistics().tasks_waiting:  # noqa: ASYNC110  # it has found nothing, and waits
                await anyio.sleep(0.01)
        with anyio.fail_after(engine.LOOK_SECONDS / 4):
            await deliveries.put(delivery("a"))
            while deliveries._consumed:  # noqa: ASYNC110  # it has come
                await anyio.sleep(0.01)


async def test_what_is_due_has_one_consumer_at_a_time() -> None:
    async with open_store(None) as store:
        await store.deliveries.put(*deliveries_of("ab"))
        async with aclosing(store.deliveries.due()) as due:  # type: ignore[type-var]  # a generator everywhere
            await anext(due)
            with pytest.raises(RuntimeError, match="has a consumer already"):
                await taken(store.deliveries, 1)
        assert told(await taken(store.deliveries, 1)) == [("b", 1)]

"""What every queue of shards must do, and whoever lets scans in: one suite each, over those in memory and on NATS."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import anyio
import pytest

from scanstream.jobs import Call, Calls, Jobs, Lease, ShardName
from scanstream.model import ScanId

A, B = ScanId("scan_a"), ScanId("scan_b")
NOTHING_SECONDS = 0.3

Opened = Callable[[], AbstractAsyncContextManager[Jobs]]


def names(scan: ScanId, *numbers: int, strategy: str = "tsmom") -> list[ShardName]:
    """Shards of a scan."""
    return [ShardName(scan_id=scan, strategy_id=strategy, number=number) for number in numbers]


async def taken(jobs: Jobs, count: int) -> list[Lease]:
    """The next so many."""
    async with aclosing(jobs.leases()) as leases:  # type: ignore[type-var]  # a generator everywhere
        return [await _soon(leases) for _ in range(count)]


async def _soon(items: AsyncIterator[Any]) -> Any:
    with anyio.fail_after(20):
        return await anext(items)


async def nothing(items: AsyncIterator[Any]) -> bool:
    """Whether nothing comes."""
    with anyio.move_on_after(NOTHING_SECONDS) as scope:
        await anext(items)
    return scope.cancelled_caught


def told(leases: Iterable[Lease]) -> list[tuple[str, int, int]]:
    """(strategy, number, attempt) of each."""
    return [(lease.shard.strategy_id, lease.shard.number, lease.attempt) for lease in leases]


@pytest.mark.anyio
class JobsContract:
    """A subclass gives the fixture `opened`."""

    async def test_each_shard_comes_once_in_its_order_however_often_it_was_put(self, opened: Opened) -> None:
        async with opened() as jobs:
            await jobs.put(names(A, 0, 1))
            await jobs.put(names(A, 1, 0, 2))
            leases = await taken(jobs, 2)
            await jobs.put(names(A, 0, 1, 2))
            assert told([*leases, *await taken(jobs, 1)]) == [("tsmom", 0, 1), ("tsmom", 1, 1), ("tsmom", 2, 1)]
            assert [lease.shard for lease in leases] == names(A, 0, 1)
            assert await nothing(jobs.leases())

    async def test_a_strategy_may_be_called_anything(self, opened: Opened) -> None:
        wild = names(A, 7, strategy="a.b > *:Ü")
        async with opened() as jobs:
            await jobs.put(wild)
            (lease,) = await taken(jobs, 1)
            assert lease.shard == wild[0]

    async def test_what_was_tried_comes_again_as_another_attempt(self, opened: Opened) -> None:
        async with opened() as jobs:
            await jobs.put(names(A, 0))
            for attempt in (1, 2, 3):
                (lease,) = await taken(jobs, 1)
                assert (lease.attempt, lease.deaths) == (attempt, 0)
                lease.leave()
                await lease.give_back()

    async def test_who_has_to_leave_costs_no_attempt(self, opened: Opened) -> None:
        async with opened() as jobs:
            await jobs.put(names(A, 0))
            for attempt, tried in ((1, False), (1, True), (2, False), (2, False)):
                (lease,) = await taken(jobs, 1)
                assert (lease.attempt, lease.deaths) == (attempt, 0)
                lease.leave()
                await lease.give_back(tried=tried)

    async def test_what_is_done_comes_no_more(self, opened: Opened) -> None:
        async with opened() as jobs:
            await jobs.put(names(A, 0, 1))
            for lease in await taken(jobs, 2):
                lease.leave()
                await lease.done()
            assert await nothing(jobs.leases())

    async def test_a_dropped_scan_is_forgotten_and_what_is_given_back_of_it_too(self, opened: Opened) -> None:
        async with opened() as jobs:
            await jobs.put([*names(A, 0, 1, 2), *names(B, 0)])
            (lease,) = await taken(jobs, 1)
            assert lease.shard == names(A, 0)[0]
            await jobs.drop(A)
            lease.leave()
            await lease.give_back()
            assert [lease.shard for lease in await taken(jobs, 1)] == names(B, 0)
            assert await nothing(jobs.leases())
            await jobs.put(names(A, 0))
            assert told(await taken(jobs, 1)) == [("tsmom", 0, 1)]


Released = Callable[[ScanId], Awaitable[None]]
LetIn = Callable[[int], AbstractAsyncContextManager[tuple[Calls, Released]]]
"""`async with let_in(2) as (calls, release)`: two run at once; `release` lets a scan start."""


@pytest.mark.anyio
class CallsContract:
    """A subclass gives the fixture `let_in`."""

    async def test_scans_are_let_in_as_they_may_start_and_no_more_than_may_run(self, let_in: LetIn) -> None:
        async with let_in(2) as (calls, release), aclosing(calls.granted()) as granted:  # type: ignore[type-var]
            for scan in ("scan_2", "scan_1", "scan_3", "scan_4"):
                await release(ScanId(scan))
            first, second = await _soon(granted), await _soon(granted)
            assert [first.scan_id, second.scan_id] == ["scan_2", "scan_1"]
            with anyio.move_on_after(NOTHING_SECONDS):
                pytest.fail(f"{(await anext(granted)).scan_id} was let in")

    async def test_who_ends_makes_a_place(self, let_in: LetIn) -> None:
        async with let_in(1) as (calls, release):
            granted = calls.granted()
            for scan in ("scan_1", "scan_2", "scan_3"):
                await release(ScanId(scan))
            for scan in ("scan_1", "scan_2", "scan_3"):
                call: Call = await _soon(granted)
                assert call.scan_id == scan
                await call.done()

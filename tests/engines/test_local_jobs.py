"""The queues in memory keep the contract of the ports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from engines.jobs_contract import CallsContract, JobsContract, LetIn, Opened, Released, names, taken
from scanstream.jobs import Calls, Jobs
from scanstream.log.entry import Queued
from scanstream.log.scanlog import ScanLog
from scanstream.model import Principal, ScanId
from scanstream.scans.calls import LocalCalls
from scanstream.scans.local import LocalJobs
from scanstream.scans.turns import Turns
from support.histories import NOON, registered


class TestComputing(JobsContract):
    @pytest.fixture
    def opened(self) -> Opened:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Jobs]:
            yield LocalJobs()

        return opened


class TestWaiting(JobsContract):
    @pytest.fixture
    def opened(self) -> Opened:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Jobs]:
            yield Turns(32)

        return opened


class TestCalls(CallsContract):
    @pytest.fixture
    def let_in(self) -> LetIn:
        @asynccontextmanager
        async def let_in(places: int) -> AsyncIterator[tuple[Calls, Released]]:
            calls = LocalCalls(places)

            async def release(scan_id: ScanId) -> None:
                log = ScanLog(registered("a", scan_id=scan_id), "epoch")
                log.apply(2, Queued(at=NOON))
                calls.notice(log)

            yield calls, release

        return let_in


@pytest.mark.anyio
async def test_shards_for_workers_go_around_principals_and_then_their_scans() -> None:
    """Whoever has fifty scans has one turn of two, as the other one has who has one."""
    jobs = LocalJobs(lambda scan_id: Principal(scan_id[5]))
    for number in range(50):
        await jobs.put(names(ScanId(f"scan_a{number}"), 0, 1))
    await jobs.put(names(ScanId("scan_b"), *range(8)))
    turns = [lease.shard.scan_id for lease in await taken(jobs, 16)]
    assert turns[1::2] == ["scan_b"] * 8
    assert turns[::2] == [f"scan_a{number}" for number in range(8)]
    for number in range(50):
        await jobs.drop(ScanId(f"scan_a{number}"))
    await jobs.drop(ScanId("scan_b"))
    assert jobs.depth() == 0
    assert not jobs._waiting

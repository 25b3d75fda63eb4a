"""The queues in memory keep the contract of the ports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from engines.jobs_contract import CallsContract, JobsContract, LetIn, Opened, Released
from scanstream.jobs import Calls, Jobs
from scanstream.log.entry import Queued
from scanstream.log.scanlog import ScanLog
from scanstream.model import ScanId
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

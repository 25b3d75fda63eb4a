"""A shard in a worker process: the same result, behind the server, and never without one."""

import os
import sys
from pathlib import Path

import anyio
import pytest
from anyio import BrokenWorkerProcess, to_process
from msgspec import UNSET

from scans.planted import has_entered_the_idle_class, openings, panel, piece, whole
from scanstream.market.synthetic import SyntheticMarket
from scanstream.model import DiscoverRequest
from scanstream.scans.work import shard as worker
from scanstream.scans.work.priority import NICENESS

pytestmark = pytest.mark.anyio


async def test_a_worker_process_does_the_same_behind_the_server(tmp_path: Path) -> None:
    saved = SyntheticMarket(symbols=8, bars=600).load().save(tmp_path)
    encoded = piece(saved, DiscoverRequest(), "tsmom", stop=8)
    limiter = anyio.CapacityLimiter(1)
    first, second = [
        whole(await to_process.run_sync(worker.run, encoded, str(tmp_path), os.getpid(), limiter=limiter))
        for _ in range(2)
    ]
    assert first.error is second.error is UNSET
    assert first.opportunities
    assert [found.id for found in first.opportunities] == [found.id for found in second.opportunities]
    assert await to_process.run_sync(os.nice, 0, limiter=limiter) == min(19, os.nice(0) + NICENESS)
    if sys.platform == "linux":
        assert await to_process.run_sync(has_entered_the_idle_class, limiter=limiter)


async def test_a_worker_opens_the_panel_once(tmp_path: Path) -> None:
    saved = SyntheticMarket(symbols=8, bars=600).load().save(tmp_path)
    limiter = anyio.CapacityLimiter(1)
    before = await to_process.run_sync(openings, limiter=limiter)
    for strategy_id in ("tsmom", "meanrev", "donchian", "cross_exchange", "tsmom"):
        encoded = piece(saved, DiscoverRequest(), strategy_id, stop=1)
        found = await to_process.run_sync(worker.run, encoded, str(tmp_path), os.getpid(), limiter=limiter)
        assert whole(found).error is UNSET
    after = await to_process.run_sync(openings, limiter=limiter)
    assert (after[0] - before[0], after[1] - before[1]) == (1, 4)


async def test_a_worker_whose_server_is_gone_leaves_without_a_word(tmp_path: Path) -> None:
    encoded = piece(panel(), DiscoverRequest())
    with pytest.raises(BrokenWorkerProcess):
        await to_process.run_sync(worker.run, encoded, str(tmp_path), os.getpid() + 1)


async def test_with_a_low_priority_the_kernels_usual_class_stays(tmp_path: Path) -> None:
    limiter = anyio.CapacityLimiter(1)
    await to_process.run_sync(worker.prepare, os.getpid(), False, limiter=limiter)
    if sys.platform == "linux":
        assert await to_process.run_sync(os.sched_getscheduler, 0, limiter=limiter) == os.SCHED_OTHER

"""One truth: whatever doors a reader uses, and wherever it is cut, what it folds is the status and the results."""

import random
from copy import copy
from typing import Any

import anyio
import pytest

from conftest import Serve
from scanstream.client.mirror import Mirror
from support.readers import READERS, Reader
from support.wire import discover, results, until_terminal

pytestmark = pytest.mark.anyio

SHAPES = [(1, 0), (3, 1), (12, 40), (2, 700), (40, 3)]
"""(shards, opportunities a shard): from silent to chunked."""
AT_ONCE = 8


async def some_frames(reader: Reader, schedule: random.Random) -> Mirror:
    """Take a few frames; what the client holds afterwards."""
    for _ in range(schedule.choice([1, 1, 2, 3, 8])):
        held = copy(reader.mirror)
        held.opportunities = list(reader.mirror.opportunities)
        if reader.mirror.ended:
            break
        await reader.step()
        if schedule.random() < 0.1:  # the answer is lost on its way: the client has its older cursor still
            return held
    return reader.mirror


async def wander(url: str, scan_id: str, seed: int) -> tuple[Mirror, int]:
    """Read a scan to its end over random doors, each left after a random number of frames."""
    schedule = random.Random(seed)
    mirror = Mirror()
    switches = 0
    while not mirror.ended:
        door = schedule.choice(READERS)
        async with door.open(url, scan_id, mirror) as reader:
            mirror = await some_frames(reader, schedule)
        switches += 1
    return mirror, switches


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("schedules", [60, pytest.param(2000, marks=pytest.mark.soak)])
async def test_any_schedule_of_doors_sees_the_same(
    serve: Serve, schedules: int, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = iter(range(schedules))
    total = 0

    async with serve(max_running=8) as url:

        async def reader() -> None:
            nonlocal total
            for seed in seeds:
                shards, found = SHAPES[seed % len(SHAPES)]
                parameters = {"scripted": {"shards": shards, "found": found, "work": 200}}
                wanted = {"strategy_ids": ["scripted"], "parameters": parameters, "force_refresh": True}
                scan_id = (await discover(url, wanted)).json()["scan_id"]
                mirror, switches = await wander(url, scan_id, seed)
                await _assert_equal(url, scan_id, mirror, seed)
                total += switches

        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(reader)
    with capsys.disabled():
        print(f"\n{schedules} schedules, {total} connections: every fold equal to status and results")


async def _assert_equal(url: str, scan_id: str, mirror: Mirror, seed: int) -> None:
    final: dict[str, Any] = await until_terminal(url, scan_id)
    final.pop("cursor")
    assert mirror.state == final, f"seed {seed}"
    answer = (await results(url, scan_id)).json()["opportunities"]
    ids = [found["id"] for found in mirror.opportunities]
    assert len(ids) == len(set(ids)), f"seed {seed}"
    by_id = {found["id"]: found for found in mirror.opportunities}
    assert by_id == {found["id"]: found for found in answer}, f"seed {seed}"

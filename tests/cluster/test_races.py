"""Identical discovers at one instant, over three web nodes: one scan."""

from collections.abc import AsyncIterator

import anyio
import pytest

from cluster.harness import PATIENCE, ended, killed, leading, planned, quick, refused_properly, whole
from onemachine.cluster import Cluster, running
from support.wire import discover

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

CALLERS = 150


@pytest.fixture(scope="module")
async def standing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Three web nodes."""
    async with running(planned(tmp_path_factory.mktemp("races"), nodes=(3, 3, 1))) as cluster:
        yield cluster


async def race(cluster: Cluster) -> set[str]:
    """What the callers were told; who is refused for the moment asks again."""
    request, acked = quick(), set()
    at = anyio.Event()

    async def call(number: int) -> None:
        await at.wait()
        with anyio.fail_after(PATIENCE):
            while True:
                answer = await discover(cluster.web[number % len(cluster.web)].url, request)
                if answer.status == 202:
                    acked.add(answer.json()["scan_id"])
                    return
                assert refused_properly(answer), answer
                await anyio.sleep(float(answer.headers["retry-after"]))

    async with anyio.create_task_group() as tasks:
        for number in range(CALLERS):
            tasks.start_soon(call, number)
        at.set()
    return acked


@pytest.mark.parametrize("fault", [False, True], ids=["undisturbed", "leader killed"])
@pytest.mark.parametrize("times", [5, pytest.param(50, marks=pytest.mark.soak)])
@pytest.mark.timeout(1800)
async def test_identical_discovers_are_one_scan(cluster: Cluster, fault: bool, times: int) -> None:
    """With the fault: the leader dies in the middle of a race, every fifth time."""
    for number in range(times):
        async with anyio.create_task_group() as tasks:
            if fault and number % 5 == 0:
                await whole(cluster)
                tasks.start_soon(killed, await leading(cluster), 1.0)
            acked = await race(cluster)
        assert len(acked) == 1, f"race {number}: {len(acked)} scans"
        assert (await ended(cluster.web[0].url, acked.pop()))["status"] == "complete"

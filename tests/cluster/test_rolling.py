"""A rolling restart of everything under load, as its clients see it: nothing is lost, and no error is shown."""

import signal
from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio import to_thread

from cluster.harness import PAUSE, quick
from onemachine.balancer import Balancer
from onemachine.cluster import Cluster
from onemachine.ports import free_ports
from scanstream.client import AsyncClient

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

STOP_SECONDS = 15.0
CLIENTS = 4


class Follower:
    """A client of the library behind the balancer: starts scans, follows each to its end, takes the results."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.complete = 0

    async def run(self, over: Callable[[], bool]) -> None:
        """Until it is over; whatever the library shows as an error fails the test."""
        async with AsyncClient(self._url) as client:
            while not over():
                scan = await client.discover(**quick(shards=2, found=3))
                state = await scan.wait()
                assert state["status"] == "complete", state
                found = [one["id"] for one in await scan.results()]
                assert len(found) == len(set(found)) == 6
                assert sorted(one["id"] for one in scan.opportunities) == sorted(found)
                self.complete += 1
                await anyio.sleep(PAUSE)


async def roll_nodes(cluster: Cluster) -> None:
    """Each worker, then each web node: SIGTERM, and start it again."""
    for node in cluster.nodes:
        node.send(signal.SIGTERM)
        assert await node.until_gone(STOP_SECONDS) == 0, node.errors
        node.start()
        await node.until_serving()


async def kill_nodes(cluster: Cluster) -> None:
    """Each worker, then each web node: `kill -9`, and start it again."""
    for node in cluster.nodes:
        await to_thread.run_sync(node.kill)
        node.start()
        await node.until_serving()


async def roll_nats(cluster: Cluster) -> None:
    """Each server of NATS, one after the other."""
    for server in cluster.nats.servers:
        await server.stop(30)
        server.start()
        await server.until_ready()


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.soak)])
@pytest.mark.parametrize("roll", [roll_nodes, kill_nodes, roll_nats], ids=lambda roll: roll.__name__)
@pytest.mark.timeout(900)
async def test_a_rolling_restart_shows_no_error(
    cluster: Cluster,
    roll: Callable[[Cluster], Awaitable[None]],
    times: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rolled = 0
    async with Balancer([node.url for node in cluster.web]).open(free_ports(1)[0]) as url:
        followers = [Follower(url) for _ in range(CLIENTS)]
        async with anyio.create_task_group() as tasks:
            for follower in followers:
                tasks.start_soon(follower.run, lambda: rolled == times)
            for _ in range(times):
                await roll(cluster)
                rolled += 1
    complete = [follower.complete for follower in followers]
    with capsys.disabled():
        print(f"\n{roll.__name__} {times} ×: {sum(complete)} scans followed to their end, no error shown")
    assert all(complete)

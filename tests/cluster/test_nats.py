"""Servers of NATS that die, hang or are told to end, under load and with nodes that die at the same time."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest
from anyio import to_thread

from cluster.harness import PATIENCE, Load, ended, killed, leading, quick, until_answers
from onemachine.cluster import Cluster
from onemachine.node import Web
from scanstream.client.mirror import Mirror
from support.script import scripting
from support.wire import Socket, discover, request, websocket

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

ELECTION = 10.0
"""Seconds that acks may pause while another server is elected; of servers that all died, from their start."""
GRACEFUL = 1.0
"""… and where the server was told to end."""
READY = 5.0
DOWN = 9.0


async def kill_leader(cluster: Cluster) -> None:
    """`kill -9`; it is back when another leads."""
    await killed(await leading(cluster), DOWN)


async def kill_all(cluster: Cluster) -> None:
    """Power for none of them, for a second and a half."""
    for server in cluster.nats.servers:
        await to_thread.run_sync(server.kill)
    await anyio.sleep(1.5)
    await cluster.nats.start()


async def end_leader(cluster: Cluster) -> None:
    """SIGTERM, as at an upgrade, and back."""
    leader = await leading(cluster)
    assert await leader.stop(30) in (0, 1)
    leader.start()
    await leader.until_ready()


Harm = Callable[[Cluster], Awaitable[None]]


@asynccontextmanager
async def connected(cluster: Cluster) -> AsyncIterator[list[Socket]]:
    """A socket to each web node: it must be there as long as the node is."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(websocket(node.url)) for node in cluster.web]


@asynccontextmanager
async def followed(cluster: Cluster, sockets: list[Socket]) -> AsyncIterator[None]:
    """A scan that runs while inside and ends with it; each socket, opened before, is told of its end."""
    async with scripting() as script:
        scan_id = (await discover(cluster.web[0].url, script.request(1))).json()["scan_id"]
        for socket in sockets:
            await socket.send(type="subscribe", scan_id=scan_id)
            assert (await socket.receive())["type"] == "ack"
        with anyio.fail_after(PATIENCE):
            shard = await script.started()
        yield
        await shard.tell("find 2", "end")
        for socket in sockets:
            with anyio.fail_after(PATIENCE):
                mirror = await socket.until_end(Mirror(), scan_id)
            assert mirror.state["status"] == "complete"
            assert len(mirror.opportunities) == 2


@pytest.mark.parametrize(
    ("harm", "most"),
    [
        pytest.param(kill_leader, ELECTION, id="kill -9 of the leader"),
        pytest.param(kill_all, ELECTION + 1.5, id="kill -9 of all"),
        pytest.param(end_leader, GRACEFUL, id="SIGTERM of the leader"),
    ],
)
@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.soak)])
@pytest.mark.timeout(900)
async def test_no_fault_of_nats_loses_what_was_acked(
    cluster: Cluster, harm: Harm, most: float, times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    load, pauses = Load(cluster), []
    async with connected(cluster) as sockets, anyio.create_task_group() as tasks:
        tasks.start_soon(load.run)
        for _ in range(times):
            await load.goes_on()
            async with followed(cluster, sockets):
                load.mark()
                await harm(cluster)
                await load.goes_on()
                pauses.append(load.pause)
        tasks.cancel_scope.cancel()
    await load.check()
    with capsys.disabled():
        told = ", ".join(f"{pause:.2f}" for pause in pauses)
        print(f"\n{harm.__name__}: {len(load.acked)} acked, none lost; no acks for {told} s; {dict(load.told)}")
    assert max(pauses) <= most
    assert load.told["lost"] == 0


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.soak)])
@pytest.mark.timeout(900)
async def test_nodes_may_die_while_nats_has_lost_its_leader(
    cluster: Cluster, times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A web node and a worker are killed with the leader; all of them are back soon."""
    load, choice = Load(cluster, seed=times), random.Random(times)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(load.run)
        for _ in range(times):
            await load.goes_on()
            async with anyio.create_task_group() as harms:
                harms.start_soon(kill_leader, cluster)
                for node in (choice.choice(cluster.web), choice.choice(cluster.workers)):
                    await to_thread.run_sync(node.kill)
                    node.start()
            for node in cluster.nodes:
                await node.until_serving()
            await load.goes_on()
        tasks.cancel_scope.cancel()
    await load.check()
    with capsys.disabled():
        print(f"\nleader, web node and worker killed {times} ×: {len(load.acked)} acked, none lost; {dict(load.told)}")


async def _refuses(node: Web) -> None:
    with anyio.fail_after(20):
        answer = await discover(node.url, quick())
    assert (answer.status, answer.json()["code"]) == (503, "store_unavailable")
    assert float(answer.headers["retry-after"]) > 0


async def test_readyz_says_within_seconds_that_nats_is_away_and_that_it_is_back(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    for server in cluster.nats.servers:
        await to_thread.run_sync(server.kill)
    red = [await until_answers(node, 503) for node in cluster.web]
    async with anyio.create_task_group() as tasks:
        for node in cluster.web:
            assert (await request(node.url, "GET", "/healthz")).status == 200
            tasks.start_soon(_refuses, node)
    await cluster.nats.start()
    await leading(cluster)
    green = [await until_answers(node, 200) for node in cluster.web]
    with capsys.disabled():
        print(f"\n/readyz was red {max(red):.1f} s after NATS went, and green {max(green):.1f} s after it was back")
    assert max(red) <= READY
    assert max(green) <= READY
    scan_id = (await discover(cluster.web[0].url, quick())).json()["scan_id"]
    assert (await ended(cluster.web[1].url, scan_id))["status"] == "complete"

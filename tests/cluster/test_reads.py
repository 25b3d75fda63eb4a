"""What one web node has said, every other knows at once: after an ack, and at each step of a scan."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import msgspec
import pytest

from cluster.harness import Load, leading, number_of, quick, refused_properly
from onemachine.cluster import Cluster
from onemachine.node import Web
from support.wire import Answer, discover, request, status, websocket

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


class Unavailable(Exception):
    """The node cannot know now, and has said so: nothing was shown."""


def shown(answer: Answer) -> Answer:
    """An answer that shows something."""
    if refused_properly(answer):
        raise Unavailable
    assert answer.status == 200, answer
    return answer


async def by_status(url: str, scan_id: str) -> int:
    return number_of(shown(await status(url, scan_id)).json()["cursor"])


async def by_latest(url: str, scan_id: str) -> int:
    state = shown(await status(url, "latest")).json()
    assert state["scan_id"] == scan_id, "an older scan for the newest"
    return number_of(state["cursor"])


async def by_list(url: str, scan_id: str) -> int:
    listed = shown(await request(url, "GET", "/opportunities/scans?limit=3")).json()["scans"]
    assert listed[0]["scan_id"] == scan_id
    return await by_status(url, scan_id)


async def by_events(url: str, scan_id: str) -> int:
    """Its own stream of events, to the end."""
    return _last_cursor(shown(await request(url, "GET", f"/opportunities/events/{scan_id}")))


async def by_follow(url: str, scan_id: str) -> int:
    body = msgspec.json.encode({"follow": [{"scan_id": scan_id}]})
    headers = {"accept": "text/event-stream", "content-type": "application/json"}
    return _last_cursor(shown(await request(url, "POST", "/opportunities/follow", body, headers)))


def _last_cursor(answer: Answer) -> int:
    said = [msgspec.json.decode(line[6:]) for line in answer.body.decode().splitlines() if line.startswith("data: ")]
    for message in said:
        if message["type"] == "error":
            assert message["code"] == "store_unavailable", message
            raise Unavailable
    return max(number_of(message["cursor"]) for message in said if "cursor" in message)


async def by_socket(url: str, scan_id: str) -> int:
    async with websocket(url) as socket:
        await socket.send(type="subscribe", scan_id=scan_id)
        answer = await socket.receive()
        if answer["type"] == "error":
            assert (answer["code"], answer["retry_after"] > 0) == ("store_unavailable", True), answer
            await socket.send(type="ping")  # it stays open
            assert (await socket.receive())["type"] == "pong"
            raise Unavailable
        assert (answer["type"], answer["scan_id"]) == ("ack", scan_id)
        return number_of(answer["cursor"])


DOORS: list[Callable[[str, str], Awaitable[int]]] = [
    by_status,
    by_events,
    by_follow,
    by_socket,
    by_latest,
    by_list,
]


class Asking:
    """Somebody who discovers at one node and asks another, at random."""

    def __init__(self, cluster: Cluster, alone: bool, seed: int) -> None:
        """`alone`: nobody else starts scans, so that the newest is known."""
        self._cluster = cluster
        self._random = random.Random(seed)
        self._doors = DOORS if alone else DOORS[:4]
        self.asked = 0
        self.unavailable = 0

    async def once(self) -> None:
        """Discover, ask elsewhere at once, and go to and fro until the scan has ended: never back in time."""
        nodes = self._random.sample(self._cluster.web, 2)
        answer = await discover(nodes[0].url, quick())
        if refused_properly(answer):
            self.unavailable += 1
            return
        assert answer.status == 202, answer
        scan_id = answer.json()["scan_id"]
        seen = number_of(answer.json()["cursor"])
        door = self._random.choice(self._doors)
        try:
            seen = await self._at_least(seen, door, nodes[1], scan_id)
            for node in nodes:
                seen = await self._at_least(seen, by_status, node, scan_id)
        except Unavailable:
            self.unavailable += 1

    async def _at_least(self, seen: int, door: Callable[[str, str], Awaitable[int]], node: Web, scan_id: str) -> int:
        found = await door(node.url, scan_id)
        assert found >= seen, f"stale: {door.__name__} on {node.name} is at {found}, and {seen} was shown before"
        self.asked += 1
        return found


@asynccontextmanager
async def loaded(cluster: Cluster, callers: int) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        if callers:
            tasks.start_soon(Load(cluster, callers).run)
        yield
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("callers", [0, 4], ids=["idle", "loaded"])
@pytest.mark.parametrize("times", [100, pytest.param(1000, marks=pytest.mark.soak)])
@pytest.mark.timeout(900)
async def test_what_a_node_has_acked_another_knows(
    cluster: Cluster, callers: int, times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    asking = Asking(cluster, alone=not callers, seed=times)
    async with loaded(cluster, callers):
        for _ in range(times):
            await asking.once()
    with capsys.disabled():
        print(f"\n{times} discovers: {asking.asked} reads elsewhere, {asking.unavailable} unavailable; none stale")
    assert asking.unavailable == 0


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.soak)])
@pytest.mark.timeout(900)
async def test_nothing_is_stale_while_the_leader_stands_still(
    cluster: Cluster, times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGSTOP until another leads and new scans are acked, then SIGCONT: the old leader knows nothing of them."""
    askers = [Asking(cluster, alone=False, seed=number) for number in range(3)]
    over = anyio.Event()

    async def ask(asking: Asking) -> None:
        while not over.is_set():
            await asking.once()

    async with anyio.create_task_group() as tasks:
        for asking in askers:
            tasks.start_soon(ask, asking)
        for _ in range(times):
            leader = await leading(cluster)
            leader.pause()
            await anyio.sleep(10)
            assert await leading(cluster) is not leader
            leader.go_on()
            await anyio.sleep(3)
        over.set()
    with capsys.disabled():
        asked, unavailable = (sum(values) for values in zip(*((a.asked, a.unavailable) for a in askers), strict=True))
        print(f"\nleader stopped {times} ×: {asked} reads, {unavailable} unavailable; none stale")
    assert asked > 20

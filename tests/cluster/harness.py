"""A cluster to be harmed, and what its callers see of it meanwhile: every ack, every refusal, every pause."""

import os
import random
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from conftest import ROOT
from onemachine.cluster import Cluster
from onemachine.nats import NatsServer, nats
from onemachine.node import Web
from scanstream.log.cursor import parse
from support.wire import Answer, discover, request, results, status

LEASE = 3.0
"""Of the clusters here; the default is 10 s."""
SPARE = 2.0
"""What a death may cost beside the lease."""
PATIENCE = 60.0
PAUSE = 0.2
"""Of a caller between two scans."""
LOST = (OSError, EOFError, IndexError, ValueError, anyio.BrokenResourceError, anyio.ClosedResourceError)
"""What a caller sees of a node that was killed."""

_numbers = count(1)


def plugins() -> dict[str, str]:
    """The environment of nodes that have the scripted strategy."""
    path = [str(ROOT / "tests" / "support" / "plugins"), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(path).rstrip(os.pathsep)}


def planned(
    directory: Path,
    *,
    nodes: tuple[int, int, int] = (3, 2, 2),
    flags: tuple[str, ...] = (),
    limit: str = "",
    more: str = "",
) -> Cluster:
    """A cluster that is not started yet.

    :param nodes: how many servers of NATS, web nodes, workers
    :param limit, more: of the servers of NATS (`onemachine.nats`)
    """
    servers, web, workers = nodes
    directory.mkdir(parents=True, exist_ok=True)
    return Cluster(
        nats(servers, directory / "nats", limit=limit, more=more),
        directory,
        web=web,
        workers=workers,
        flags=["--lease", f"{LEASE:g}", "--max-running", "16", *flags],
        worker_flags=["--worker-priority", "low"],  # where others use the machine up, idle ones would not get on
        environment=plugins(),
    )


def quick(shards: int = 1, found: int = 2) -> dict[str, Any]:
    """A request that nobody else makes, for a scan of no work."""
    return {
        "strategy_ids": ["scripted"],
        "parameters": {"scripted": {"shards": shards, "found": found, "work": next(_numbers)}},
    }


def number_of(cursor: str) -> int:
    """How many entries of its scan's log somebody with this cursor has seen."""
    read = parse(cursor)
    assert read is not None, cursor
    return read.position.seq


async def whole(cluster: Cluster) -> None:
    """See to it that all of it runs, and takes new work."""
    for program in [*cluster.nats.servers, *cluster.nodes]:
        program.go_on()
    await cluster.start()
    for node in cluster.web:
        await until_answers(node, 200)


async def until_answers(node: Web, expected: int, seconds: float = PATIENCE) -> float:
    """Wait until its /readyz answers so; how long that took, in seconds."""
    began = anyio.current_time()
    with anyio.fail_after(seconds):
        while True:
            try:
                with anyio.move_on_after(5):
                    if (await request(node.url, "GET", "/readyz")).status == expected:
                        return anyio.current_time() - began
            except LOST:
                pass
            await anyio.sleep(0.05)


async def leading(cluster: Cluster, stream: str = "SCANS") -> NatsServer:
    """The server of NATS that leads this stream now."""
    with anyio.fail_after(PATIENCE):
        while (found := await cluster.nats.leader(stream)) is None:  # noqa: ASYNC110  # another process
            await anyio.sleep(0.05)
    return found


async def ended(
    url: str, scan_id: str, seconds: float = PATIENCE, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """Poll until the scan has ended; its state. A refusal for the moment is waited for."""
    with anyio.fail_after(seconds):
        while True:
            answer = await status(url, scan_id, headers)
            assert answer.status in (200, 503), answer
            if answer.status == 200 and answer.json()["status"] != "scanning":
                state: dict[str, Any] = answer.json()
                return state
            await anyio.sleep(0.05)


async def ids_of(url: str, scan_id: str, headers: dict[str, str] | None = None) -> list[str]:
    """The ids of what a finished scan has found, sorted; none of them twice."""
    answer = await results(url, scan_id, headers)
    assert answer.status == 200, answer
    found = [opportunity["id"] for opportunity in answer.json()["opportunities"]]
    assert len(found) == len(set(found)), "twice"
    return sorted(found)


def refused_properly(answer: Answer) -> bool:
    """Whether it is a refusal for the moment: 503, and when to come again."""
    if answer.status != 503:
        return False
    assert float(answer.headers["retry-after"]) > 0, answer
    return True


class Load:
    """Callers who start scans at random web nodes, one after the other, and what they were told."""

    def __init__(self, cluster: Cluster, callers: int = 4, seed: int = 1) -> None:
        self._cluster = cluster
        self._callers = callers
        self._random = random.Random(seed)
        self.acked: list[str] = []
        self.told: Counter[str] = Counter()
        """Refusals by their code, and connections that were lost."""
        self.pause = 0.0
        """The longest time without an ack, in seconds."""
        self._last = 0.0

    async def run(self) -> None:
        """Start scans, until cancelled."""
        self.mark()
        async with anyio.create_task_group() as tasks:
            for _ in range(self._callers):
                tasks.start_soon(self._call)

    def mark(self) -> None:
        """Pauses are measured from here."""
        self.pause, self._last = 0.0, anyio.current_time()

    async def goes_on(self, seconds: float = PATIENCE) -> None:
        """Wait for two more acks of each caller."""
        wanted = len(self.acked) + 2 * self._callers
        with anyio.fail_after(seconds):
            while len(self.acked) < wanted:  # noqa: ASYNC110  # an ack tells nobody else
                await anyio.sleep(0.02)

    async def _call(self) -> None:
        while True:
            node = self._random.choice(self._cluster.web)
            try:
                answer = await discover(node.url, quick())
            except LOST:  # the node was killed; nothing was promised
                self.told["lost"] += 1
                await anyio.sleep(0.05)
                continue
            if answer.status == 202:
                self._heard(answer.json()["scan_id"])
            else:
                assert refused_properly(answer) or answer.status == 429, answer
                self.told[answer.json()["code"]] += 1
            await anyio.sleep(PAUSE)

    def _heard(self, scan_id: str) -> None:
        now = anyio.current_time()
        self.pause, self._last = max(self.pause, now - self._last), now
        self.acked.append(scan_id)

    async def check(self) -> None:
        """Every scan that was acked is complete, on each node, with all that it was to find."""
        assert len(self.acked) == len(set(self.acked))
        limiter = anyio.CapacityLimiter(8)

        async def look(scan_id: str) -> None:
            async with limiter:
                for node in self._cluster.web:
                    state = await ended(node.url, scan_id)
                    assert state["status"] == "complete", state
                    assert len(await ids_of(node.url, scan_id)) == 2

        async with anyio.create_task_group() as tasks:
            for scan_id in self.acked:
                tasks.start_soon(look, scan_id)


async def killed(server: NatsServer, down: float) -> None:
    """`kill -9`, and back after so many seconds."""
    await to_thread.run_sync(server.kill)
    await anyio.sleep(down)
    server.start()
    await server.until_ready()

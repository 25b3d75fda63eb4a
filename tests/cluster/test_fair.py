"""One principal's flood keeps no other's scan from starting, on all nodes: whoever of them dies, and whatever it runs.

What is counted are starts, as the logs tell them, and never seconds.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from anyio import to_thread

from cluster.harness import LEASE, LOST, PATIENCE, plugins, quick
from conftest import ROOT
from onemachine.cluster import Cluster, running
from onemachine.nats import nats
from onemachine.node import Node, Web, Worker
from onemachine.ports import free_ports
from scanstream.engines.nats.places import FORGOTTEN_SECONDS
from scanstream.security.caller import Right
from support.guards import bearer, key_in
from support.wire import request

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

RUNNING = 2
"""Scans that run at once."""
FLOOD = 150
BEFORE = (
    (
        "conducting.py",
        "return Queued(at=now()) if permissions is None else permissions.asked(log)",
        "return Queued(at=now())",
    ),
    ("conducting.py", "let_in = [] if permissions is None else [", "let_in = [] if permissions is None or True else ["),
    ("engine.py", "strategies=strategies, turns=True)", "strategies=strategies)"),
)
"""What makes a node one of the version before: it lets in what it releases, and nobody who waits."""


def before(directory: Path) -> dict[str, str]:
    """The environment of nodes that run a version before."""
    for part in ("server", "static"):
        shutil.copytree(ROOT / part, directory / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name, words, instead in BEFORE:
        file = directory / "server" / "scanstream" / name
        text = file.read_text()
        assert text.count(words) == 1, words
        file.write_text(text.replace(words, instead))
    return {"PYTHONPATH": os.pathsep.join([str(directory / "server"), plugins()["PYTHONPATH"]])}


class Party:
    """Somebody with a key of their own."""

    def __init__(self, keys: Path, name: str, *rights: Right) -> None:
        self._head = bearer(key_in(keys, name, *rights))

    async def asks(self, url: str, method: str, path: str, body: Any = None) -> Any:
        """A question, asked again while its node is away or says 503; the answer's body."""
        sent = None if body is None else msgspec.json.encode(body)
        with anyio.fail_after(PATIENCE):
            while True:
                try:
                    answer = await request(url, method, path, sent, self._head)
                except LOST:
                    answer = None
                if answer is not None and answer.status != 503:
                    assert answer.status in (200, 202), answer
                    return answer.json()
                await anyio.sleep(0.1)

    async def starts(self, url: str, scans: int, pause: float = 0.05) -> list[str]:
        """Start so many, of one shard each that takes so many seconds."""
        names: list[str] = []
        for _ in range(scans):
            wanted = quick()
            wanted["parameters"]["scripted"]["pause"] = pause
            names.append((await self.asks(url, "POST", "/opportunities/discover", wanted))["scan_id"])
        return names

    async def state(self, url: str, scan_id: str) -> dict[str, Any]:
        """Of one of theirs."""
        state: dict[str, Any] = await self.asks(url, "GET", f"/opportunities/status/{scan_id}")
        return state

    async def begun(self, url: str, scan_id: str) -> str:
        """When it began, as soon as it has."""
        with anyio.fail_after(PATIENCE):
            while "started_at" not in (state := await self.state(url, scan_id)):  # noqa: ASYNC110  # another process
                await anyio.sleep(0.02)
        return str(state["started_at"])

    async def ended(self, url: str, scan_id: str) -> dict[str, Any]:
        """Its state at its end."""
        with anyio.fail_after(4 * PATIENCE):
            while (state := await self.state(url, scan_id))["status"] == "scanning":  # noqa: ASYNC110
                await anyio.sleep(0.05)
        return state


def planned(directory: Path, keys: Path, environment: dict[str, str] | None = None) -> Cluster:
    """A NATS, two web nodes that want keys, two workers."""
    return Cluster(
        nats(1, directory / "nats"),
        directory,
        flags=["--lease", f"{LEASE:g}", "--max-running", str(RUNNING)],
        web_flags=web_flags(keys),
        worker_flags=["--worker-priority", "low"],
        environment=environment or plugins(),
    )


def web_flags(keys: Path) -> list[str]:
    return ["--auth", "required", "--keys", str(keys), "--max-discovers", "100000"]


async def whole(operator: Party, url: str, scans: list[str]) -> None:
    """Each was let in once and planned once, and none was lost."""
    for scan_id in scans:
        life = await operator.asks(url, "GET", f"/opportunities/explain/{scan_id}")
        told = [moment["what"] for moment in life["timeline"]]
        assert life["status"] == "complete", life
        assert (told.count("planned"), told.count("let_in")) in ((1, 0), (1, 1)), told


async def between(party: Party, url: str, scans: list[str], first: str, last: str) -> int:
    """How many of these began within this time."""
    states = [await party.state(url, scan_id) for scan_id in scans]
    return sum(first <= state.get("started_at", "") < last for state in states)


async def again(node: Node) -> None:
    """`kill -9`, and start it again."""
    await to_thread.run_sync(node.kill)
    node.start()
    await node.until_serving()  # type: ignore[attr-defined]  # a web node or a worker


async def test_beside_a_flood_another_is_among_the_next_whoever_dies(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    flooder, newcomer, operator = Party(keys, "flo"), Party(keys, "new"), Party(keys, "olga", Right.OPERATE)
    async with running(planned(tmp_path, keys)) as cluster:
        here, there = cluster.web
        flood = await flooder.starts(here.url, FLOOD, pause=0.25)
        await flooder.begun(there.url, flood[3])
        theirs: list[str] = []
        for dies in (None, cluster.workers[0], cluster.workers[1], here, None):
            theirs += await newcomer.starts(there.url, 1)
            state = await newcomer.state(there.url, theirs[-1])
            assert state.get("rank", 0) <= 2, state
            if dies is not None:
                await again(dies)
            began = await newcomer.begun(there.url, theirs[-1])
            ahead = await between(flooder, there.url, flood, state["created_at"], began)
            assert ahead <= 2 * RUNNING, "those that were let in already, and who has the other places of the round"
            await newcomer.ended(there.url, theirs[-1])
        assert "started_at" not in await flooder.state(there.url, flood[-1]), "the flood was there all the time"
        for scan_id in flood:
            await flooder.ended(here.url, scan_id)
        await whole(operator, here.url, [*flood, *theirs])


async def test_nodes_of_a_version_before_come_and_go(tmp_path: Path) -> None:
    """An update, and back again by `kill -9` of all that is new: nobody waits for ever, nothing is planned twice."""
    keys, some = tmp_path / "keys.toml", Party(tmp_path / "keys.toml", "flo")
    operator = Party(keys, "olga", Right.OPERATE)
    cluster = planned(tmp_path, keys, before(tmp_path / "before"))
    engine = cluster.nats.engine
    web = Web("new-web", engine, tmp_path, free_ports(1)[0], [*cluster.flags, *web_flags(keys)], plugins())
    worker = Worker("new-worker", engine, tmp_path, [*cluster.flags, "--worker-priority", "low"], plugins())
    old = cluster.nodes
    async with running(cluster):
        try:
            scans = await some.starts(cluster.web[0].url, 20)
            for node in (web, worker):
                node.start()
                await node.until_serving()
            scans += await some.starts(web.url, 20)
            for node in old:
                await to_thread.run_sync(node.kill)
            await anyio.sleep(FORGOTTEN_SECONDS + 1)  # so long those that are left take them for nodes that live
            scans += await some.starts(web.url, 60, pause=0.5)
            assert isinstance((await some.state(web.url, scans[-1])).get("rank"), int)
            for node in old:
                node.start()
            for node in old:
                await node.until_serving()
            last = f"/opportunities/explain/{scans[-1]}"
            with anyio.fail_after(PATIENCE):
                while not _let_in(await operator.asks(web.url, "GET", last)):  # noqa: ASYNC110  # another process
                    await anyio.sleep(0.1)
            waits = await some.state(web.url, scans[-1])
            assert waits.get("rank", 0) > RUNNING, "it may start long before its turn: who waits is left to nobody"
            for node in (web, worker):
                await to_thread.run_sync(node.kill)
            for scan_id in scans:
                await some.ended(cluster.web[1].url, scan_id)
            for scan_id in scans:
                life = await operator.asks(cluster.web[1].url, "GET", f"/opportunities/explain/{scan_id}")
                assert life["status"] == "complete"
                assert [moment["what"] for moment in life["timeline"]].count("planned") == 1
        finally:
            for node in (web, worker):
                if node.runs:
                    node.kill()


def _let_in(life: dict[str, Any]) -> bool:
    """Whether it has its permission, as a node of this version tells it."""
    return any(moment["what"] == "let_in" for moment in life["timeline"])

"""What runs while all goes wrong: one server on SQLite, or a cluster on NATS."""

import json
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from anyio import to_thread

from cluster.harness import ended, ids_of, planned, plugins, whole
from onemachine.cluster import Cluster, running
from onemachine.nats import Nats
from onemachine.node import Web, Worker
from scanstream.conducting import PLANNING_PROCESSES
from soak.chaos.held import Held, descriptors, resident
from soak.chaos.hooks import Hooks
from soak.chaos.keys import OPERATOR, PRINCIPALS, Keys, shown
from soak.chaos.kinds import KINDS
from support.metrics import metrics
from support.process import children
from support.receiver import receiving
from support.wire import discover

INSIDE = Path(__file__).parent / "inside"
ANSWER_SECONDS = 40
NOT_TOLD = "is not told of the end"
GIVEN_UP = ("given up, as the scan expires", "the scan has expired")
"""How a server says that nobody tries any more."""


class Lever:
    """Asks a process for what only it can do (inside/sitecustomize.py)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def ask(self, *words: object) -> Any:
        """One command; its answer.

        :raises RuntimeError: if it has failed there
        :raises OSError: if nobody listens, or there is no answer in time
        """
        said = " ".join(map(str, words))
        answer = json.loads(await to_thread.run_sync(self._exchange, said.encode()))
        if "error" in answer:
            raise RuntimeError(f"{said}: {answer['error']}")
        return answer["is"]

    def _exchange(self, said: bytes) -> bytes:
        ours = self.path.with_name(f"{secrets.token_hex(4)}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.settimeout(ANSWER_SECONDS)
            line.bind(str(ours))
            try:
                line.sendto(said, str(self.path))
                return line.recv(65536)
            finally:
                ours.unlink()


class World:
    """The processes, each of which may be harmed."""

    def __init__(
        self, name: str, cluster: Cluster, sockets: Path, retention: float, keys: Keys | None, hooks: Hooks
    ) -> None:
        """`keys`: None where nobody is asked who they are; `hooks`: whom its servers may tell of scans' ends."""
        self.name = name
        self.cluster = cluster
        self.retention = retention
        self.keys = keys
        self.hooks = hooks
        self.principals = PRINCIPALS if keys else ("",)
        """Whose scans there are."""
        self.on_nats = bool(cluster.nats.servers)
        self.levers: dict[str, Lever] = {}
        self.seen: list[int] = []
        """The bytes that nodes were seen to hold."""
        for node in cluster.nodes:
            lever = self.levers[node.name] = Lever(sockets / node.name)
            path = os.pathsep.join([str(INSIDE), plugins()["PYTHONPATH"]])
            node.environment |= {"PYTHONPATH": path, "CHAOS_LEVER": str(lever.path)}

    @property
    def web(self) -> list[Web]:
        """Who has doors."""
        return self.cluster.web

    @property
    def shard_runners(self) -> list[Web | Worker]:
        """Whose worker processes run shards."""
        return [*self.cluster.workers] if self.on_nats else [*self.cluster.web]

    @property
    def urls(self) -> list[str]:
        """Where doors are."""
        return [node.url for node in self.cluster.web]

    def key(self, principal: str) -> str:
        """By which a principal is known; empty where nobody is asked."""
        return self.keys.of(principal) if self.keys else ""

    def headers(self, principal: str) -> dict[str, str]:
        """What a principal shows: its key, or a JWT."""
        return shown(self.keys.either_of(principal)) if self.keys else {}

    async def complete(self, url: str, kind: str) -> set[str]:
        """The ids that a scan of this kind finds, where nothing goes wrong."""
        headers = self.headers(self.principals[0])
        answer = await discover(url, KINDS[kind], headers)
        assert answer.status == 202, answer
        scan_id = answer.json()["scan_id"]
        assert (await ended(url, scan_id, headers=headers))["status"] == "complete"
        return {*await ids_of(url, scan_id, headers)}

    async def unfinished(self) -> list[str]:
        """Scans that have no end, also those of which nobody has heard."""
        told = []
        for node in self.web:
            count = (await metrics(node.url, self.headers(OPERATOR))).of("scanstream_scans_unfinished")
            if count:
                told.append(f"{node.name} has {count:g} scans that have not ended")
        return told

    def given_up(self) -> dict[str, float]:
        """Scans of whose end a node tells somebody no more, and when it first said so, in seconds since 1970."""
        told: dict[str, float] = {}
        for node in self.web:
            for line in node.errors.splitlines():
                if NOT_TOLD in line and any(why in line for why in GIVEN_UP):
                    said = json.loads(line)
                    told.setdefault(said["scan_id"], datetime.fromisoformat(said["time"]).timestamp())
        return told

    def lever(self, node: Web | Worker) -> Lever:
        """Of this node."""
        return self.levers[node.name]

    async def whole(self) -> None:
        """See to it that all of it runs, and takes new work."""
        await whole(self.cluster)

    def look(self) -> None:
        """Remember how much memory there is."""
        for node in self.cluster.nodes:
            if node.runs:
                self.seen.append(resident(node.pid))

    async def held(self) -> dict[str, Held]:
        """What each process holds now."""
        return {node.name: await self._held(node) for node in self.cluster.nodes}

    async def _held(self, node: Web | Worker) -> Held:
        await self.lever(node).ask("rest")
        tasks = await self.lever(node).ask("tasks")
        ports = {server.port: "NATS" for server in self.cluster.nats.servers}
        places = PLANNING_PROCESSES + _workers(node.command)
        return Held(resident(node.pid), len(children(node.pid)), places, descriptors(node.pid, ports), tasks)


def _workers(command: list[str]) -> int:
    """What `--workers` says; given twice, the last one counts."""
    return int(command[-command[::-1].index("--workers")])


@asynccontextmanager
async def on_sqlite(directory: Path, retention: float, *, guarded: bool = True) -> AsyncIterator[World]:
    """One server, with two worker processes of its own. `guarded`: it asks who is there."""
    flags = ["--engine", "sqlite", "--workers", "2", "--max-running", "16"]
    cluster = Cluster(Nats([]), directory / "nodes", web=1, workers=0, flags=flags, environment=plugins())
    async with _running("SQLite", cluster, directory, retention, guarded=guarded) as world:
        yield world


@asynccontextmanager
async def on_nats(directory: Path, retention: float, *, guarded: bool = True) -> AsyncIterator[World]:
    """Three servers of NATS, two web nodes, two workers. `guarded`: these ask who is there."""
    cluster = planned(directory / "nodes")
    for worker in cluster.workers:
        worker.command += ["--workers", "1"]
    async with _running("NATS", cluster, directory, retention, guarded=guarded) as world:
        yield world


def _flags(retention: float) -> list[str]:
    fresh = min(5.0, retention)
    return ["--retention", f"{retention:g}", "--fresh", f"{fresh:g}", "--compression", "deflate", "--stall", "10"]


@asynccontextmanager
async def _running(
    name: str, cluster: Cluster, directory: Path, retention: float, *, guarded: bool
) -> AsyncIterator[World]:
    sockets = directory / "sockets"
    sockets.mkdir()
    keys = Keys(directory) if guarded else None
    async with receiving() as receiver:
        hooks = Hooks(receiver)
        for node in cluster.web:
            node.command += [*_flags(retention), *hooks.flags, *(keys.flags if keys else ())]
        world = World(name, cluster, sockets, retention, keys, hooks)
        async with running(cluster):
            await world.whole()
            yield world


def processes(world: World) -> list[int]:
    """The worker processes that run now."""
    return [pid for node in world.shard_runners if node.runs for pid in children(node.pid)]

"""`kill -9` and SIGTERM at random moments, readers on all doors: nothing acknowledged is lost, nothing comes twice."""

import os
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio import to_thread
from anyio.abc import TaskGroup
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from scanstream.client.mirror import Mirror
from support.process import ServerProcess
from support.readers import READERS, Dropped
from support.wire import Socket, discover, results, status, until_terminal, websocket

pytestmark = pytest.mark.anyio

KINDS: dict[str, dict[str, Any]] = {
    "momentum": {"strategy_ids": ["tsmom"], "parameters": {"tsmom": {"walk_forward": 1500}}, "force_refresh": True},
    "chunked": {
        "strategy_ids": ["scripted"],
        "parameters": {"scripted": {"shards": 6, "found": 350, "work": 150_000}},
        "force_refresh": True,
    },
    "quick": {"strategy_ids": ["tsmom"], "symbols": "BTC/USDT,ETH/USDT", "force_refresh": True},
}
LOST = (ConnectionClosed, InvalidHandshake, OSError, EOFError, IndexError, anyio.BrokenResourceError)
"""What a client sees of a server that was killed."""


class Crashing:
    """A server that is killed again and again, and what its clients were promised."""

    def __init__(self, data: Path, how: str, seed: int) -> None:
        self.how = how
        self.data = data
        self.random = random.Random(seed)
        self.server = ServerProcess(data, "--compression", "deflate")
        self.up = anyio.Event()
        self.up.set()
        self.acked: dict[str, str] = {}
        self.mirrors: dict[str, Mirror] = {}
        self.doors: Counter[str] = Counter()
        self.crashed = anyio.Event()
        """Set by the next crash; after the last one for good."""
        self.stopped_in_mid_chunk = anyio.Event()
        self.resumed_in_mid_chunk = 0
        self.over = False

    async def crash(self) -> None:
        """End the server, see its workers end, and start it anew on the same data."""
        await anyio.sleep(self.random.uniform(0.05, 1.5))
        workers = self.server.workers()
        self.up = anyio.Event()
        if self.how == "kill -9":
            await to_thread.run_sync(self.server.kill)
        else:
            assert await to_thread.run_sync(self.server.stop) == 0
        with anyio.fail_after(10):
            while any(map(_runs, workers)):  # noqa: ASYNC110  # the kernel has no event for a process that is no child
                await anyio.sleep(0.01)
        self.server = await to_thread.run_sync(ServerProcess, self.data)
        for scan_id in list(self.acked):
            answer = await status(self.server.url, scan_id)
            assert answer.status == 200, answer
        self.up.set()
        self.crashed.set()
        self.crashed = anyio.Event()

    async def post(self) -> None:
        """Discovers over HTTP, as fast as they are answered, a few each second."""
        while not self.over:
            await self.up.wait()
            kind = self.random.choice(list(KINDS))
            try:
                answer = await discover(self.server.url, KINDS[kind])
            except LOST:
                continue
            assert answer.status == 202, answer
            self.acked[answer.json()["scan_id"]] = kind
            await anyio.sleep(self.random.uniform(0.1, 0.5))

    async def follow(self, kind: str) -> None:
        """Scans over a WebSocket, one after the other, each resumed with its cursor until its end."""
        while not self.over:
            await self._follow_one(kind)

    async def _follow_one(self, kind: str) -> None:
        mirror = Mirror()
        scan_id = ""
        await self.up.wait()
        try:
            async with websocket(self.server.url) as socket:
                await socket.send(type="discover", request=KINDS[kind])
                ack = _acked(await socket.receive())
                scan_id = ack["scan_id"]
                self.acked[scan_id] = kind
                self.mirrors[scan_id] = mirror
                mirror.cursor = ack["cursor"]
                await self._take(socket, mirror)
        except LOST:
            if scan_id:
                await self.resume(scan_id, mirror)

    async def resume(self, scan_id: str, mirror: Mirror) -> None:
        """Go on from the cursor, after as many crashes as come in between."""
        while not mirror.ended:
            await self.up.wait()
            try:
                async with websocket(self.server.url) as socket:
                    await socket.send(type="subscribe", scan_id=scan_id, since=mirror.cursor)
                    _acked(await socket.receive())
                    await self._take(socket, mirror)
            except LOST:
                await anyio.sleep(0.01)

    async def _take(self, socket: Socket, mirror: Mirror) -> None:
        while not mirror.ended:
            message = await socket.receive()
            if message.get("code") == "restarting":
                continue
            assert message["type"] in ("snapshot", "update", "end"), message
            assert message["type"] != "snapshot" or not mirror.opportunities, "a resume lost its place"
            mirror.apply(message)

    async def wander(self) -> None:
        """Scans over all doors, a new one after each frame or loss."""
        while not self.over:
            await self.up.wait()
            try:
                scan_id = (await discover(self.server.url, KINDS["chunked"])).json()["scan_id"]
            except LOST:
                continue
            self.acked[scan_id] = "chunked"
            mirror = self.mirrors[scan_id] = Mirror()
            while not mirror.ended:
                await self.up.wait()
                with suppress(*LOST, Dropped, httpx.TransportError):
                    await self._some_steps(scan_id, mirror)

    async def _some_steps(self, scan_id: str, mirror: Mirror) -> None:
        door = self.random.choice(READERS)
        self.doors[door.name] += 1
        async with door.open(self.server.url, scan_id, mirror) as reader:
            for _ in range(self.random.choice([1, 3, 10])):
                if not reader.mirror.ended:
                    await reader.step()

    async def cut(self) -> None:
        """Come late to long lists, so that the answer comes in chunks; leave in the middle, resume after a crash."""
        while not self.over:
            await self.up.wait()
            for scan_id in [scan_id for scan_id, kind in self.acked.items() if kind == "chunked"]:
                mirror = Mirror()
                try:
                    async with websocket(self.server.url) as socket:
                        await socket.send(type="subscribe", scan_id=scan_id)
                        await socket.receive()
                        mirror.apply(snapshot := await socket.receive())
                except LOST:
                    break
                if snapshot.get("more"):
                    await self._resume_after_crash(scan_id, mirror)
                    break
            await anyio.sleep(0.05)

    async def _resume_after_crash(self, scan_id: str, mirror: Mirror) -> None:
        assert len(mirror.opportunities) == 500
        self.stopped_in_mid_chunk.set()
        await self.crashed.wait()
        await self.resume(scan_id, mirror)
        self.mirrors[scan_id] = mirror
        self.resumed_in_mid_chunk += 1


def _acked(message: dict[str, Any]) -> dict[str, Any]:
    """The ack; a server that is on its way down says so instead, and is lost."""
    if message.get("code") == "restarting":
        raise ConnectionResetError(message["detail"])
    assert message["type"] == "ack", message
    return message


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.fixture(scope="module")
async def undisturbed() -> dict[str, set[str]]:
    """The opportunity ids of each kind of scan, from a server that nobody kills."""
    server = ServerProcess(":memory:", "--compression", "deflate")
    try:
        expected = {}
        for kind, request in KINDS.items():
            scan_id = (await discover(server.url, request)).json()["scan_id"]
            await until_terminal(server.url, scan_id)
            found = (await results(server.url, scan_id)).json()["opportunities"]
            expected[kind] = {opportunity["id"] for opportunity in found}
            assert len(found) == len(expected[kind])
        return expected
    finally:
        await to_thread.run_sync(server.stop)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("how", ["kill -9", "SIGTERM"])
@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.soak)])
async def test_no_end_of_the_server_makes_it_lie(
    tmp_path: Path, how: str, times: int, undisturbed: dict[str, set[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    expected = undisturbed
    assert len(expected["chunked"]) == 2100
    assert expected["momentum"]
    run = Crashing(tmp_path / "crashing", how, seed=times)
    try:
        async with anyio.create_task_group() as clients:
            _start_clients(run, clients)
            for _ in range(times - 1):
                await run.crash()
            with anyio.fail_after(60):  # on a slow machine no list may have grown that long before the first crashes
                await run.stopped_in_mid_chunk.wait()
            await run.crash()
            run.over = True
            run.crashed.set()
        for scan_id, kind in run.acked.items():
            state = await until_terminal(run.server.url, scan_id)
            assert state["status"] == "complete", state
            found = (await results(run.server.url, scan_id)).json()["opportunities"]
            ids = [opportunity["id"] for opportunity in found]
            assert len(ids) == len(set(ids))
            assert set(ids) == expected[kind]
            if mirror := run.mirrors.get(scan_id):
                followed = [opportunity["id"] for opportunity in mirror.opportunities]
                assert sorted(followed) == sorted(ids)
                assert {name: state[name] for name in mirror.state} == mirror.state
        assert run.resumed_in_mid_chunk
    finally:
        await to_thread.run_sync(run.server.kill)
    with capsys.disabled():
        print(
            f"\n{times} × {how}: {len(run.acked)} acked scans, {len(run.mirrors)} of them followed {dict(run.doors)}, "
            f"{run.resumed_in_mid_chunk} resumes in mid-chunk; none lost, nothing twice"
        )


def _start_clients(run: Crashing, clients: TaskGroup) -> None:
    clients.start_soon(run.post)
    clients.start_soon(run.follow, "chunked")
    clients.start_soon(run.follow, "chunked")
    clients.start_soon(run.follow, "momentum")
    clients.start_soon(run.cut)
    clients.start_soon(run.wander)
    clients.start_soon(run.wander)

"""One scan, watched by everybody, while its server is stopped and killed again and again: nobody touches a watcher.

The server keeps its data and its port. The scan does what the test tells it, so that every restart comes while a shard
is at work and all watchers are there.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from client.programs import Piped, running
from support.process import ServerProcess
from support.proxy import free_port
from support.script import RunningShard, Script, scripting
from support.wire import discover, results
from trouble.followers import Follower, pages, programs

pytestmark = pytest.mark.anyio

FOUND = 20
"""Opportunities of each shard."""


class Server:
    """On one port and one directory, whichever process it is."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._flags = ("--port", str(free_port()), "--workers", "1")
        self._process = ServerProcess(data, *self._flags)
        self.url = self._process.url

    async def restart(self, end: Callable[[ServerProcess], object]) -> None:
        """It ends, and comes back."""
        await to_thread.run_sync(end, self._process)
        self._process = await to_thread.run_sync(ServerProcess, self._data, *self._flags)
        assert self._process.url == self.url

    def stop(self) -> None:
        """At the end."""
        if self._process.process.poll() is None:
            self._process.stop()


class Watched:
    """The scan, and what its shards are told."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def shard(self) -> None:
        """One more is run to its end."""
        while True:
            shard = await self._script.started()
            with suppress(anyio.BrokenResourceError):  # it was of a server that is no more
                await shard.tell(f"find {FOUND}", "end")
                await shard.until_gone()
                return

    async def begun(self) -> RunningShard:
        """One is at work, and has found something."""
        shard = await self._script.started()
        await shard.tell("find 5")
        return shard


async def all_have(followers: list[Follower], count: int) -> None:
    """Everybody has been told of so much."""
    for follower in followers:
        await follower.until(lambda event: event.get("count", 0) >= count)


@asynccontextmanager
async def terminal(url: str, scan_id: str) -> AsyncIterator[Piped]:
    """`scanstream watch`, with its output in a pipe."""
    with running(Piped, "watch", scan_id, "--url", url, "--json") as piped:
        yield piped


def told(piped: Piped) -> list[str]:
    """The ids in the messages that the terminal has shown, in order."""
    messages = [json.loads(line) for line in piped.shown.splitlines()]
    return [found["id"] for message in messages for found in message.get("opportunities", ())]


async def live_through(directory: Path, restarts: int, *, browser: bool) -> None:
    """The whole story."""
    server = Server(directory / "data")
    try:
        async with AsyncExitStack() as stack:
            script = await stack.enter_async_context(scripting())
            scan = Watched(script)
            ack = (await discover(server.url, script.request(2 * restarts + 1))).json()
            scan_id = ack["scan_id"]
            wanted = [(scan_id, server.url)]
            followers = [
                *await stack.enter_async_context(programs("node", wanted)),
                *await stack.enter_async_context(programs("python", wanted)),
                *(await stack.enter_async_context(pages(wanted)) if browser else ()),
            ]
            piped = await stack.enter_async_context(terminal(server.url, scan_id))
            await to_thread.run_sync(piped.until, "snapshot")  # a server that is away at first is another matter
            for number in range(restarts):
                await scan.shard()
                await all_have(followers, FOUND * (number + 1))
                await scan.begun()
                await server.restart(ServerProcess.kill if number % 2 else ServerProcess.stop)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(finish, scan)
                ends = [await follower.until_end() for follower in followers]
                code = await to_thread.run_sync(piped.end)
                complaints = piped.errors()
                tasks.cancel_scope.cancel()
            found = (await results(server.url, scan_id)).json()
    finally:
        server.stop()
    expected = sorted(one["id"] for one in found["opportunities"])
    assert len(expected) == FOUND * (2 * restarts + 1)
    for end in ends:
        assert end["state"]["status"] == "complete"
        assert sorted(end["ids"]) == expected
        assert end["told"] == end["ids"]
    assert code == 0, complaints
    assert sorted(told(piped)) == expected


async def finish(scan: Watched) -> None:
    """What is left of it is run to its end."""
    while True:
        await scan.shard()


async def test_two_restarts(tmp_path: Path) -> None:
    await live_through(tmp_path, 2, browser=False)


@pytest.mark.soak
async def test_five_restarts_before_everybody(tmp_path: Path) -> None:
    await live_through(tmp_path, 5, browser=True)

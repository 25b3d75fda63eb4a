"""One scan, watched by everybody, while its server is stopped and killed again and again: nobody touches a watcher.

These are programs in Node and Python, a notebook in a real kernel (and one in JupyterLab), the page at `/`, and
`scanstream watch`.

The server keeps its data and its port. The scan does what the test tells it, so that every restart comes while a shard
is at work and all watchers are there.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest
from anyio import to_thread

from client.programs import Piped, running
from notebooks.jupyter import needs_chromium, needs_jupyter
from support.process import ServerProcess
from support.proxy import free_port
from support.script import RunningShard, Script, scripting
from support.wire import discover, results
from trouble.followers import Follower, programs
from trouble.onlookers import LabPage, OurPage, lab_page, our_page

pytestmark = [pytest.mark.anyio, pytest.mark.notebook, needs_jupyter, needs_chromium, pytest.mark.timeout(240)]

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


class Watchers(NamedTuple):
    """Everybody."""

    followers: list[Follower]
    """The notebook is the last."""
    onlookers: list[OurPage | LabPage]
    piped: Piped


async def all_have(watchers: Watchers, count: int) -> None:
    """Everybody has been told of so much."""
    for follower in watchers.followers:
        await follower.until(lambda event: event.get("count", 0) >= count)
    for onlooker in watchers.onlookers:
        await onlooker.has(count)


@asynccontextmanager
async def terminal(url: str, scan_id: str) -> AsyncIterator[Piped]:
    """`scanstream watch`, with its output in a pipe."""
    with running(Piped, "watch", scan_id, "--url", url, "--json") as piped:
        yield piped


def told(piped: Piped) -> list[str]:
    """The ids in the messages that the terminal has shown, in order."""
    messages = [json.loads(line) for line in piped.shown.splitlines()]
    return [found["id"] for message in messages for found in message.get("opportunities", ())]


@asynccontextmanager
async def watching(url: str, scan_id: str, *kinds: str, lab: Path | None = None) -> AsyncIterator[Watchers]:
    """Everybody, on one scan.

    :param kinds: of programs that follow it
    :param lab: where JupyterLab may keep its things, if it is to look on
    """
    async with AsyncExitStack() as stack:
        followers: list[Follower] = []
        for kind in kinds:
            followers += await stack.enter_async_context(programs(kind, [(scan_id, url)]))
        onlookers: list[OurPage | LabPage] = [await stack.enter_async_context(our_page(url, scan_id))]
        if lab is not None:
            onlookers.append(await stack.enter_async_context(lab_page(url, scan_id, lab)))
        piped = await stack.enter_async_context(terminal(url, scan_id))
        await to_thread.run_sync(piped.until, "snapshot")  # a server that is away at first is another matter
        yield Watchers(followers, onlookers, piped)


async def live_through(directory: Path, restarts: int, *, lab: Path | None = None) -> None:
    """The whole story."""
    server = Server(directory / "data")
    total = FOUND * (2 * restarts + 1)
    try:
        async with scripting() as script:
            scan = Watched(script)
            scan_id = (await discover(server.url, script.request(2 * restarts + 1))).json()["scan_id"]
            async with watching(server.url, scan_id, "node", "python", "notebook", lab=lab) as watchers:
                for number in range(restarts):
                    await scan.shard()
                    await all_have(watchers, FOUND * (number + 1))
                    await scan.begun()
                    await server.restart(ServerProcess.kill if number % 2 else ServerProcess.stop)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(finish, scan)
                    ends = [await follower.until_end() for follower in watchers.followers]
                    for onlooker in watchers.onlookers:
                        await onlooker.ends(total)
                    code = await to_thread.run_sync(watchers.piped.end)
                    complaints = watchers.piped.errors()
                    tasks.cancel_scope.cancel()
                found = (await results(server.url, scan_id)).json()
    finally:
        server.stop()
    expected = sorted(one["id"] for one in found["opportunities"])
    assert len(expected) == total
    for end in ends:
        assert end["state"]["status"] == "complete"
        assert sorted(end["ids"]) == expected
        assert end["told"] == end["ids"]
    [line, closing] = ends[-1]["shown"]
    for text in (line, closing):
        assert "complete · 100 %" in text
        assert f"{total} found" in text
    assert code == 0, complaints
    assert sorted(told(watchers.piped)) == expected


async def finish(scan: Watched) -> None:
    """What is left of it is run to its end."""
    while True:
        await scan.shard()


async def test_a_stop_and_a_kill_before_everybody(tmp_path: Path) -> None:
    await live_through(tmp_path, 2)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_five_restarts_before_everybody(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    await live_through(tmp_path, 5, lab=tmp_path / "lab")

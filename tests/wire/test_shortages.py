"""What the machine lacks for the moment: running scans wait and go on, new work is refused, and nothing has failed."""

import os
import resource
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.abc import SocketStream

from scanstream.engines.schema import DATABASE
from support.process import ServerProcess, stand_still
from support.raw import connected, get
from support.script import scripting
from support.stubborn_server import begin, serving, state_of, until, until_phase, wanted
from support.wire import Socket, discover, request, websocket

pytestmark = pytest.mark.anyio

HASTE = """
from scanstream.scans import inquiry, runner, shortages
from scanstream.scans.work import processes
processes.LOOK_SECONDS = 0.1
inquiry.LONGEST_PAUSE_SECONDS = runner.LONGEST_PAUSE_SECONDS = 0.01
shortages.LONGEST_PAUSE_SECONDS = 0.5
"""
"""Short pauses."""


@pytest.fixture(scope="module")
async def hasty() -> AsyncIterator[ServerProcess]:
    """One for all that lack nothing but what a strategy takes. Its workers are started many times, and not starved."""
    async with serving(":memory:", "--worker-priority", "low", before=HASTE) as server:
        server.until_serving()
        yield server


async def answer(socket: Socket, kind: str, **message: Any) -> dict[str, Any]:
    """Send a message, and take what is answered to it."""
    await socket.send(type=kind, id="x", **message)
    while (received := await socket.receive()).get("id") != "x":
        pass
    return received


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Callable[[str], Awaitable[bytes]]]:
    """Who is connected while there is room for it, and asks also when there is none."""
    with connected(url, get("/healthz")) as connection:  # at once: who says nothing at first is hung up on

        async def answered() -> bytes:
            received = b""
            while not received.endswith(b"}"):
                chunk = await to_thread.run_sync(connection.recv, 65_536)
                assert chunk, received
                received += chunk
            return received

        async def ask(path: str) -> bytes:
            connection.sendall(get(path))
            return await answered()

        assert (await answered()).startswith(b"HTTP/1.1 200 ")
        yield ask


async def test_out_of_descriptors_running_scans_wait_new_ones_are_refused_and_all_go_on(tmp_path: Path) -> None:
    async with serving(tmp_path, before=HASTE) as server:
        server.until_serving()
        await _out_of_descriptors(server)


async def _out_of_descriptors(server: ServerProcess) -> None:
    async with websocket(server.url, close_timeout=0.2) as socket, asking(server.url) as ask, scripting() as script:
        ack = await answer(socket, "discover", request=script.request(shards=1))
        scan_id = ack["scan_id"]
        await script.started()  # and it goes on when it is told to
        assert (await ask("/readyz")).startswith(b"HTTP/1.1 200 ")
        server.use_up_descriptors()
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)

        async def refused() -> bool:
            server.use_up_descriptors()  # also those that the killed have left: with them another one could come up
            told = await answer(socket, "discover", request=wanted())
            if told["type"] != "error" or "descriptors" not in told["detail"]:
                return False  # not yet: one of the killed may have been about to come up, which is another shortage
            assert (told["code"], told["retry_after"] > 0) == ("overloaded", True)
            return True

        async def unready() -> bool:
            return (await ask("/readyz")).startswith(b"HTTP/1.1 503 ")

        await until(refused)
        joined = await answer(socket, "discover", request=script.request(shards=1))
        assert (joined["scan_id"], joined["reused"]) == (scan_id, "running")  # limits are for new work only
        await until(unready)
        server.give_descriptors()
        await (await script.started()).tell("end")
        state = await until_phase(server, scan_id, "done")
        assert (state["status"], state["progress"]["percentage"]) == ("complete", 100)

        async def taken() -> bool:
            return (await discover(server.url, wanted())).status == 202

        await until(taken)
        assert (await request(server.url, "GET", "/readyz")).status == 200
        _, _, errors = server.ended()
        assert errors.count("out of file descriptors: running scans wait") >= 1
        assert len(errors.splitlines()) < 20, errors


async def _connections(server: ServerProcess, count: int) -> list[SocketStream]:
    port = int(server.url.rpartition(":")[2])
    return [await anyio.connect_tcp("127.0.0.1", port) for _ in range(count)]


async def _told(stream: SocketStream) -> bytes:
    """What a connection is told that may not stay, before it is asked for anything."""
    received = b""
    with anyio.fail_after(30):
        async for part in stream:
            received += part
    return received


async def test_watchers_cannot_starve_scans_of_descriptors() -> None:
    async with serving(":memory:") as server:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        streams = await _connections(server, 60)
        head, _, body = (await _told(streams[-1])).partition(b"\r\n\r\n")
        with anyio.move_on_after(0.3) as stays:
            await streams[0].receive()
        assert stays.cancelled_caught
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after:" in head.lower()
        assert b"connection: close" in head.lower()
        assert b'"code":"overloaded"' in body
        for stream in streams[45:]:  # places for whoever asks now
            await stream.aclose()

        async def complete() -> bool:
            return (await discover(server.url, wanted())).status == 202

        await until(complete)
        scan_id = await begin(server, shards=4)
        assert (await until_phase(server, scan_id, "done"))["status"] == "complete"
        for stream in streams[:45]:
            await stream.aclose()


async def test_workers_that_stand_still_are_replaced_idle_or_at_work(tmp_path: Path) -> None:
    async with serving(":memory:", before=HASTE) as server:
        server.until_serving()
        await until_phase(server, await begin(server, shards=4), "done")
        for pid in server.workers():
            stand_still(pid)
        idle = await until_phase(server, await begin(server, shards=4), "done")
        assert idle["status"] == "complete"
        busy = await until_phase(
            server, await begin(server, does="stop once", once=str(tmp_path / "stopped"), shards=2), "done"
        )
        assert busy["status"] == "complete"


def test_the_soft_limit_of_open_files_is_raised_to_the_hard_one() -> None:
    lowered = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (300, 700))"
    server = ServerProcess(":memory:", before=lowered)
    try:
        server.until_serving()
        assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (700, 700)
    finally:
        server.kill()


def test_a_server_that_could_serve_nobody_is_refused_in_words() -> None:
    server = ServerProcess(":memory:", before="import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))")
    _, errors = server.process.communicate(timeout=30)
    assert server.process.returncode == 2
    assert "may have 40" in errors
    assert len(errors.splitlines()) == 1, errors


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("open too much", "Too many open files"),
        ("run out of memory", "MemoryError"),
        ("run out of memory in units", "MemoryError"),
    ],
)
async def test_a_strategy_that_takes_all_there_is_fails_with_the_true_words_in_the_end(
    hasty: ServerProcess, does: str, told: str
) -> None:
    scan_id = await begin(hasty, does=does)
    state = await until_phase(hasty, scan_id, "done")
    error = state["strategies"]["stubborn"]["error"]
    assert (state["status"], error["code"]) == ("failed", "strategy_error")
    assert told in error["detail"]
    assert (await discover(hasty.url, wanted())).status == 202  # it is the strategy's, and not the machine's


async def test_on_a_full_disk_scans_wait_and_are_cancelled_or_refused_in_words_and_go_on_with_room(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as server, scripting() as script:
        scan_id = (await discover(server.url, script.request(shards=3))).json()["scan_id"]
        first, second = await script.started(), await script.started()
        size = (tmp_path / f"{DATABASE}-wal").stat().st_size
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        async def refused() -> bool:
            return bool((await discover(server.url, wanted())).json().get("code") == "store_unavailable")

        async def waits() -> bool:
            return b"scanstream_shortages 1.0" in (await request(server.url, "GET", "/metrics")).body

        await until(refused)
        await first.tell("end")  # which cannot be written
        await until(waits)
        ready = await request(server.url, "GET", "/readyz")
        assert (ready.status, ready.json()["code"]) == (503, "store_unavailable")
        cancelled = await request(server.url, "POST", f"/opportunities/cancel/{scan_id}")
        assert (cancelled.status, cancelled.headers["retry-after"]) == (503, "5")
        assert (await state_of(server, scan_id))["status"] == "scanning"
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await second.tell("end")
        await (await script.started()).tell("end")
        state = await until_phase(server, scan_id, "done")
        assert (state["status"], state["progress"]["percentage"]) == ("complete", 100)

        async def ready_again() -> bool:
            return (await request(server.url, "GET", "/readyz")).status == 200

        await until(ready_again)
        _, _, errors = server.ended()
        assert errors.count("running scans wait for the store: ") == 1, errors
        assert len(errors.splitlines()) < 10, errors

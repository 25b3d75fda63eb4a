"""What `make cluster` is made of: ports, servers of NATS, processes that end with us, the balancer."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from anyio.abc import SocketStream

from onemachine.balancer import Backend, Balancer
from onemachine.nats import Nats, nats
from onemachine.ports import HIGHEST, LOWEST, free_ports
from onemachine.program import Program
from support.until import until
from support.wire import request

pytestmark = pytest.mark.anyio


def test_ports_are_free_and_below_those_of_outgoing_connections() -> None:
    ports = free_ports(20)

    assert len(set(ports)) == 20
    assert all(LOWEST <= port <= HIGHEST < 32_768 for port in ports)
    for port in ports:
        with socket.create_server(("127.0.0.1", port)):
            pass


@asynccontextmanager
async def running(servers: Nats) -> AsyncIterator[Nats]:
    try:
        await servers.start()
        yield servers
    finally:
        await servers.stop()


async def test_a_server_of_nats_comes_back_on_its_port(tmp_path: Path) -> None:
    async with running(nats(1, tmp_path)) as servers:
        [server] = servers.servers
        assert servers.engine == f"nats://127.0.0.1:{server.port}"
        assert await servers.leader() is server
        server.kill()
        assert server.ask("/healthz") == {}
        await servers.start()
        assert server.ask("/varz")["server_name"] == server.known_as
    assert not server.runs


async def test_a_server_on_the_port_of_another_is_not_taken_for_it(tmp_path: Path) -> None:
    async with running(nats(1, tmp_path, "other")) as others:
        [server] = nats(1, tmp_path).servers
        server.port = others.servers[0].port
        server.monitor = others.servers[0].monitor
        server.start()
        try:
            with pytest.raises(RuntimeError, match="nats-1 is not ready"):
                await server.until_ready(0.3)
        finally:
            server.kill()


@pytest.mark.parametrize("half", [b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", b"HTT"], ids=["body", "head"])
async def test_a_server_that_ends_in_the_middle_of_an_answer_has_not_answered(tmp_path: Path, half: bytes) -> None:
    async def answer(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(half)

    [server] = nats(1, tmp_path).servers
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=server.monitor)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        assert await to_thread.run_sync(server.ask, "/healthz") == {}
        backend = Backend(f"http://127.0.0.1:{server.monitor}")
        assert await to_thread.run_sync(backend.ask) == half.endswith(b"{")  # its first line is all that is asked for
        tasks.cancel_scope.cancel()


async def test_a_program_says_why_it_has_ended(tmp_path: Path) -> None:
    program = Program("short", [sys.executable, "-c", "import sys; print('hello'); sys.exit('no reason')"], tmp_path)
    program.start()

    assert (await program.until_said("hel+o", 30))[0] == "hello"
    with pytest.raises(RuntimeError, match="short has ended with 1: no reason"):
        await program.until_said("bye", 30)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has gone")
async def test_a_program_ends_with_whoever_started_it(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom onemachine.program import Program\n"
        f"child = Program('child', [sys.executable, '-c', 'import time; time.sleep(600)'], Path({str(tmp_path)!r}))\n"
        "child.start()\nprint(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[2] / "deploy"), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(  # noqa: ASYNC220  # it is waited for at once
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    await until(lambda: not _runs(child))


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


@asynccontextmanager
async def answering(name: str, ready: list[str]) -> AsyncIterator[str]:
    """A node that says its name; it is ready while that is in the list."""
    [port] = free_ports(1)

    async def answer(stream: SocketStream) -> None:
        async with stream:
            head = (await stream.receive()).decode()
            status = "503 No" if head.startswith("GET /readyz") and name not in ready else "200 OK"
            await stream.send(f"HTTP/1.1 {status}\r\ncontent-length: 1\r\nconnection: close\r\n\r\n{name}".encode())

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


async def test_the_balancer_asks_nodes_that_are_ready(tmp_path: Path) -> None:
    ready = ["b"]
    [nobody] = free_ports(1)
    async with answering("a", ready) as one, answering("b", ready) as other:
        balancer = Balancer([f"http://127.0.0.1:{nobody}", one, other])
        async with balancer.open(free_ports(1)[0]) as url:
            for word in ("b", "a"):
                ready[:] = [word]
                expected = [False, word == "a", word == "b"]
                await until(lambda: [backend.ready for backend in balancer.backends] == expected)  # noqa: B023
                answers = [await request(url, "GET", "/") for _ in range(3)]
                assert [answer.body.decode() for answer in answers] == [word] * 3
            ready.clear()
            await until(lambda: not any(backend.ready for backend in balancer.backends))
            assert (await request(url, "GET", "/")).body.decode() in "ab"

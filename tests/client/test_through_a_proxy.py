"""Commands whose server is behind a forward proxy, which alone knows where that is: HTTP and WebSocket go one way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
import pytest
from anyio import to_thread
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from client.programs import QUICK, run
from conftest import Serve

pytestmark = pytest.mark.anyio

NAME = "scans.example"
LONGEST_HEAD = 65_536


@asynccontextmanager
async def forwarding(url: str) -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy that leads to this server whoever is asked for; its address, and the requests that it got."""
    target = urlsplit(url)
    asked: list[str] = []

    async def greet(client: SocketStream) -> None:
        assert target.hostname is not None
        assert target.port is not None
        async with client, await anyio.connect_tcp(target.hostname, target.port) as server:
            received = BufferedByteReceiveStream(client)
            head = await received.receive_until(b"\r\n\r\n", LONGEST_HEAD)
            asked.append(head.partition(b"\r\n")[0].decode())
            if head.startswith(b"CONNECT "):
                await client.send(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                await server.send(head + b"\r\n\r\n" + received.buffer)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_relay, client, server, tasks.cancel_scope)
                tasks.start_soon(_relay, server, client, tasks.cancel_scope)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610  # not of Django
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, greet)
        yield f"http://127.0.0.1:{port}", asked
        tasks.cancel_scope.cancel()


async def _relay(source: ByteStream, sink: ByteStream, over: anyio.CancelScope) -> None:
    try:
        async for piece in source:
            await sink.send(piece)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass
    over.cancel()


async def test_all_commands_take_the_one_proxy(serve: Serve) -> None:
    async with serve(allow_host=(NAME,), workers=1) as url, forwarding(url) as (proxy, asked):
        environment = {
            "SCANSTREAM_URL": f"http://{NAME}:8000",
            "ALL_PROXY": proxy,
            "all_proxy": proxy,
            "NO_PROXY": "",
            "no_proxy": "",
        }
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
            environment[name] = ""
        shown = await to_thread.run_sync(lambda: run("discover", *QUICK, **environment))
        assert (shown.returncode, shown.stderr) == (0, "")
        shown = await to_thread.run_sync(lambda: run("status", "latest", **environment))
        assert (shown.returncode, shown.stderr) == (0, "")
    assert [line.split()[0] for line in asked] == ["POST", "CONNECT", "GET"]
    assert all(f"{NAME}:8000" in line for line in asked)

"""What push/transport.py relies on in uvicorn, whose version pyproject.toml pins to a range for this reason."""

import inspect
import socket
import time
from importlib.metadata import version

import anyio
import pytest
from anyio import to_thread
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from conftest import Serve
from scanstream.push.outlet import ABORT_EXTENSION
from scanstream.push.transport import SEND_BUFFER_BYTES, HttpTransport, WebSocketTransport, listen
from support.script import scripting
from support.wire import deaf, discover, request, until_terminal, websocket

pytestmark = pytest.mark.anyio


def test_uvicorn_is_in_the_range_that_was_tried() -> None:
    assert (0, 53) <= tuple(int(part) for part in version("uvicorn").split(".")[:2]) < (0, 56)


async def test_the_names_that_are_used_exist() -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None: ...

    config = Config(app, log_config=None)
    config.load()
    transport = WebSocketTransport(config, ServerState(), {})
    for name in ("conn", "close_sent", "close_timer", "close_timeout", "loop", "transport"):
        assert hasattr(transport, name), name
    for overridden, base in ((WebSocketTransport, WebSocketsSansIOProtocol), (HttpTransport, HttpToolsProtocol)):
        for name in set(vars(overridden)) & {"handle_connect", "on_headers_complete"}:
            ours, theirs = (inspect.signature(getattr(cls, name)).parameters for cls in (overridden, base))
            assert list(ours) == list(theirs), name


async def test_connections_inherit_a_small_send_buffer() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            size = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            assert client.getpeername() == accepted.getsockname()
    assert size in (SEND_BUFFER_BYTES, 2 * SEND_BUFFER_BYTES)  # Linux doubles what it is asked for


async def test_both_kinds_of_connection_offer_the_extension(serve: Serve) -> None:
    """A stalled reader is cut off on either door; that is what the extension is for."""
    async with serve(stall=0.3, workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        shard = await script.started()
        options = deaf(url)
        events: socket.socket = deaf(url)["sock"]
        async with websocket(url, **options) as slow:
            await slow.send(type="subscribe", scan_id=scan_id)
            await slow.receive()
            events.setblocking(True)
            host = url.removeprefix("http://")
            events.sendall(f"GET /opportunities/events/{scan_id} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
            assert await to_thread.run_sync(events.recv, 15) == b"HTTP/1.1 200 OK"
            slow.connection.transport.pause_reading()
            await shard.tell("find 6000", "end")
            await until_terminal(url, scan_id)
            with anyio.fail_after(20):
                await to_thread.run_sync(_until_cut, events)
        assert (await request(url, "GET", "/healthz")).status == 200
    assert ABORT_EXTENSION.startswith("scanstream.")


def _until_cut(events: socket.socket) -> None:
    """Read slowly enough to be taken for stalled, until the server is rid of us: never the end of the stream."""
    with events:
        events.settimeout(15)
        time.sleep(1.0)  # three times as long as --stall: time is the matter of this test
        received = b""
        try:
            while chunk := events.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
        assert b"event: end" not in received

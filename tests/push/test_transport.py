"""What the transports of push/ rely on in uvicorn, whose version pyproject.toml pins to a range for this reason."""

import asyncio
import inspect
import re
import socket
import time
from importlib.metadata import version
from types import SimpleNamespace
from unittest.mock import Mock

import anyio
import anyio.lowlevel
import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from scanstream.push.transport.bounds import DoorConfig
from scanstream.push.transport.flow import Flow
from scanstream.push.transport.http import HttpTransport
from scanstream.push.transport.listener import SEND_BUFFER_BYTES, SLICE_SECONDS, keep_watch, listen
from scanstream.push.transport.websocket import WebSocketTransport
from support.raw import UPGRADE

pytestmark = pytest.mark.anyio


def test_uvicorn_is_in_the_range_that_was_tried() -> None:
    assert (0, 53) <= tuple(int(part) for part in version("uvicorn").split(".")[:2]) < (0, 56)


async def test_the_names_that_are_used_exist() -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None: ...

    config = DoorConfig(app, log_config=None)
    config.load()
    socket_, http = WebSocketTransport(config, ServerState(), {}), HttpTransport(config, ServerState(), {})
    used = {
        socket_: "app conn close_sent close_timer close_timeout config disconnected frames"
        " curr_msg_data_type handshake_initiated handshake_complete loop queue receive send tasks transport writable"
        " pending_ping_payload ping_sent_at handle_parser_exception keepalive_timeout send_500_response stop_keepalive",
        http: "parser pipeline cycle flow headers loop transport server_state _should_upgrade"
        " _unset_keepalive_if_required app_state connections",
    }
    for transport, names in used.items():
        for name in names.split():
            assert hasattr(transport, name), name
    assert socket_.conn.reader.buffer == b""
    handshake = inspect.getsource(WebSocketsSansIOProtocol.handle_connect)
    for name in ("request", "response", "scope"):
        assert f"self.{name}" in handshake, name
    for name in ("disconnected", "message_event", "response_started", "response_complete"):
        assert f"self.{name} = " in inspect.getsource(RequestResponseCycle), name


@pytest.mark.parametrize(
    ("overridden", "base"),
    [(WebSocketTransport, WebSocketsSansIOProtocol), (HttpTransport, HttpToolsProtocol), (Flow, FlowControl)],
)
def test_what_is_overridden_is_there_and_takes_the_same(overridden: type, base: type) -> None:
    own = {"look", "refuse", "expel", "cut", "hold", "begin", "then"}
    for name in set(vars(overridden)) - own:
        if inspect.isfunction(getattr(overridden, name)) and not name.startswith("_"):
            ours, theirs = (inspect.signature(getattr(cls, name)).parameters for cls in (overridden, base))
            assert list(ours) == list(theirs), name
    assert "_start_asgi_task" in vars(HttpToolsProtocol)


def test_fragments_and_messages_are_handed_on_by_the_names_that_are_overridden() -> None:
    """Were they not called any more, the bounds would hold nothing and no test of signatures would tell."""
    events = inspect.getsource(WebSocketsSansIOProtocol.handle_events)
    assert all(
        f"self.{name}(event)" in events for name in ("handle_cont", "handle_text", "handle_pong", "handle_close")
    )
    assert "self.run_asgi()" in inspect.getsource(WebSocketsSansIOProtocol.handle_connect)
    every = inspect.getsource(WebSocketsSansIOProtocol)
    assert set(re.findall(r"self\.queue\.(\w+)", every)) == {"put_nowait", "get", "empty"}
    assert set(re.findall(r"self\.writable\.(\w+)", every)) == {"set", "clear", "wait"}
    assert "self.send_receive_event_to_app()" in inspect.getsource(WebSocketsSansIOProtocol.handle_text)
    assert "self._start_asgi_task(" in inspect.getsource(HttpToolsProtocol.on_response_complete)


async def test_a_defect_in_watching_a_connection_ends_that_one_only(caplog: pytest.LogCaptureFixture) -> None:
    class Sound:
        looks = 0
        rests_until = 0.0
        outflow = SimpleNamespace(clear=True)

        def look(self, _now: float) -> None:
            self.looks += 1

    class Broken(Sound):
        def __init__(self) -> None:
            self.transport = self

        def look(self, _now: float) -> None:
            raise RuntimeError("the handler is closed")

        def abort(self) -> None:
            connections.discard(self)

    sound, connections = Sound(), set[Sound]()
    connections |= {sound, Broken()}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_watch, connections, 0.001)
        with anyio.fail_after(10):
            while sound.looks < 3:  # noqa: ASYNC110  # time is what it waits for
                await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()
    assert connections == {sound}
    assert "it is cut off" in caplog.text


class Watched:
    looks = 0
    rests_until = 0.0
    outflow = SimpleNamespace(clear=True)

    def look(self, _now: float) -> None:
        self.looks += 1


async def test_a_sweep_looks_at_every_connection_that_is_there_and_does_not_rest() -> None:
    connections = {Watched() for _ in range(1000)}
    resting = Watched()
    resting.rests_until = asyncio.get_running_loop().time() + 3600
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_watch, {*connections, resting}, 0.001)
        with anyio.fail_after(10):
            while not all(watched.looks > 1 for watched in connections):  # noqa: ASYNC110  # time is what it waits for
                await anyio.sleep(0.001)
        resting.rests_until = 0.0
        with anyio.fail_after(10):
            while not resting.looks:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()
    assert resting.looks < min(watched.looks for watched in connections)


async def test_a_sweep_gives_way_whenever_a_slice_is_over() -> None:
    class Slow(Watched):
        def look(self, now: float) -> None:
            super().look(now)
            until = time.perf_counter() + 2 * SLICE_SECONDS
            while time.perf_counter() < until:
                pass

    connections = {Slow() for _ in range(20)}
    turns = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_watch, connections, 0.0)
        with anyio.fail_after(10):
            while not all(watched.looks for watched in connections):  # each pass is a turn of the loop
                turns += 1
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert turns >= len(connections) // 2


async def test_connections_inherit_a_small_send_buffer() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            size = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            assert client.getpeername() == accepted.getsockname()
    assert size in (SEND_BUFFER_BYTES, 2 * SEND_BUFFER_BYTES)  # Linux doubles what it is asked for


async def test_who_leaves_during_the_handshake_is_told_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """uvicorn accepts nobody whose connection is closing, and its application has no way to know."""
    closing = Mock(asyncio.Transport, **{"is_closing.return_value": True, "get_extra_info.return_value": None})

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})

    config = DoorConfig(app, ws=WebSocketTransport, log_config=None, lifespan="off")
    config.load()
    state = ServerState()
    connection = WebSocketTransport(config, state, {})
    connection.connection_made(closing)
    connection.begin(
        "GET",
        b"/ws",
        [(name, value) for name, _, value in (line.partition(b": ") for line in UPGRADE.split(b"\r\n")[1:-1])],
    )
    with anyio.fail_after(10):
        await asyncio.gather(*state.tasks)

    assert closing.write.mock_calls == []
    assert caplog.records == []

"""The fast outlet on a real socket: when it is offered, when it is ready, on which ways it is closed, what it costs."""

import asyncio
import gc
import socket
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from conftest import Serve
from scanstream.core import open_core
from scanstream.log.entry import CancelRequested
from scanstream.model import ANYONE, DiscoverRequest
from scanstream.push.codec import frame_message
from scanstream.push.fanout import Encoded
from scanstream.push.flushes import BYTES_A_READER
from scanstream.push.outgoing import Outgoing
from scanstream.push.transport.bounds import HIGH_WATER_BYTES
from scanstream.push.transport.ready_made import EXTENSION, ReadyMadeOutlet
from scanstream.push.transport.websocket import WebSocketTransport
from scanstream.routes import application
from scanstream.settings import Settings
from support.histories import done, found, planned
from support.readers import SocketReader
from support.script import scripting
from support.wire import ONE_QUICK_SCAN, discover, until_terminal, websocket

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def plain_uvicorn(app: ASGIApp, **options: Any) -> AsyncIterator[str]:
    """An ordinary uvicorn with our WebSocket class, and nothing else of ours below the application."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, ws=WebSocketTransport, lifespan="off", log_config=None, **options)
        server = uvicorn.Server(config)
        server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]

        async def serve() -> None:
            with anyio.CancelScope(shield=True):  # a cancelled uvicorn leaves its sockets behind
                await server.serve([listener])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            try:
                yield f"ws://127.0.0.1:{listener.getsockname()[1]}/ws"
            finally:
                server.should_exit = True


class Accepting:
    """An application that lets a connection in, keeps its outlet, and returns."""

    def __init__(self) -> None:
        self.outlets: list[ReadyMadeOutlet | None] = []
        self.events: list[Any] = []
        self.come = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        outlet: ReadyMadeOutlet | None = scope["extensions"].get(EXTENSION)
        self.outlets.append(outlet)
        if outlet is not None:
            outlet.then(self.events.append)
        self.come.set()
        if outlet is None:
            await receive()


@asynccontextmanager
async def accepted(**options: Any) -> AsyncIterator[tuple[ReadyMadeOutlet, ClientConnection, Accepting]]:
    """One connection: the server's outlet of it, and the client."""
    app = Accepting()
    async with plain_uvicorn(app, **options) as address, connect(address, compression=None, max_queue=1) as client:
        await app.come.wait()
        assert app.outlets[0] is not None
        yield app.outlets[0], client, app


async def until(holds: Callable[[], object]) -> None:
    with anyio.fail_after(20):
        while not holds():  # noqa: ASYNC110  # a transport tells nobody
            await anyio.sleep(0.005)


async def test_a_frame_arrives_as_the_message_it_is_and_several_leave_in_one_write() -> None:
    async with accepted() as (outlet, client, _):
        for payload in ('{"text":"ü"}', b"\x81\xa1a\x01", "x" * 70_000, ""):
            outlet.put(Outgoing(payload))
        outlet.flush()
        assert [await client.recv() for _ in range(4)] == ['{"text":"ü"}', b"\x81\xa1a\x01", "x" * 70_000, ""]


def test_what_is_made_ready_is_what_was_said() -> None:
    for payload in ("ü", b"\x00", "", "x" * 125, "x" * 126, b"y" * 65_536):
        message = Outgoing(payload)
        assert message.payload == payload
        assert len(message) == len(message.frame) > len(message.data)


async def test_it_is_offered_unless_messages_are_to_be_compressed() -> None:
    app = Accepting()
    async with plain_uvicorn(app, ws_per_message_deflate=True) as address:
        async with connect(address, compression="deflate"):
            await app.come.wait()
        app.come = anyio.Event()
        async with connect(address, compression=None):
            await app.come.wait()
    assert app.outlets[0] is None
    assert app.outlets[1] is not None


async def test_one_whose_reader_takes_nothing_is_not_ready_until_it_does() -> None:
    async with accepted() as (outlet, client, _):
        drained = anyio.Event()
        outlet.drained = drained.set
        client.transport.pause_reading()
        message = Outgoing("x" * HIGH_WATER_BYTES)
        count = 0
        while outlet.ready:
            outlet.put(message)
            outlet.flush()
            count += 1
            await anyio.lowlevel.checkpoint()
            assert count < 1000
        assert not drained.is_set()
        client.transport.resume_reading()
        for _ in range(count):
            assert len(await client.recv()) == HIGH_WATER_BYTES
        with anyio.fail_after(20):
            await drained.wait()
        assert outlet.ready


async def close_from_here(transport: WebSocketTransport, _: ClientConnection) -> None:
    await transport.send({"type": "websocket.close", "code": 1000, "reason": ""})


async def client_closes(_: WebSocketTransport, client: ClientConnection) -> None:
    await client.close()


async def client_vanishes(_: WebSocketTransport, client: ClientConnection) -> None:
    client.transport.abort()


async def client_breaks_the_rules(_: WebSocketTransport, client: ClientConnection) -> None:
    client.transport.write(b"\xff\xff\xff\xff")


async def client_sends_no_text(_: WebSocketTransport, client: ClientConnection) -> None:
    client.transport.write(b"\x81\x81\0\0\0\0\xff")


async def server_shuts_down(transport: WebSocketTransport, _: ClientConnection) -> None:
    transport.shutdown()


async def no_pong_in_time(transport: WebSocketTransport, _: ClientConnection) -> None:
    transport.keepalive_timeout()


async def no_byte_taken(transport: WebSocketTransport, _: ClientConnection) -> None:
    transport.expel(1013, "no byte taken")


ENDS = [
    close_from_here,
    client_closes,
    client_vanishes,
    client_breaks_the_rules,
    client_sends_no_text,
    server_shuts_down,
    no_pong_in_time,
    no_byte_taken,
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_it_is_closed_on_every_way_out_and_takes_nothing_more(
    end: Callable[[WebSocketTransport, ClientConnection], Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with accepted() as (outlet, client, app):
        transport = outlet.then.__self__  # type: ignore[attr-defined]
        await end(transport, client)
        await until(lambda: outlet.closed)
        assert not outlet.ready
        outlet.put(Outgoing("too late"))
        outlet.flush()
        await until(lambda: app.events and app.events[-1]["type"] == "websocket.disconnect")
        with anyio.fail_after(20), suppress(ConnectionClosed):
            pytest.fail(f"it was sent {await client.recv()!r}")
    assert "Traceback" not in caplog.text


async def test_an_idle_connection_has_no_task_and_leaves_nothing_behind(serve: Serve) -> None:
    count = 20
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        shard = await script.started()

        async def follow(stack: AsyncExitStack) -> None:
            socket = await stack.enter_async_context(websocket(url))
            await socket.send(type="subscribe", scan_id=scan_id)
            assert [(await socket.receive())["type"] for _ in range(2)] == ["ack", "snapshot"]

        async with AsyncExitStack() as stack:
            await follow(stack)
            await anyio.wait_all_tasks_blocked()
            before = {task for task in asyncio.all_tasks() if "keepalive" not in repr(task)}
            for _ in range(count):
                await follow(stack)
            await anyio.wait_all_tasks_blocked()
            after = {task for task in asyncio.all_tasks() if "keepalive" not in repr(task)}
            assert after == before
            gc.collect()
            gc.disable()
            held = [weakref.ref(one) for one in gc.get_objects() if isinstance(one, WebSocketTransport)]
            assert len(held) == count + 1
        try:
            await until(lambda: not any(reference() for reference in held))
        finally:
            gc.enable()
        await shard.tell("end")


async def test_one_that_leaves_while_it_is_answered_is_let_go(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(port=0, data=":memory:", workers=0)
    async with open_core(settings) as core, plain_uvicorn(application(settings, core)) as address:
        asked, may_answer = anyio.Event(), anyio.Event()
        find = core.desk.find

        async def slow(*arguments: Any) -> Any:
            asked.set()
            await may_answer.wait()
            return await find(*arguments)

        monkeypatch.setattr(core.desk, "find", slow)
        async with websocket("http" + address.removeprefix("ws").removesuffix("/ws")) as client:
            await client.send(type="subscribe", scan_id="scan_of_nobody")
            await asked.wait()
            there = [one for one in gc.get_objects() if type(one) is ReadyMadeOutlet and not one.closed]
            client.connection.transport.abort()
            await until(lambda: all(one.closed for one in there))
            assert there
        assert len(core.drain) == 1
        may_answer.set()
        await until(lambda: len(core.drain) == 0)
    assert "defect" not in caplog.text


async def test_a_defect_in_one_scans_frame_is_told_its_readers_and_no_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(port=0, data=":memory:", workers=0)
    async with open_core(settings) as core, plain_uvicorn(application(settings, core)) as address:
        url = "http" + address.removeprefix("ws").removesuffix("/ws")
        broken, sound = [
            (await core.desk.register(ANYONE, DiscoverRequest(capital_usd=1000 + number))).scan_id
            for number in range(2)
        ]
        async with websocket(url) as one, websocket(url) as other:
            for client, scan_id in ((one, broken), (other, sound)):
                await client.send(type="subscribe", scan_id=scan_id)
                assert [(await client.receive())["type"] for _ in range(2)] == ["ack", "snapshot"]

            def defective(log: Any, *rest: Any) -> Any:
                if log.scan_id == broken:
                    raise KeyError("a defect")
                return frame_message(log, *rest)

            monkeypatch.setattr("scanstream.push.fanout.frame_message", defective)
            with anyio.fail_after(20):
                for scan_id in (broken, sound):
                    await core.store.append(scan_id, CancelRequested(at=core.hub.live()[0].folded.at))
                told = await one.receive()
                assert (told["type"], told["code"]) == ("error", "internal")
                with pytest.raises(ConnectionClosed):
                    await one.receive()
                while (await other.receive())["type"] != "end":
                    pass
    assert "a defect in telling a scan" in caplog.text


async def test_a_plain_uvicorn_with_our_websocket_class_serves_readers_as_ours_does() -> None:
    settings = Settings(port=0, data=":memory:", workers=1)
    async with open_core(settings) as core, plain_uvicorn(application(settings, core)) as address:
        url = "http" + address.removeprefix("ws").removesuffix("/ws")
        scan_id = (await discover(url, ONE_QUICK_SCAN)).json()["scan_id"]
        async with SocketReader.open(url, scan_id) as reader:
            await reader.until_end()
        final = await until_terminal(url, scan_id)
        assert {name: final[name] for name in reader.mirror.state} == reader.mirror.state


async def test_a_connection_is_written_to_once_where_many_of_its_scans_have_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings(port=0, data=":memory:", workers=0)
    flush = ReadyMadeOutlet.flush
    writes: list[int] = []

    def counted(self: ReadyMadeOutlet) -> None:
        if self._box:
            writes.append(len(self._box))
        flush(self)

    async with open_core(settings) as core, plain_uvicorn(application(settings, core)) as address:
        url = "http" + address.removeprefix("ws").removesuffix("/ws")
        scans = [
            (await core.desk.register(ANYONE, DiscoverRequest(capital_usd=1000 + number))).scan_id
            for number in range(20)
        ]
        async with websocket(url) as client:
            for scan_id in scans:
                await client.send(type="subscribe", scan_id=scan_id)
                assert [(await client.receive())["type"] for _ in range(2)] == ["ack", "snapshot"]
            monkeypatch.setattr(ReadyMadeOutlet, "flush", counted)
            async with anyio.create_task_group() as tasks:
                for scan_id in scans:
                    tasks.start_soon(core.store.append, scan_id, CancelRequested(at=core.hub.live()[0].folded.at))
            told: set[str] = set()
            with anyio.fail_after(20):
                while told != set(scans):
                    told.add((await client.receive())["scan_id"])
    assert len(writes) < len(scans) / 2


async def test_many_readers_are_told_in_turns_and_their_frame_is_made_once(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers of one position share one frame; between two turns whoever else waits for the loop has it."""
    made: list[str] = []
    init = Encoded.__init__

    def counted(self: Encoded, kind: Any, *rest: Any) -> None:
        made.append(kind)
        init(self, kind, *rest)

    monkeypatch.setattr(Encoded, "__init__", counted)
    monkeypatch.setattr("scanstream.push.flushes.READERS_IN_TURN", 3)
    async with serve(workers=1) as url, scripting() as script, AsyncExitStack() as stack:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        shard = await script.started()
        sockets = [await stack.enter_async_context(websocket(url)) for _ in range(10)]
        for follower in sockets:
            await follower.send(type="subscribe", scan_id=scan_id)
            assert [(await follower.receive())["type"] for _ in range(2)] == ["ack", "snapshot"]
        made.clear()
        await shard.tell("find 1", "end")
        told = [[message["type"] async for message in until_end(follower)] for follower in sockets]
    assert all(types[-1] == "end" for types in told)
    assert made.count("end") <= len(made) <= max(len(types) for types in told) + 3


async def test_readers_of_much_are_told_so_much_in_a_turn_though_the_kernel_takes_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By bytes, not by readers: each of them would be told thousands of results at once."""
    monkeypatch.setattr("scanstream.push.flushes.READERS_IN_TURN", 50)
    parts, put = 12, ReadyMadeOutlet.put
    turn = 0
    puts: Counter[int] = Counter()
    largest = 0

    def counted(self: ReadyMadeOutlet, message: Outgoing) -> None:
        nonlocal largest
        puts[turn] += len(message)
        largest = max(largest, len(message))
        put(self, message)

    async def count() -> None:
        nonlocal turn
        while True:
            await anyio.lowlevel.checkpoint()
            turn += 1

    settings = Settings(port=0, data=":memory:", workers=0)
    async with open_core(settings) as core, plain_uvicorn(application(settings, core)) as address:
        url = "http" + address.removeprefix("ws").removesuffix("/ws")
        request = DiscoverRequest(strategy_ids=["tsmom"], symbols=["BTC/USDT"])
        scan_id = (await core.desk.register(ANYONE, request)).scan_id
        async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
            sockets = [await stack.enter_async_context(websocket(url)) for _ in range(12)]
            for follower in sockets:
                await follower.send(type="subscribe", scan_id=scan_id)
                assert [(await follower.receive())["type"] for _ in range(2)] == ["ack", "snapshot"]
            monkeypatch.setattr(ReadyMadeOutlet, "put", counted)
            tasks.start_soon(count)
            lots = [found("tsmom", *(f"{part}-{number}" for number in range(500))) for part in range(parts)]
            await core.store.append(scan_id, planned(tsmom=1), *lots, done("tsmom"))
            for follower in sockets:
                results = [one async for message in until_end(follower) for one in message.get("opportunities", [])]
                assert [one["id"] for one in results] == [one.id for lot in lots for one in lot.opportunities]
            tasks.cancel_scope.cancel()
    assert largest > 100_000
    assert max(puts.values()) <= 50 * BYTES_A_READER + 2 * largest + HIGH_WATER_BYTES


async def until_end(follower: Any) -> AsyncIterator[dict[str, Any]]:
    while True:
        message = await follower.receive()
        yield message
        if message["type"] == "end":
            return

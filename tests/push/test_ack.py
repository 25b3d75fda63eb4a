"""The order of one discover, seen from the transport: ack, placeholder, release; whatever the client does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
import pytest

from scanstream.core import Core, open_core
from scanstream.routes import application
from scanstream.settings import Settings
from support.wire import ONE_QUICK_SCAN

pytestmark = pytest.mark.anyio

Message = MutableMapping[str, Any]


class Client:
    """An ASGI client made by hand, that takes what the server sends as slowly or as badly as the test wants."""

    def __init__(self, core: Core, settings: Settings, take: Callable[[Message], Awaitable[None]]) -> None:
        self._app = application(settings, core)
        self._take = take
        self._said: asyncio.Queue[Message] = asyncio.Queue(10)

    async def websocket(self) -> None:
        """One connection, until the server or the test ends it."""
        scope = {
            "type": "websocket",
            "path": "/ws",
            "headers": [(b"host", b"127.0.0.1")],
            "query_string": b"",
            "subprotocols": ["scanstream.v1.json"],
            "extensions": {},
        }
        await self._app(scope, self._said.get, self._take)

    async def post(self, body: bytes) -> None:
        """One discover over HTTP."""
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/opportunities/discover",
            "headers": [(b"host", b"127.0.0.1")],
            "query_string": b"",
        }
        await self.says({"type": "http.request", "body": body, "more_body": False})
        await self._app(scope, self._said.get, self._take)

    async def says(self, event: Message) -> None:
        """An ASGI event from the client."""
        await self._said.put(event)

    async def discovers(self) -> None:
        """Connect, and a discover over the WebSocket."""
        await self.says({"type": "websocket.connect"})
        text = msgspec.json.encode({"type": "discover", "request": ONE_QUICK_SCAN}).decode()
        await self.says({"type": "websocket.receive", "text": text})


@asynccontextmanager
async def core() -> AsyncIterator[tuple[Core, Settings]]:
    settings = Settings(port=0, data=":memory:")
    async with open_core(settings) as running:
        yield running, settings


async def until_all_end(running: Core, count: int) -> None:
    """Wait until so many scans are known, and all of them have ended."""
    known = anyio.Event()
    ended: set[str] = set()

    def notice(log: Any) -> None:
        if log.ended:
            ended.add(log.scan_id)
        if len(ended) == count:
            known.set()

    with running.hub.watching_all(notice), anyio.fail_after(20):
        if running.hub.live() or not ended:
            await known.wait()


async def test_a_client_that_is_gone_before_the_ack_leaves_a_scan_that_runs() -> None:
    async def gone(message: Message) -> None:
        if message["type"] == "websocket.send":
            raise OSError("the other side is gone")

    async with core() as (running, settings), anyio.create_task_group() as tasks:
        client = Client(running, settings, gone)
        tasks.start_soon(until_all_end, running, 1)
        tasks.start_soon(client.websocket)
        await client.discovers()


async def test_an_http_client_that_is_gone_before_the_ack_leaves_a_scan_that_runs() -> None:
    async def gone(_: Message) -> None:
        raise OSError("the other side is gone")

    async with core() as (running, settings), anyio.create_task_group() as tasks:
        tasks.start_soon(until_all_end, running, 1)
        with pytest.raises(OSError, match="gone"):
            await Client(running, settings, gone).post(msgspec.json.encode(ONE_QUICK_SCAN))


async def test_a_client_that_does_not_take_the_ack_does_not_hold_up_its_scan() -> None:
    taken: list[Message] = []
    may_take = anyio.Event()

    async def slow(message: Message) -> None:
        if message["type"] == "websocket.send":
            await may_take.wait()
            taken.append(msgspec.json.decode(message["text"]))

    async with core() as (running, settings), anyio.create_task_group() as tasks:
        client = Client(running, settings, slow)
        tasks.start_soon(client.websocket)
        async with anyio.create_task_group() as ending:
            ending.start_soon(until_all_end, running, 1)
            await client.discovers()
        assert taken == []
        may_take.set()
        with anyio.fail_after(10):
            while not taken or taken[-1]["type"] != "end":
                await anyio.wait_all_tasks_blocked()
        await client.says({"type": "websocket.disconnect", "code": 1000})
    # What it was not there for is conflated, but the order stands: ack, the placeholder, the rest in one frame, end.
    assert [message["type"] for message in taken] == ["ack", "snapshot", "update", "end"]
    assert taken[1]["state"]["phase"] == "init"
    assert taken[2]["patch"]["status"] == "complete"
    assert taken[2]["skipped"] > 0


async def test_no_scan_starts_before_its_ack_is_with_the_transport() -> None:
    phases: list[str] = []

    async with core() as (running, settings), anyio.create_task_group() as tasks:

        async def take(message: Message) -> None:
            if message["type"] == "websocket.send":
                for log in running.hub.live():
                    phases.append(f"{msgspec.json.decode(message['text'])['type']} {log.folded.state.phase}")
                await anyio.wait_all_tasks_blocked()  # whoever could start it has had the time to

        client = Client(running, settings, take)
        tasks.start_soon(client.websocket)
        async with anyio.create_task_group() as ending:
            ending.start_soon(until_all_end, running, 1)
            await client.discovers()
        await client.says({"type": "websocket.disconnect", "code": 1000})
    assert phases[:2] == ["ack init", "snapshot init"]

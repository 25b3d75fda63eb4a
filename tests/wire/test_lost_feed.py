"""A node that has lost its feed says so, answers no read from what it knew, and keeps its sockets open."""

import secrets
from typing import Any

import anyio
import pytest

from scanstream.engines.nats import reader, tail
from scanstream.errors import StoreUnavailable
from scanstream.scans import recency
from scanstream.server import serving
from scanstream.settings import Settings
from support.nats import NatsServer
from support.wire import discover, request, status, websocket

pytestmark = pytest.mark.anyio

READY_SECONDS = 5.0


async def ready(url: str, expected: int) -> float:
    """How long it takes until `/readyz` says so."""
    begun = anyio.current_time()
    with anyio.fail_after(4 * READY_SECONDS):
        while (await request(url, "GET", "/readyz")).status != expected:  # noqa: ASYNC110  # as a balancer does
            await anyio.sleep(0.05)
    return anyio.current_time() - begun


async def test_a_node_without_its_feed_is_not_ready_and_tells_nothing_old(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recency, "PATIENCE_SECONDS", 0.5)
    readers: list[reader.Reader] = []
    made = reader.Reader.__init__

    def noted(self: reader.Reader, *arguments: Any) -> None:
        readers.append(self)
        made(self, *arguments)

    async def refused(*_: Any) -> None:
        raise StoreUnavailable("no consumer is given", retry_after=1)

    monkeypatch.setattr(reader.Reader, "__init__", noted)
    chosen: dict[str, Any] = {"port": 0, "data": ":memory:", "workers": 0}
    async with serving(Settings(engine=nats.url, namespace=f"t{secrets.token_hex(4)}", **chosen)) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        async with websocket(url) as socket:
            await socket.send(type="ping")
            assert (await socket.receive())["type"] == "pong"
            with monkeypatch.context() as broken:
                broken.setattr(tail.Reading, "_create", refused)
                assert readers[0]._reading is not None
                readers[0]._reading.lose("a test took it")
                assert await ready(url, 503) <= READY_SECONDS
                assert (await request(url, "GET", "/healthz")).status == 200
                answer = await status(url, scan_id)
                assert (answer.status, answer.json()["code"]) == (503, "store_unavailable")
                assert int(answer.headers["retry-after"]) >= 1
                await socket.send(type="subscribe", id="s", scan_id=scan_id)
                assert (await socket.receive())["code"] == "store_unavailable"
            assert await ready(url, 200) <= READY_SECONDS
            assert (await status(url, scan_id)).status == 200
            await socket.send(type="subscribe", scan_id=scan_id)
            assert (await socket.receive())["type"] == "ack"

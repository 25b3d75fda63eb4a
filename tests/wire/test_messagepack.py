"""MessagePack: the same messages, equal value for value, in binary frames."""

from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from conftest import Serve
from scanstream.client.mirror import Mirror
from support.wire import ONE_QUICK_SCAN, Socket, websocket

pytestmark = pytest.mark.anyio

MESSAGEPACK = Subprotocol("scanstream.v1.msgpack")


async def send(socket: Socket, **message: Any) -> None:
    """One binary message."""
    await socket.connection.send(msgspec.msgpack.encode(message))


async def receive(connection: ClientConnection) -> dict[str, Any]:
    """One binary message."""
    payload = await connection.recv()
    assert isinstance(payload, bytes)
    message: dict[str, Any] = msgspec.msgpack.decode(payload)
    return message


async def test_a_scan_in_messagepack_equals_the_same_in_json(serve: Serve) -> None:
    async with serve() as url, websocket(url, subprotocols=[MESSAGEPACK]) as binary, websocket(url) as text:
        assert binary.connection.subprotocol == MESSAGEPACK
        await send(binary, type="discover", id="1", request=ONE_QUICK_SCAN)
        ack, snapshot = await receive(binary.connection), await receive(binary.connection)
        assert (ack["type"], ack["id"], snapshot["type"]) == ("ack", "1", "snapshot")
        mirror = Mirror()
        mirror.apply(snapshot)
        while not mirror.ended:
            mirror.apply(await receive(binary.connection))
        await text.send(type="subscribe", scan_id=ack["scan_id"])
        await text.receive()
        same = await text.until_end(Mirror(), ack["scan_id"])
        assert (mirror.state, mirror.opportunities, mirror.cursor) == (same.state, same.opportunities, same.cursor)


async def test_the_first_subprotocol_that_the_server_knows_is_chosen(serve: Serve) -> None:
    async with serve(workers=0) as url:
        offers = [["chat", MESSAGEPACK], ["scanstream.v1.json", MESSAGEPACK]]
        for offered, chosen in zip(offers, [MESSAGEPACK, "scanstream.v1.json"], strict=True):
            async with websocket(url, subprotocols=offered) as socket:
                assert socket.connection.subprotocol == chosen
        async with websocket(url, subprotocols=None) as socket:
            assert socket.connection.subprotocol is None
            await socket.send(type="ping")
            assert await socket.receive() == {"type": "pong"}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"symbols": 5}, "symbols"),
        ({"colour": "red"}, "colour"),
        ({"capital_usd": float("nan")}, "capital_usd"),
        ({"capital_usd": float("inf")}, "capital_usd"),
        ({"min_profit_potential": float("nan")}, "min_profit_potential"),
        ({"parameters": {"tsmom": {"z_min": float("nan")}}}, "parameters.tsmom.z_min"),
        ({"parameters": {"tsmom": {"z_min": [{"a": float("inf")}]}}}, "parameters.tsmom.z_min[0].a"),
        ({"parameters": {"tsmom": {"z_min": {1: 2}}}}, "parameters.tsmom.z_min"),
        *((bare, "request") for bare in (32, 9, 10, 13, 0, -1, 2.5, None, True, "", " ", b" ", [], [1])),
        ({"parameters": {"tsmom": {"z_min": b"bytes"}}}, "parameters.tsmom.z_min"),
    ],
)
async def test_bad_requests_are_named_by_field(serve: Serve, request_: Any, field: str) -> None:
    async with serve(workers=0) as url, websocket(url, subprotocols=[MESSAGEPACK]) as socket:
        await send(socket, type="discover", id="x", request=request_)
        error = await receive(socket.connection)
        assert (error["type"], error["id"], error["code"]) == ("error", "x", "invalid_request")
        assert [item["field"] for item in error["errors"]] == [field]


async def test_what_is_no_messagepack_is_refused_and_text_closes(serve: Serve) -> None:
    async with serve(workers=0) as url, websocket(url, subprotocols=[MESSAGEPACK]) as socket:
        for payload in (b"\xc1", b"\x91" * 100_000, b"", b"\x81\xa4type"):
            await socket.connection.send(payload)
            assert (await receive(socket.connection))["code"] in ("invalid_json", "invalid_message")
        await socket.connection.send("text")
        with pytest.raises(ConnectionClosed) as closed:
            await socket.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1003

"""Raw HTTP and WebSocket against a server on a real socket, one new connection a call."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import anyio
import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from scanstream.client.mirror import Mirror
from support.plain import NO_TLS

ONE_QUICK_SCAN: dict[str, Any] = {
    "force_refresh": True,
    "symbols": ["BTC/USDT"],
    "strategy_ids": ["tsmom"],
    "parameters": {"tsmom": {"walk_forward": 0}},
}
"""One symbol without a walk-forward: its only shard is instantaneous."""


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as plain data."""
        return msgspec.json.decode(self.body)


async def request(
    url: str, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Answer:
    """One request on a connection of its own."""
    address = urlsplit(url)
    head = {"host": address.netloc, "connection": "close", **(headers or {})}
    if body is not None:
        head["content-length"] = str(len(body))
    lines = [f"{method} {address.path}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    assert address.hostname is not None
    assert address.port is not None
    options: dict[str, Any] = {"tls": True, "ssl_context": NO_TLS, "tls_standard_compatible": False}
    connecting = anyio.connect_tcp(address.hostname, address.port, **(options if address.scheme == "https" else {}))
    async with await connecting as stream:
        await stream.send("\r\n".join(lines).encode() + (body or b""))
        received = bytearray()
        async for chunk in stream:
            received += chunk
    first, _, payload = bytes(received).partition(b"\r\n\r\n")
    status, *fields = first.decode().split("\r\n")
    named = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return Answer(int(status.split()[1]), named, _dechunked(payload) if "transfer-encoding" in named else payload)


def _dechunked(payload: bytes) -> bytes:
    whole = bytearray()
    while payload:
        size, _, payload = payload.partition(b"\r\n")
        whole += payload[: int(size, 16)]
        payload = payload[int(size, 16) + 2 :]
    return bytes(whole)


async def discover(url: str, wanted: Any = ONE_QUICK_SCAN, headers: dict[str, str] | None = None) -> Answer:
    """POST a discover."""
    return await request(url, "POST", "/opportunities/discover", msgspec.json.encode(wanted), headers)


async def status(url: str, scan_id: str, headers: dict[str, str] | None = None) -> Answer:
    """GET a scan's status."""
    return await request(url, "GET", f"/opportunities/status/{scan_id}", headers=headers)


async def results(url: str, scan_id: str, headers: dict[str, str] | None = None) -> Answer:
    """GET a scan's results."""
    return await request(url, "GET", f"/opportunities/results/{scan_id}", headers=headers)


class Socket:
    """A WebSocket that speaks plain data."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, **message: Any) -> None:
        """Send one message."""
        await self.connection.send(msgspec.json.encode(message).decode())

    async def receive(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = msgspec.json.decode(await self.connection.recv())
        return message

    async def until_end(self, mirror: Mirror, scan_id: str) -> Mirror:
        """Take this scan's frames until its end."""
        while not mirror.ended:
            message = await self.receive()
            if message.get("scan_id") == scan_id:
                assert message["type"] != "error", message
                mirror.apply(message)
        return mirror


@asynccontextmanager
async def websocket(url: str, path: str = "/ws", **options: Any) -> AsyncIterator[Socket]:
    """A WebSocket to the server."""
    settings: dict[str, Any] = {
        "subprotocols": [Subprotocol("scanstream.v1.json")],
        "max_size": None,
        "compression": None,
        **({"ssl": NO_TLS} if url.startswith("https") else {}),
        **options,
    }
    async with connect("ws" + url.removeprefix("http") + path, **settings) as connection:
        yield Socket(connection)


def deaf(url: str) -> dict[str, Any]:
    """Options of a client whose own buffers hold next to nothing, and which sends no pings."""
    address = urlsplit(url)
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect((address.hostname, address.port))
    small.setblocking(False)
    return {"sock": small, "max_queue": 1, "ping_interval": None, "close_timeout": 0.2}


async def until_terminal(url: str, scan_id: str) -> dict[str, Any]:
    """Poll a scan until it is terminal, as a script would: with a pause between two requests."""
    while True:
        answer = await status(url, scan_id)
        assert answer.status == 200, answer
        state: dict[str, Any] = answer.json()
        if state["status"] != "scanning":
            return state
        await anyio.sleep(0.01)


async def metrics(url: str) -> str:
    """What they say, asked from an address of this machine from which nobody else comes."""
    transport = httpx.AsyncHTTPTransport(verify=NO_TLS, local_address="127.0.0.9")
    async with httpx.AsyncClient(transport=transport) as client:
        text: str = (await client.get(f"{url}/metrics")).text
    return text

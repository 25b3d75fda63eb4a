"""One WebSocket to a server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake
from websockets.typing import Subprotocol

SUBPROTOCOL = Subprotocol("scanstream.v1.json")
LARGEST_FRAME = 64 * 1024 * 1024
"""Bytes: a frame of 500 opportunities with rich metadata is larger than a library's usual limit."""


class Unreachable(Exception):
    """There is no scanstream server at this address."""


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["detail"])
        self.error = error


class Connection:
    """Messages as plain data, in both directions."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, message: dict[str, Any]) -> None:
        """Send one message."""
        await self._socket.send(msgspec.json.encode(message).decode())

    async def discover(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask for a scan; its ack.

        :raises Refused: if the server does not take it
        """
        await self.send({"type": "discover", "id": "discover", "request": request})
        answer = await self.receive()
        if answer["type"] == "error":
            raise Refused(answer)
        return answer

    async def receive(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = msgspec.json.decode(await self._socket.recv())
        return message

    async def frames(self) -> AsyncIterator[dict[str, Any]]:
        """Messages until the connection is closed."""
        async for text in self._socket:
            yield msgspec.json.decode(text)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection to the server at an `http://…` address.

    :raises Unreachable: if there is none
    """
    address = "ws" + url.removeprefix("http").rstrip("/") + "/ws"
    try:
        socket = await connect(address, subprotocols=[SUBPROTOCOL], max_size=LARGEST_FRAME, compression=None)
    except (OSError, InvalidHandshake) as error:
        raise Unreachable(f"There is no scanstream server at {url} ({error})") from error
    async with socket:
        yield Connection(socket)

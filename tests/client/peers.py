"""Servers made up for tests of the client: they say what a test tells them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol


class Peer:
    """The server's side of one connection."""

    def __init__(self, socket: ServerConnection, number: int) -> None:
        self.socket = socket
        self.number = number
        """How many connections there were before."""

    async def say(self, **message: Any) -> None:
        """Send one message."""
        await self.socket.send(msgspec.json.encode(message).decode())

    async def hear(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = msgspec.json.decode(await self.socket.recv())
        return message


@asynccontextmanager
async def peers(behave: Callable[[Peer], Awaitable[None]], port: int = 0) -> AsyncIterator[str]:
    """A server that behaves like this on each connection; its address."""
    connections = 0

    async def greet(socket: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        await behave(Peer(socket, connections - 1))

    async with serve(greet, "127.0.0.1", port, subprotocols=[Subprotocol("scanstream.v1.json")]) as server:
        yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"

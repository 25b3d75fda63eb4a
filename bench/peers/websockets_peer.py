"""`websockets` and its `broadcast`: one frame, framed for each connection, written without waiting."""

import asyncio
from contextlib import suppress

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from driving import listener, obey

subscribers: set[ServerConnection] = set()


async def follow(connection: ServerConnection) -> None:
    """Subscribe until the client leaves; what it says is sent back."""
    subscribers.add(connection)
    try:
        with suppress(ConnectionClosed):  # it left without a word
            async for message in connection:
                await connection.send(message)
    finally:
        subscribers.discard(connection)


async def tell(text: str) -> None:
    """Everybody."""
    broadcast(subscribers, text)
    await asyncio.sleep(0)


async def main() -> None:
    """Serve, and obey."""
    async with serve(follow, sock=listener(), compression=None, ping_interval=None):
        await obey(tell)


if __name__ == "__main__":
    uvloop.run(main())

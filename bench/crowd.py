"""Many clients in one process, as cheap as they can be: sockets that say one thing and throw away what comes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
AT_ONCE = 200
"""Connections that are made at once: the listener's queue has an end."""
PATIENCE_SECONDS = 60
LAST_BYTES = 2000
PING = b"\x89\x04"
"""How the server's pings begin: four bytes follow."""


class Member(asyncio.Protocol):
    """One client."""

    def __init__(self, first: bytes) -> None:
        self._first = first
        self.transport: asyncio.Transport
        self.taken = 0
        """Bytes."""
        self.last = b""
        """The end of it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say it."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._first)

    def data_received(self, data: bytes) -> None:
        """Count; a WebSocket's ping gets its pong."""
        self.taken += len(data)
        self.last = (self.last + data)[-LAST_BYTES:]
        if data[:2] == PING:
            self.transport.write(b"\x8a\x84" + bytes(4) + data[2:6])


def message(**said: Any) -> bytes:
    """A WebSocket's text frame of a client, masked with zeros (RFC 6455, section 5.2)."""
    data = json.dumps(said).encode()
    length = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0x80 | 126]) + len(data).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + data


def subscriber(scan_id: str, since: str | None = None) -> bytes:
    """What a client says that follows a scan."""
    return UPGRADE + message(type="subscribe", scan_id=scan_id, **({"since": since} if since else {}))


def get(path: str) -> bytes:
    """A request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


@asynccontextmanager
async def crowd(url: str, firsts: Iterable[bytes]) -> AsyncIterator[list[Member]]:
    """A client for each of these first words, all connected; gone with the block."""
    loop, address = asyncio.get_running_loop(), urlsplit(url)
    host, port = address.hostname or "", address.port or 0
    places = asyncio.Semaphore(AT_ONCE)

    async def come(first: bytes) -> Member:
        async with places:
            _, member = await loop.create_connection(lambda: Member(first), host, port)
            return member

    members = await asyncio.gather(*map(come, firsts))
    try:
        yield members
    finally:
        for member in members:
            member.transport.abort()


async def until(members: list[Member], holds: Callable[[Member], bool]) -> None:
    """Wait until that is so of each."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    for number, member in enumerate(members):
        while not holds(member):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{number:,} of {len(members):,} are so; the next one: {member.last!r}")
            await asyncio.sleep(0.02)

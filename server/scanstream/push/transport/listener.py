"""The listener, and the one sweep that looks at all of its connections."""

import asyncio
import logging
import socket
import time
from typing import Any

import anyio
import anyio.lowlevel

logger = logging.getLogger("scanstream")

SEND_BUFFER_BYTES = 64 * 1024
"""SO_SNDBUF: the kernel's buffer is the hidden queue; at 64 KiB a slow client catches up in a tenth of the time."""
RECEIVE_BUFFER_BYTES = 64 * 1024
"""SO_RCVBUF: what the kernel takes of a client that we do not read just now."""
SLICE_SECONDS = 0.001
"""How long the loop is held at a time: a sweep of ten thousand must not be felt."""
GLANCES = 64
"""Of those that rest so many are passed before it looks at the time."""


class Sight:
    """What the last sweep has seen."""

    __slots__ = ("behind", "longest")

    def __init__(self) -> None:
        self.behind = 0
        """Connections with bytes that the other side had not taken."""
        self.longest = 0.0
        """For how many seconds at most one of them had taken none."""


async def keep_watch(connections: set[Any], seconds: float, sight: Sight | None = None) -> None:
    """Look at every connection, again and again: one sweep for all, not a timer each.

    One that had nothing to take when it was looked at rests for some sweeps: most readers are idle most of the time.

    :param connections: uvicorn's set of them; each is a HttpTransport or a WebSocketTransport
    :param sight: is told what was seen
    """
    while True:
        await anyio.sleep(seconds)
        behind, longest = await _sweep(connections, asyncio.get_running_loop())
        if sight is not None:
            sight.behind, sight.longest = behind, longest


async def _sweep(connections: set[Any], loop: asyncio.AbstractEventLoop) -> tuple[int, float]:
    """In a call of its own: what it has looked at last is not kept until the next one.

    How many are behind with taking what was sent, and for how long at most one has taken nothing.
    """
    behind, longest = 0, 0.0
    now = loop.time()
    until = time.monotonic() + SLICE_SECONDS
    there = list(connections)
    while there:  # let go of one after the other: of thousands that have left meanwhile, all at once would be felt
        connection = there.pop()
        looked = connection.rests_until <= now and connection in connections
        if looked:
            idle = _look(connection, now)  # those that rest have taken all
            if idle is not None:
                behind += 1
                longest = max(longest, idle)
        if (looked or len(there) % GLANCES == 0) and time.monotonic() >= until:
            await anyio.lowlevel.checkpoint()
            now = loop.time()
            until = time.monotonic() + SLICE_SECONDS
    return behind, longest


def _look(connection: Any, now: float) -> float | None:
    """For how many seconds it has taken nothing of what was sent; None where it has taken all.

    A defect that one connection brings to light is its end, not that of the sweep and of the server.
    """
    try:
        connection.look(now)
        outflow = connection.outflow
        return None if outflow.clear else outflow.idle_seconds(now)
    except Exception:
        logger.exception("a defect in watching a connection; it is cut off")
        connection.transport.abort()
        return None


def listen(host: str, port: int) -> socket.socket:
    """A listening socket whose connections have small buffers.

    :raises OSError: if the address is in use or not ours
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048, reuse_port=False)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    return listener

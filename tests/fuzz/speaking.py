"""Speaking to a server over a socket of one's own, whatever is said, until it hangs up."""

import os
import select
import socket
import time
from pathlib import Path

from support.raw import connected

SECONDS = 20.0
"""The longest that a connection may stay after all was said."""
PATIENCE = 0.3
SOAK_SECONDS = 120
OPENED_LATER = 1
"""Files that are opened once, when first they are needed: the socket by which the kernel tells what a neighbour has
read (push/transport/neighbour.py)."""
MOST_GROWTH = 20 * 1024 * 1024


def told(url: str, said: bytes, seconds: float = SECONDS, patience: float = PATIENCE) -> bytes:
    """What a server says to this, which it may take as slowly as it likes, until it hangs up.

    Where it waits for more (half a frame, another request, or what it takes for one) it is left after a moment.
    """
    heard, end = bytearray(), time.monotonic() + seconds
    with connected(url) as connection:
        connection.setblocking(False)
        while time.monotonic() < end:
            readable, writable, _ = select.select([connection], [connection] if said else [], [], patience)
            try:
                if writable:
                    said = said[connection.send(said) :]
                elif not readable and not said:
                    connection.shutdown(socket.SHUT_WR)
                if readable:
                    if not (chunk := connection.recv(65536)):
                        return bytes(heard)
                    heard += chunk
            except OSError:  # it has hung up, with something of ours unread
                return bytes(heard)
    raise TimeoutError("the server did not hang up")


def descriptors() -> int:
    """Open files of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def seeds() -> int:
    """The first seed of a long run: another one each time, unless it is said."""
    return int(os.environ.get("SCANSTREAM_SEED", time.time_ns() // 1_000_000 * 1000))

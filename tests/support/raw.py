"""Sockets that say what no library would: floods, half requests, readers that never read."""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from support.plain import NO_TLS
from support.process import ServerProcess

HOST = b"Host: 127.0.0.1\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
"""A WebSocket's handshake, but for its last line."""
TEXT, BINARY, CONTINUATION, PING, PONG = 1, 2, 0, 9, 10


def get(path: str) -> bytes:
    """A request."""
    return f"GET {path} HTTP/1.1\r\n".encode() + HOST + b"\r\n"


def frame(opcode: int, data: bytes, *, last: bool = True) -> bytes:
    """A frame of a WebSocket's client, masked with zeros (RFC 6455, section 5.2)."""
    first = opcode | (0x80 if last else 0)
    length = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0x80 | 126]) + len(data).to_bytes(2, "big")
    return bytes([first]) + length + bytes(4) + data


@contextmanager
def connected(
    url: str, first: bytes = b"", *, receive_buffer: int | None = None, source: str = ""
) -> Iterator[socket.socket]:
    """A connection that has said this much.

    :param source: the address of this machine that it comes from, where that matters
    """
    address = urlsplit(url)
    with socket.socket() as plain:
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            plain.bind((source, 0))
        plain.settimeout(30)
        plain.connect((address.hostname, address.port))
        with NO_TLS.wrap_socket(plain) if address.scheme == "https" else plain as connection:
            connection.sendall(first)
            yield connection


def everything(connection: socket.socket) -> bytes:
    """All that comes until the other side has hung up."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionError:
        pass
    return received


def seconds_until_cut(connection: socket.socket, most: float) -> float | None:
    """How long, without reading a byte, until the other side has hung up; None if it does not."""
    begun = time.monotonic()
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return time.monotonic() - begun if poll.poll(most * 1000) else None


def resident(server: ServerProcess) -> int:
    """Bytes of memory that the server process holds."""
    return int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * 4096

"""What a reader on this machine has not read yet: of its socket the kernel tells us, too (sock_diag(7)).

Acknowledged bytes lie in the system of the reader until it reads them, and Linux acknowledges up to 136 KB at once for
one that has set nothing: a slow reader then looks like a stuck one for many seconds. On one machine, where proxies
mostly are, we can do better. Elsewhere, and where the system does not tell, the answer is that nothing is known.
"""

import contextlib
import socket
import struct
import sys
import weakref
from typing import Any

_ADDRESS_BYTES = 16
_ANY = 0xFFFFFFFF
"""Every state of a socket, and a socket whatever its cookie is (linux/sock_diag.h)."""
_BY_FAMILY = 20
"""`SOCK_DIAG_BY_FAMILY`; answers have the same type, an error has another (linux/netlink.h)."""
_NETLINK_SOCK_DIAG = 4
_REQUEST_FLAG = 1
_HEADER = struct.Struct("=IHHII")
"""`struct nlmsghdr`."""
_QUEUE_AT = _HEADER.size + 4 + 48 + 4
"""Where `idiag_rqueue` is in the answer: behind four bytes, the socket's identity and when its timer expires."""


class Neighbours:
    """Asks the kernel of one socket at a time: some 15 µs each."""

    def __init__(self) -> None:
        self._kernel: socket.socket | None = None

    def unread(self, family: int, reader: tuple[Any, ...], here: tuple[Any, ...]) -> int | None:
        """Bytes that wait in the reader's socket to be read; None if it is not on this machine.

        :param reader: its address, as `getpeername` gives it
        :param here: our own address of the connection
        """
        try:
            ends = [socket.inet_pton(family, address[0]).ljust(_ADDRESS_BYTES, b"\0") for address in (reader, here)]
            identity = struct.pack("!HH", reader[1], here[1]) + b"".join(ends) + struct.pack("=III", 0, _ANY, _ANY)
            question = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, _ANY) + identity
            header = _HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST_FLAG, 0, 0)
            return _queue(self._asked(header + question))
        except OSError:
            return None

    def _asked(self, message: bytes) -> bytes:
        """The kernel answers before the question is wholly sent."""
        if self._kernel is None:
            self._kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
            self._kernel.setblocking(False)
            weakref.finalize(self, self._kernel.close)
        with contextlib.suppress(BlockingIOError):
            while self._kernel.recv(4096):
                pass  # the answer to a question that was broken off
        self._kernel.send(message)
        return self._kernel.recv(4096)


def _queue(answer: bytes) -> int | None:
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _BY_FAMILY or len(answer) < _QUEUE_AT + 4:
        return None
    return int(struct.unpack_from("=I", answer, _QUEUE_AT)[0])


NEIGHBOURS = Neighbours() if sys.platform == "linux" else None

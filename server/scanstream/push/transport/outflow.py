"""What of one connection its reader has not taken yet, and since when it has taken nothing.

A reader is judged by the bytes that it takes, not by messages: one that takes any is alive, however slow it is. The
transport's buffer and the kernel's queue (`SIOCOUTQ`, tcp(7)) say what is outstanding, the kernel's count of
acknowledged bytes (`tcpi_bytes_acked`, linux/tcp.h) what was taken, and where the reader is on this machine, its own
queue (push/transport/neighbour.py). Where the system has none of them, the transport's buffer alone is looked at.
"""

import asyncio
import contextlib
import fcntl
import select
import socket
import struct
import sys
import termios
from collections.abc import Iterator
from typing import Any

from scanstream.push.transport.neighbour import NEIGHBOURS

LENIENCE_SECONDS = 1.0
"""Added to the stall: an acknowledgement is late where a reader takes little at a time."""
SLOW_BYTES_A_SECOND = 20_000
"""The system of a reader elsewhere may hold bytes that it has not come to. It gets the time to read them this fast …"""
MOST_HELD_BYTES = 136 * 1024
"""… up to so many, which is what Linux holds for a reader that has set nothing, …"""
MOST_EXTRA_SECONDS = 4.0
"""… where that takes no longer than this beyond the stall: a reader that is stuck looks the same until then."""

LATE_SECONDS = 0.25
"""How late the news of that may be."""

_LINUX = sys.platform == "linux"
_ACKED_AT = 120
"""Where `tcpi_bytes_acked` is in `struct tcp_info`: an unsigned number of 64 bits."""


class Outflow:
    """One connection's way out, looked at from time to time."""

    __slots__ = (
        "_descriptor",
        "_elsewhere",
        "_ends",
        "_family",
        "_queued",
        "_transport",
        "clear",
        "exact",
        "read_at",
        "taken",
        "taken_at",
    )

    def __init__(self, transport: asyncio.Transport, now: float) -> None:
        self._transport = transport
        connection: socket.socket | None = transport.get_extra_info("socket")
        self._descriptor = -1 if connection is None else connection.fileno()
        self._family = socket.AF_INET if connection is None else connection.family
        self._ends: tuple[Any, Any] | None = None
        """The reader's address and ours, once they are of interest."""
        self._elsewhere = NEIGHBOURS is None
        """It is known that nothing is to be known of the reader's own queue."""
        self.exact = False
        """Whether it is known what the reader itself has taken, and not only what its system has."""
        self._queued = 0
        self.clear = False
        """Whether the last look found nothing for the reader to take."""
        self.taken = 0
        """Bytes that the reader, or at least its system, has taken; only differences mean anything."""
        self.read_at = now
        """When that was seen to have grown."""
        self.taken_at = now
        """When the reader last took a byte, or had none to take."""

    def look(self, now: float) -> None:
        """See what has been taken since the last look."""
        buffered = self._transport.get_write_buffer_size()
        if not buffered and not self._in_kernel():
            self._queued, self.taken_at, self.clear = 0, now, True
            return
        moved = self.see(now) or self.clear  # what was written since the last look may be of this moment
        if moved or (not self.exact and self.taken == 0 and buffered < self._queued):
            self.taken_at = now
        self._queued, self.clear = buffered, False

    def see(self, now: float) -> bool:
        """Whether the reader has taken something since this was asked before."""
        taken = self.acknowledged()  # before its queue: what comes between the two may look unread, never read
        taken -= self._unread()
        if taken <= self.taken:
            return False
        self.taken, self.read_at = taken, now
        return True

    def idle_seconds(self, now: float) -> float:
        """For how long the reader has taken nothing of what is there."""
        return now - self.taken_at

    def patience(self, stall: float, *, flooding: bool = False) -> float:
        """How long the reader may take nothing: `stall`, and the time that it may need for what its system holds.

        :param flooding: it sends without end and reads nothing; nobody slow does that
        """
        if self.exact:
            return stall + LENIENCE_SECONDS
        held = min(self.taken, MOST_HELD_BYTES) / SLOW_BYTES_A_SECOND
        longest = stall if flooding or held > stall + MOST_EXTRA_SECONDS else max(stall, held)
        return longest + (LENIENCE_SECONDS if longest == stall else LATE_SECONDS)

    def empty(self) -> bool:
        """Whether the reader's side has everything that was written."""
        return not self._transport.get_write_buffer_size() and not self._in_kernel()

    def cut(self) -> None:
        """Hang up with a reset: else the kernel would keep what is queued for a reader that does not take it."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError), self._borrowed() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def other_side_left(self) -> bool:
        """Whether the other side has closed, although we do not read; False where the system does not tell."""
        if self._descriptor < 0 or not hasattr(select, "POLLRDHUP"):
            return False
        poll = select.poll()
        poll.register(self._descriptor, select.POLLRDHUP)
        return bool(poll.poll(0))

    def _unread(self) -> int:
        """Bytes that wait on this machine to be read; 0 where the reader is elsewhere."""
        if NEIGHBOURS is None or self._elsewhere:
            return 0
        if self._ends is None:
            self._ends = self._transport.get_extra_info("peername"), self._transport.get_extra_info("sockname")
            self._elsewhere = not all(self._ends)
            if self._elsewhere:
                return 0
        unread = NEIGHBOURS.unread(self._family, *self._ends)
        self.exact = unread is not None
        self._elsewhere = unread is None
        return unread or 0

    def _in_kernel(self) -> int:
        if not _LINUX or self._descriptor < 0:
            return 0
        try:
            answer = fcntl.ioctl(self._descriptor, termios.TIOCOUTQ, b"\0\0\0\0")  # the same number as SIOCOUTQ
        except OSError:
            return 0
        return int.from_bytes(answer, sys.byteorder)

    def acknowledged(self) -> int:
        """Bytes that the reader's side has acknowledged so far; 0 where the system does not tell."""
        if not _LINUX or self._descriptor < 0:
            return 0
        try:
            with self._borrowed() as connection:
                told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED_AT + 8)
        except OSError:
            return 0
        return int(struct.unpack_from("=Q", told, _ACKED_AT)[0]) if len(told) >= _ACKED_AT + 8 else 0

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[socket.socket]:
        """The connection as a socket; uvloop hands out none that takes options without a copy of the descriptor."""
        connection = socket.socket(self._family, socket.SOCK_STREAM, 0, fileno=self._descriptor)
        try:
            yield connection
        finally:
            connection.detach()

"""Other processes that answer at the same address: each would have scans that the others do not know.

Servers that start several worker processes (`uvicorn --workers`, gunicorn) have them share one listening socket. The
kernel's number of that socket is the same in all of them, and whoever has claimed it first is alone.
"""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from scanstream.errors import SettingError

DESCRIPTORS = Path("/dev/fd")
_claimed: set[int] = set()
"""By this process."""


@contextmanager
def alone() -> Iterator[None]:
    """In here no other process that shares one of our listening sockets may come in.

    A socket that a server opens later, or for itself, it does not share. Where there are no abstract addresses (beyond
    Linux) nothing is looked at.

    :raises SettingError: if another one is in already
    """
    with ExitStack() as claims:
        for number in set(_listeners()) - _claimed:
            claims.enter_context(_claim(number))
        yield


@contextmanager
def _claim(number: int) -> Iterator[None]:
    """
    :raises SettingError: if it is another process's
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as claim:
        try:
            claim.bind(f"\0scanstream-{os.getuid()}-{number}")  # free again when the process is gone, however it ends
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise SettingError(
                    "Another process answers at the same address, and has scans that this one would not know: your"
                    " server has several worker processes. Give it one (uvicorn --workers 1, WEB_CONCURRENCY=1), or let"
                    " `scanstream serve` be a server of its own that all of them ask (docs/embedding.md)"
                ) from None
        _claimed.add(number)
        try:
            yield
        finally:
            _claimed.discard(number)


def _listeners() -> Iterator[int]:
    """The kernel's numbers of the sockets here that take connections, or soon will."""
    with suppress(OSError):
        for descriptor in [int(entry.name) for entry in DESCRIPTORS.iterdir()]:
            with suppress(OSError):  # the one that the list was read from is closed by now
                status = os.fstat(descriptor)
                if stat.S_ISSOCK(status.st_mode) and _listens(descriptor):
                    yield status.st_ino


def _listens(descriptor: int) -> bool:
    """Whether it has an address here, and nobody at the other end."""
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        if copy.type != socket.SOCK_STREAM or copy.getsockname() in ("", b""):
            return False
        try:
            copy.getpeername()
        except OSError as error:
            return error.errno == errno.ENOTCONN
        return False

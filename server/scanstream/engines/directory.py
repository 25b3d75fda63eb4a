"""The data directory: one server at a time, and refusals that say what is wrong and what to do."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scanstream.errors import DataLocked, DataUnusable
from scanstream.shortage import where_else

LOCK = "lock"
_PROCESS = re.compile(rb"[0-9]{1,10}")


@contextmanager
def locked(data: Path | None) -> Iterator[None]:
    """The directory is made, and is this server's alone; None, for a store in memory, needs no lock.

    :raises DataLocked: if another server has it
    :raises DataUnusable: if it cannot be written
    """
    if data is None:
        yield
        return
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(data / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unwritable(data, error) from error
    try:
        _take(data, descriptor)
        yield
    finally:
        os.close(descriptor)


def _take(data: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except BlockingIOError as error:
        raise DataLocked(
            f"The data directory {data} belongs to a running server (process {_owner(descriptor)}); "
            "stop that one, or name another directory with --data"
        ) from error
    except OSError as error:
        raise _unwritable(data, error) from error


def _owner(descriptor: int) -> str:
    """The process id in the lock file, which may hold whatever somebody wrote there."""
    number = _PROCESS.fullmatch(os.pread(descriptor, 32, 0).strip())
    return number[0].decode() if number else "unknown"


def _unwritable(data: Path, error: OSError) -> DataUnusable:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return DataUnusable(f"{data}, or what it is in, is no directory; name another with --data")
    return DataUnusable(f"The data directory {data} cannot be written ({error.strerror}); {where_else(error)}")

"""Where panels are written: in the data directory, or for a server that keeps nothing in one that goes with it.

A server that was killed cannot remove its directory. So each holds a lock in it, which the kernel lets go of with the
process, and whoever makes the next one removes those that nobody holds any more.
"""

import fcntl
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scanstream.errors import SettingError

PREFIX = "scanstream-"
LOCK = "lock"

logger = logging.getLogger("scanstream")


@contextmanager
def panel_directory(data: Path | None) -> Iterator[Path]:
    """Where the panels of a server with this data directory go; None: to a temporary one, gone after the block.

    :raises SettingError: if there is no temporary directory that can be written
    """
    if data is not None:
        yield (data / "market").absolute()  # a plug-in may have its worker work somewhere else
        return
    with _temporary() as scratch:
        yield scratch / "market"


@contextmanager
def _temporary() -> Iterator[Path]:
    try:
        place = Path(tempfile.gettempdir())
        sweep(place)
        scratch = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        lock = os.open(scratch / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise SettingError(
            f"--data :memory: keeps its market data in a temporary directory, and there is none ({error.strerror}); "
            "point TMPDIR to a directory that can be written, or name a data directory with --data (SCANSTREAM_DATA)"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.pwrite(lock, str(os.getpid()).encode(), 0)  # before this it is nobody's, and nobody removes it
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(lock)


def sweep(place: Path) -> None:
    """Remove what killed servers of the same user have left here."""
    for left in place.glob(f"{PREFIX}*"):
        with suppress(OSError):
            _remove_unheld(left)


def _remove_unheld(left: Path) -> None:
    """Remove a directory with a lock that says whose it was and is held no more; links are followed nowhere.

    :raises OSError: if it is held, or not ours
    """
    found = left.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return
    lock = os.open(left / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_size:
            shutil.rmtree(left)
            logger.warning("removed %s, which a server that was killed had left", left)
    finally:
        os.close(lock)

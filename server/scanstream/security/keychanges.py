"""A key is made, or taken away: the key file changed as a whole, by one at a time."""

import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scanstream.errors import SettingError
from scanstream.model import Milliseconds, Principal
from scanstream.security.apikey import digest_of, new_key
from scanstream.security.caller import Right
from scanstream.security.keyfile import MOST_BYTES, Entry, parsed, with_key, without_key
from scanstream.security.watched import Watched

PATIENCE_SECONDS = 10.0
"""How long another command that changes the file is waited for: it takes some milliseconds."""
LOOK_SECONDS = 0.02
MODE = 0o600
KEPT_MODE = 0o640
"""Of a file that is there already its group may go on reading it: a server under another name does."""


class NameTaken(Exception):
    """Another key is called so."""


def keys_in(path: Path) -> tuple[Entry, ...]:
    """The keys of a file.

    :raises SettingError: if it cannot be read
    """
    with _naming(path):
        return Watched(path, MOST_BYTES, parsed).first()


def create_key(
    path: Path,
    *,
    name: str,
    principal: Principal,
    rights: frozenset[Right],
    created: Milliseconds,
    expires: Milliseconds | None,
) -> str:
    """A new key, which the file knows from now on. The file is made if it is not there.

    :raises NameTaken: if there is a key of this name
    :raises SettingError: if the file cannot be changed
    """
    key = new_key()
    entry = Entry(
        name=name,
        principal=principal,
        rights=rights,
        created=created // 1000 * 1000,  # as the file has it
        expires=None if expires is None else expires // 1000 * 1000,
        digest=digest_of(key),
    )

    def added(content: bytes) -> bytes:
        if content and any(one.name == name for one in parsed(content)):
            raise NameTaken(name)
        return with_key(content, entry)

    _change(path, added, make=True)
    return key


def revoke_key(path: Path, name: str) -> None:
    """Take a key away.

    :raises KeyError: if there is none of this name
    :raises SettingError: if the file cannot be changed
    """
    _change(path, lambda content: without_key(content, name), make=False)


def _change(path: Path, changed: Callable[[bytes], bytes], *, make: bool) -> None:
    with _naming(path):
        path = Path(os.path.realpath(path))  # in the place of a link would stand a file; one that leads to itself stays
        if make and not path.parent.is_dir():
            raise ValueError(f"there is no directory {path.parent}: make it, or mend the path")
        with _alone(path, make) as descriptor:
            before = os.fstat(descriptor)
            content = os.pread(descriptor, MOST_BYTES + 1, 0)
            if len(content) > MOST_BYTES:
                raise ValueError(f"it is longer than {MOST_BYTES} bytes")
            try:
                _put(path, _bounded(changed(content)), before)
            except BaseException:
                if not content:  # made here, and of no use to anybody
                    path.unlink(missing_ok=True)
                raise


def _bounded(content: bytes) -> bytes:
    if len(content) > MOST_BYTES:
        raise ValueError(f"it would be longer than {MOST_BYTES} bytes, and no server would read it: take old keys out")
    return content


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingError(f"--keys {path}: {error.strerror or error} (SCANSTREAM_KEYS)") from error
    except ValueError as error:
        raise SettingError(f"--keys {path}: {error} (SCANSTREAM_KEYS)") from error


@contextmanager
def _alone(path: Path, make: bool) -> Iterator[int]:
    """The file, open and locked. Who waits for the lock of a file that is replaced meanwhile takes that of the new one.

    :raises ValueError: if another command keeps it
    :raises OSError: if it cannot be opened for writing
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | (os.O_CREAT if make else 0), MODE)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("it is no file")
            if _locked(descriptor) and _is_there(path, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > until:
            raise ValueError("another command is changing it; try again")
        threading.Event().wait(LOOK_SECONDS)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _put(path: Path, content: bytes, before: os.stat_result) -> None:
    """In the place of the file, whole and durable, or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)  # of one who was killed here
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  # it is a descriptor
            file.write(content)
            file.flush()
            _as_it_was(descriptor, before)
            os.fsync(descriptor)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _as_it_was(descriptor: int, before: os.stat_result) -> None:
    """Of the same owner and group, so that a server goes on reading what root has changed; readable by no others."""
    ours = os.fstat(descriptor)
    if (ours.st_uid, ours.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.fchown(descriptor, before.st_uid, before.st_gid)
        except PermissionError:
            raise ValueError("it belongs to another user, whose server could no longer read it; act as that") from None
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & KEPT_MODE | MODE)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

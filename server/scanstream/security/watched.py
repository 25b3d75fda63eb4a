"""A file that is read again when it changes: keys, and what JWTs are verified by."""

import os
import stat
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

Content_co = TypeVar("Content_co", covariant=True)

ENTERED_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
READ_BY_OTHERS = stat.S_IROTH


class Stamp(NamedTuple):
    """What tells one state of a file from another. A file that another was put in place of has another inode."""

    device: int
    inode: int
    size: int
    written: int
    changed: int


class Watched(Generic[Content_co]):
    """One such file. Its methods wait for the disk: call them in a thread, one at a time."""

    def __init__(self, path: Path, most: int, parse: Callable[[bytes], Content_co]) -> None:
        """`most`: bytes that it may have; `parse` raises ValueError, without a word of what is secret."""
        self.path = path
        self._most = most
        self._parse = parse
        self._read: Stamp | None = None
        self._seen: Stamp | None = None
        self._wrong: tuple[Stamp, str] | None = None

    def first(self) -> Content_co:
        """What is in it.

        :raises ValueError: saying why it cannot be used
        """
        return self._content()

    def newer(self) -> Content_co | None:
        """What is in it, where that is something else than before; None: nothing new.

        One that was put in the place of another is whole. One that is written where it stands is read once it was left
        alone from one look to the next, as it may be cut off in the middle until then.

        :raises ValueError: saying why it cannot be used, as long as it cannot
        """
        try:
            now = _stamp(self.path.stat())
        except OSError as error:
            raise ValueError(_reason(error)) from None
        before, self._seen = self._seen, now
        if now == self._read:
            return None
        if self._wrong is not None and self._wrong[0] == now:
            raise ValueError(self._wrong[1])
        in_place = before is not None and before[:2] == now[:2]
        return None if in_place and before != now else self._content()

    def _content(self) -> Content_co:
        at, content = _bytes(self.path, self._most)
        try:
            parsed = self._parse(content.removeprefix(BOM_UTF8))  # which some editors put before a text
        except ValueError as error:
            self._wrong = at, str(error)
            raise
        self._read = self._seen = at
        return parsed

    def doubts(self, *, public: bool) -> str:
        """Who beside its owner may do what with it, where that is hardly meant, and what to do; empty: nobody.

        :param public: whether all may read what is in it
        """
        try:
            mode = self.path.stat().st_mode
        except OSError:
            return ""
        if mode & ENTERED_BY_OTHERS:
            told = "others than its owner may write it, and so let in whom they like"
            return f"{told}; end that with: chmod go-w {self.path}"
        if mode & READ_BY_OTHERS and not public:
            return f"everybody on this machine may read it; end that with: chmod o-r {self.path}"
        return ""


def _bytes(path: Path, most: int) -> tuple[Stamp, bytes]:
    """A file's bytes, and the state that they are of.

    :raises ValueError: if there are none to be had
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would be waited for
        try:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise ValueError("it is no file")
            content = b"".join(_pieces(descriptor, most + 1))
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ValueError(_reason(error)) from None
    if len(content) > most:
        raise ValueError(f"it is longer than {most} bytes")
    if _stamp(before) != _stamp(after) or len(content) != after.st_size:
        raise ValueError("it was written while it was read")
    return _stamp(after), content


def _pieces(descriptor: int, most: int) -> Iterator[bytes]:
    while most > 0 and (piece := os.read(descriptor, most)):
        most -= len(piece)
        yield piece


def _stamp(state: os.stat_result) -> Stamp:
    return Stamp(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__

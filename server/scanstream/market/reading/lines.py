"""The lines of a text file, whatever it is packed and encoded in."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from scanstream.errors import MarketError

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
"""How packed files begin, whatever they are called: browsers unpack, and people rename."""
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""How a file in UTF-16 begins; any other is UTF-8, with or without its own mark."""


class Lines:
    """Lines, and how many of them were taken."""

    def __init__(self, text: Iterator[str]) -> None:
        self._text = text
        self.number = 0

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        line = next(self._text)
        self.number += 1
        return line


@contextmanager
def opened(file: Path) -> Iterator[Lines]:
    """The lines of a file: plain, `.gz`, or the one file in a `.zip`; line ends of any system.

    :raises MarketError: on the way, too: naming the file, and the line that is no text
    """
    try:
        with _bytes(file) as stream:
            start = stream.read(2)
            stream.seek(0)
            text = io.TextIOWrapper(stream, encoding=_MARKS.get(start, "utf-8-sig"))
            yield Lines(text)
    except UnicodeDecodeError as error:
        raise MarketError(
            f"{file}, line {_undecodable(file)}: its bytes are no {error.encoding.upper()}; save the file as UTF-8"
        ) from error
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise MarketError(f"{file} is cut off or damaged: {error}") from error
    except OSError as error:
        raise MarketError(f"{file} cannot be read: {error.strerror or error}") from error


@contextmanager
def _bytes(file: Path) -> Iterator[IO[bytes]]:
    with file.open("rb") as stream:
        start = stream.read(len(_ZIP))
    if start.startswith(_GZIP):
        with gzip.open(file, "rb") as stream:
            yield stream  # type: ignore[misc]  # a GzipFile is used as one
    elif start == _ZIP or file.suffix.lower() == ".zip":
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
            if len(names) != 1:
                raise MarketError(f"{file} holds {len(names)} files, and must hold one: unpack it")
            if archive.getinfo(names[0]).flag_bits & 1:
                raise MarketError(f"{file} needs a password: unpack it")
            with archive.open(names[0]) as stream:
                yield stream
    else:
        with file.open("rb") as stream:
            yield stream


def _undecodable(file: Path) -> int:
    """The first line that is no text."""
    with _bytes(file) as stream:
        if stream.read(2) in _MARKS:
            return 1
        stream.seek(0)
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1

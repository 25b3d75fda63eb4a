"""The three standard streams as every command needs them, however the program was started.

A supervisor may start it with some of them closed: then the next file that is opened gets the number of a stream, and
what was meant for a terminal goes into a database, or a worker's pipe is lost. A terminal may know fewer letters than
we write.
"""

import codecs
import io
import os
import sys
from typing import TextIO

PLAIN = "scanstream.plain"
"""The error handler of text that the terminal cannot show: letters that look alike, else a question mark."""
LOOK_ALIKES = {"–": "-", "—": "-", "−": "-", "…": "~", "·": "-", "×": "x", "’": "'", "“": '"', "”": '"', "→": ">"}
"""One for one, so that tables stay in line."""


def attach() -> None:
    """Have all three streams, and let them write every text somehow."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or _text(0, "r")
    sys.stdout = sys.stdout or _text(1, "w")
    sys.stderr = sys.stderr or _text(2, "w")
    codecs.register_error(PLAIN, _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAIN)


def drop_output() -> None:
    """Nobody reads standard output any more: what is left of it goes nowhere, and is no error at the exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _text(number: int, mode: str) -> TextIO:
    return open(number, mode, encoding="utf-8", closefd=False)  # type: ignore[return-value]


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """See `codecs.register_error`. Bytes of an argument that were no text come out as they went in (PEP 383)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    if "\udc80" <= letter <= "\udcff":
        return bytes([ord(letter) - 0xDC00]), error.start + 1
    return LOOK_ALIKES.get(letter, "?"), error.start + 1

"""Cursors as section 2 of docs/protocol.md has them: `<epoch>-<seq>.<n>`. An own reader: it judges the library's."""

import re
from typing import NamedTuple

from scanstream.conformance.promise import Broken

_FORM = re.compile(r"(\S+)-(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)


class Place(NamedTuple):
    """Where a reader is."""

    epoch: str
    seq: int
    n: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}.{self.n}"


def read(cursor: object) -> Place | None:
    """A cursor, read; None if it is none."""
    match = _FORM.fullmatch(cursor) if isinstance(cursor, str) else None
    return Place(match[1], int(match[2]), int(match[3])) if match else None


def place(cursor: object) -> Place:
    """A cursor, read.

    :raises Broken: if it is none
    """
    told = read(cursor)
    if told is None:
        raise Broken("a cursor <epoch>-<seq>.<n>", cursor)
    return told

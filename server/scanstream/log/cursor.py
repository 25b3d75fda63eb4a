"""Cursors: where a reader is, in one opaque word.

`<epoch>-<seq>.<n>`: the state as of the scan's `seq`-th entry, and the first `n` opportunities of its list held.
"""

import hashlib
import re
from typing import NamedTuple

from scanstream.model import ScanId

_CURSOR = re.compile(r"([0-9a-z]{1,32})-(0|[1-9][0-9]{0,15})\.(0|[1-9][0-9]{0,15})")


class Position(NamedTuple):
    """A place in one scan's log. `START` holds nothing."""

    seq: int
    n: int


START = Position(0, 0)


class Cursor(NamedTuple):
    """A position, and the epoch of the log it is a place in."""

    epoch: str
    position: Position

    def __str__(self) -> str:
        return f"{self.epoch}-{self.position.seq}.{self.position.n}"

    def recounted(self, n: int) -> "Cursor":
        """The same place with another number of opportunities held."""
        return Cursor(self.epoch, Position(self.position.seq, n))


def epoch_of(store_identity: str, scan_id: ScanId) -> str:
    """What a cursor of this scan in this store begins with: one of another scan or of a lost store is foreign."""
    return hashlib.blake2s(f"{store_identity}\n{scan_id}".encode(), digest_size=4).hexdigest()


def parse(text: str) -> Cursor | None:
    """The cursor that a client sent back, or None if it is none of ours (then it is treated as foreign)."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        return None
    return Cursor(match[1], Position(int(match[2]), int(match[3])))

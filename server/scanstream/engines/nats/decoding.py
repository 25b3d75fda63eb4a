"""Entries as messages, and messages as entries.

The entries of one append are one message, a line each. What cannot be read is of two kinds: written by a later version
of the code (then another node knows what it means, and this one leaves the scan alone), or damaged (then the scan ends
there, on every node alike).
"""

import logging
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from scanstream.log.entry import AnyEntry, NewerError, ScanFailed, decode, newer, newer_words
from scanstream.model import ScanId
from scanstream.undecodable import UNDECODABLE

RETRY_AFTER = 2.0
MOST_SAID = 40
"""Characters of what nobody here has written."""
KNOWN = frozenset(kind.__struct_config__.tag for kind in AnyEntry.__args__)
"""The kinds of entries that this version knows, as they are written."""

logger = logging.getLogger("scanstream")


class Kind(Struct, frozen=True):
    """Of an entry, whatever else is in it."""

    type: str


_kind = msgspec.json.Decoder(Kind)


def packed(bodies: Sequence[bytes], most: int) -> list[bytes]:
    """The entries as few messages of at most `most` bytes; one that is larger is alone."""
    messages: list[list[bytes]] = []
    size = most
    for body in bodies:
        if size + 1 + len(body) > most:
            messages.append([])
            size = -1
        messages[-1].append(body)
        size += 1 + len(body)
    return [b"\n".join(message) for message in messages]


def entries_of(scan_id: ScanId, messages: Iterable[bytes]) -> list[AnyEntry]:
    """The entries of these messages; a damaged one ends the scan, and nothing is told of what comes after it.

    :raises NewerError: if a later version has written one of them
    """
    entries: list[AnyEntry] = []
    for message in messages:
        for line in message.split(b"\n"):
            entry = read(scan_id, line)
            entries.append(entry)
            if isinstance(entry, ScanFailed) and entry.code == "damaged":
                return entries
    return entries


def read(scan_id: ScanId, line: bytes) -> AnyEntry:
    """One entry; in place of a damaged one the end of its scan.

    :raises NewerError: if a later version has written it
    """
    try:
        entry = decode(line)
    except Exception as error:  # whatever these bytes are
        if kind := _unknown_kind(line):
            raise _newer(scan_id, newer_words(f"entry {kind!r}, which this one does not know")) from error
        logger.error("%s ends here: an entry is damaged: %s", scan_id, error)  # noqa: TRY400  # said whole
        detail = "An entry of this scan's record is damaged, so what came after it is lost; start a new scan"
        return ScanFailed(at=0, code="damaged", detail=detail)
    if words := newer(entry):
        raise _newer(scan_id, words)
    return entry


def _unknown_kind(line: bytes) -> str:
    """The kind of an entry, if it is one that this version does not know."""
    try:
        kind = _kind.decode(line).type
    except UNDECODABLE:
        return ""
    return "" if kind in KNOWN else kind[:MOST_SAID]


def _newer(scan_id: ScanId, words: str) -> NewerError:
    return NewerError(words, retry_after=RETRY_AFTER, scan_id=scan_id)

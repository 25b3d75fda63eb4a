"""Refusals, counted by code where they are told: by a door, in a frame, or by the parser below all doors.

One process has one count, as its parsers know no application.
"""

from collections import Counter

from scanstream.errors import TABLE, ScanstreamError

REFUSED: Counter[str] = Counter({code: 0 for code, row in TABLE.items() if row.fault != "operator"})
"""How often each error was told, from the start of the process on."""


def counted(error: ScanstreamError) -> None:
    """This is told to somebody now."""
    REFUSED[error.code] += 1


def hung_up(code: str) -> None:
    """Somebody is hung up on without a word, for what this code stands for."""
    REFUSED[code] += 1

"""Plain values: what JSON and MessagePack both say, and mean the same by.

MessagePack has more: numbers that are not finite, bytes, times, keys that are no strings. JSON has integers of any
length. What only one of the two can say is refused in both, so that what was taken from one door leaves by the other.
"""

import math
from collections.abc import Iterator

from scanstream.errors import FieldError

MOST_NESTING = 16
"""Levels of lists and objects in one value."""
_INTEGERS = range(-(2**63), 2**64)


def not_plain(value: object, field: str, levels: int = MOST_NESTING) -> FieldError | None:
    """The first thing in a decoded value that is not plain; None where all of it is."""
    reason = ""
    match value:
        case None | str() | bool():
            pass
        case int():
            reason = "" if value in _INTEGERS else "must be an integer of at most 64 bits"
        case float():
            reason = "" if math.isfinite(value) else "must be a finite number"
        case list() | dict() if levels == 0:
            reason = f"is nested deeper than {MOST_NESTING} levels"
        case dict() if not all(isinstance(key, str) for key in value):
            reason = "has a key that is no string"
        case list() | dict():
            found = (not_plain(item, where, levels - 1) for where, item in _inside(value, field))
            return next(filter(None, found), None)
        case _:
            reason = f"must be a value that JSON has, and not of the type `{type(value).__name__}`"
    return FieldError(field, reason) if reason else None


def _inside(value: list[object] | dict[str, object], field: str) -> Iterator[tuple[str, object]]:
    """The values in a value, each with the name of its place."""
    if isinstance(value, dict):
        return ((f"{field}.{key}", item) for key, item in value.items())
    return ((f"{field}[{index}]", item) for index, item in enumerate(value))

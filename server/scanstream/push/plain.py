"""Plain values: what JSON and MessagePack both say, and mean the same by.

MessagePack has more: numbers that are not finite, bytes, times, keys that are no strings. JSON has integers of any
length. What only one of the two can say is refused in both, so that what was taken from one door leaves by the other.
"""

import math
from collections.abc import Iterable
from itertools import chain
from types import NoneType

from scanstream.errors import FieldError

MOST_NESTING = 16
"""Levels of lists and objects in one value."""
_INTEGERS = range(-(2**63), 2**64)
_ALWAYS = {str, bool, NoneType}
_ALWAYS_ABOVE = {*_ALWAYS, list}


def not_plain(value: object, field: str) -> FieldError | None:
    """The first thing in a decoded value that is not plain; None where all of it is.

    Level after level, and where it is is put into words only once it was found: a value of 16 KiB may hold as many.
    """
    levels: list[list[object]] = [[value]]
    while levels[-1]:
        depth = len(levels) - 1
        always = _ALWAYS if depth == MOST_NESTING else _ALWAYS_ABOVE
        for place, item in enumerate(levels[-1]):
            kind = type(item)
            if kind in always or (kind is int and item in _INTEGERS):  # most are: not worth a call
                continue
            if reason := _reason(item, depth):
                return FieldError(field + _words(levels, place), reason)
        levels.append(list(chain.from_iterable(map(_inside, levels[-1]))))
    return None


def _reason(item: object, depth: int) -> str:
    """Why a value is not plain, whatever is inside; empty if it is."""
    match item:
        case int():
            return "" if item in _INTEGERS else "must be an integer of at most 64 bits"
        case float():
            return "" if math.isfinite(item) else "must be a finite number"
        case list() | dict() if depth == MOST_NESTING:
            return f"is nested deeper than {MOST_NESTING} levels"
        case dict():
            return "" if all(isinstance(key, str) for key in item) else "has a key that is no string"
        case list():
            return ""
        case _:
            return f"must be a value that JSON has, and not of the type `{type(item).__name__}`"


def _inside(item: object) -> Iterable[object]:
    if type(item) is list:
        return item
    return item.values() if type(item) is dict else ()


def _words(levels: list[list[object]], place: int) -> str:
    """The place of the last level in words: through which lists and objects it is reached."""
    words: list[str] = []
    for above in reversed(levels[:-1]):
        for number, holder in enumerate(above):
            if isinstance(holder, list | dict):
                if place < len(holder):
                    words.append(f".{list(holder)[place]}" if isinstance(holder, dict) else f"[{place}]")
                    place = number
                    break
                place -= len(holder)
    return "".join(reversed(words))

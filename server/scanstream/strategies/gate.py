"""The one gate for what comes from a plug-in: behind it everything is plain, bounded and valid, or refused in words.

Plain: exactly `str`, `int`, `float`, `bool`, `None`, `list` and `dict`, whatever subclass or NumPy scalar came.
Bounded: in length, size and depth. Valid: Unicode that can be encoded, numbers that are finite. A plug-in's objects may
do anything when they are looked at, so whoever calls this expects any exception, and takes it as the plug-in's.
"""

import math
import operator
from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta
from datetime import time as clock_time
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import numpy as np

MOST_TOLD = 4000
"""Bytes of an error or a note that are told; what stands around them still leaves it below 4 KB."""
CUT = " …"

MOST_BYTES, MOST_DEPTH = 16 * 1024, 16
"""Of a document, such as the metadata of one finding: its size as JSON, about, and how deep it may be nested."""
LEAST_INTEGER, MOST_INTEGER = -(2**63), 2**64 - 1
"""MessagePack has no others."""

SCALARS = (bytes, bytearray, datetime, date, clock_time, timedelta, Decimal, UUID, Enum)
"""What msgspec has a plain form for."""

Word = TypeVar("Word", bound=str)


class Refused(ValueError):
    """What came is not what was asked for; the text names it, and says what it must be."""


def words(value: object, what: str, *, most: int = MOST_TOLD) -> str:
    """Text that is told as far as it can be: cut where it is too long, mended where it is no Unicode.

    :raises Refused: if it is no text
    """
    if not isinstance(value, str):
        raise Refused(f"{what} must be text, and is {_kind(value)}")
    return told(value, most=most)


def text(value: object, what: str, *, most: int, least: int = 1) -> str:
    """Text of `least` to `most` characters that can be encoded.

    :raises Refused: if it is none
    """
    if not isinstance(value, str):
        raise Refused(f"{what} must be text, and is {_kind(value)}")
    plain = str.__str__(value)
    if not least <= len(plain) <= most:
        raise Refused(f"{what} must have {least:,} to {most:,} characters, and has {len(plain):,}")
    try:
        plain.encode()
    except UnicodeEncodeError as error:
        raise Refused(f"{what} is no valid Unicode: {told(plain, most=80)!r}") from error
    return plain


def whole(value: object, what: str, *, least: int, most: int) -> int:
    """A whole number from `least` to `most`, NumPy's among them. 2.0 is none, nor is True.

    :raises Refused: if it is none
    """
    if isinstance(value, bool | np.bool_) or not hasattr(type(value), "__index__"):
        raise Refused(f"{what} must be a whole number, and is {_kind(value)}")
    plain = int.__int__(operator.index(value))  # type: ignore[arg-type]  # it has __index__, which may give a subclass
    if not least <= plain <= most:
        raise Refused(f"{what} must be from {least:,} to {most:,}, and is {_figure(plain)}")
    return plain


def number(value: object, what: str, *, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number from `least` to `most`, as a float.

    :raises Refused: if it is none
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise Refused(f"{what} must be a number, and is {_kind(value)}")
    try:
        plain = float(value)
    except OverflowError:
        plain = math.inf
    if not math.isfinite(plain):
        raise Refused(f"{what} must be finite, and is {plain}")
    if not least <= plain <= most:
        raise Refused(f"{what} must be from {least:g} to {most:g}, and is {plain:g}")
    return plain


def one_of(value: object, what: str, words: Collection[Word]) -> Word:
    """One of these words.

    :raises Refused: if it is none of them
    """
    if isinstance(value, str):
        for word in words:
            if str.__eq__(word, value) is True:
                return word
    raise Refused(f"{what} must be one of {', '.join(words)}, and is {_kind(value)}")


def document(value: object, what: str, *, most_bytes: int = MOST_BYTES, most_depth: int = MOST_DEPTH) -> dict[str, Any]:
    """A mapping as JSON has it, so that it is the same in memory, in the log and for every codec.

    :raises Refused: naming the place at which it is too deep, too large, not finite, or nothing that can be sent
    """
    if not isinstance(value, Mapping):
        raise Refused(f"{what} must be a dict, and is {_kind(value)}")
    plain: dict[str, Any] = _Plainer(what, most_bytes, most_depth).plain(value, what, 0)
    return plain


class _Plainer:
    """One walk through a value, that ends as soon as too much was seen."""

    def __init__(self, what: str, most_bytes: int, most_depth: int) -> None:
        self._what = what
        self._most_bytes = most_bytes
        self._left = most_bytes
        self._most_depth = most_depth

    def plain(self, value: object, where: str, depth: int) -> Any:
        if depth > self._most_depth:
            raise Refused(f"{self._what} is nested deeper than {self._most_depth} levels")
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool):
            self._spend(5)
            return value
        if isinstance(value, int):
            self._spend(20)
            return whole(value, where, least=LEAST_INTEGER, most=MOST_INTEGER)
        if isinstance(value, float):
            self._spend(20)
            return number(value, where)
        if isinstance(value, str):
            return self._text(value, where)
        if isinstance(value, SCALARS):
            return self.plain(msgspec.to_builtins(value), where, depth + 1)
        return self._holder(value, where, depth)

    def _holder(self, value: object, where: str, depth: int) -> Any:
        self._spend(2)  # an empty one, too: lists of lists of nothing would be walked through for ever
        if isinstance(value, Mapping):
            return {
                self._key(key, where): self.plain(inner, f"{where}.{told(key, most=40)}", depth + 1)
                for key, inner in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self.plain(inner, where, depth + 1) for inner in value]
        raise Refused(f"{where} is {_kind(value)}, nothing that can be sent; give plain numbers, text, lists and dicts")

    def _key(self, key: object, where: str) -> str:
        if isinstance(key, np.generic):
            key = key.item()
        if isinstance(key, int) and not isinstance(key, bool):
            key = str(whole(key, f"a key in {where}", least=LEAST_INTEGER, most=MOST_INTEGER))
        return self._text(key, f"a key in {where}")

    def _text(self, value: object, where: str) -> str:
        plain = text(value, where, least=0, most=self._most_bytes)
        self._spend(len(plain.encode()) + 4)
        return plain

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise Refused(f"{self._what} has more than {self._most_bytes:,} bytes")


def told(words: object, *, most: int = MOST_TOLD) -> str:
    """Anybody's words as they can be sent: at most so many bytes, valid, whatever they are."""
    try:
        plain = str.__str__(words) if isinstance(words, str) else str.__str__(str(words))
    except BaseException:  # a plug-in's object may fail at that, in any way
        return "its text cannot be had"
    return clipped(plain, most)


def clipped(words: str, most: int) -> str:
    """Valid text of at most so many bytes; what was cut off is shown by an ellipsis."""
    encoded = words[: most + 1].encode(errors="replace")
    if len(encoded) <= most:
        return encoded.decode()
    return encoded[: most - len(CUT.encode())].decode(errors="ignore") + CUT


def reason(error: BaseException, *, most: int = MOST_TOLD) -> str:
    """What an exception says: its kind and its words."""
    kind = told(type(error).__name__, most=200)
    words = told(error, most=most)
    return clipped(f"{kind}: {words}" if words else kind, most)


def line(words: str) -> str:
    """The words in one line, for a terminal or a log."""
    return " ".join(words.split())


def _figure(value: int) -> str:
    """A whole number in words; one of megabytes would be refused by `str`, or be as long."""
    return f"{value:,}" if value.bit_length() <= 128 else f"one of {value.bit_length():,} bits"


def _kind(value: object) -> str:
    """What a value is, in a few words."""
    name = told(type(value).__name__, most=60)
    if isinstance(value, str | int | float | np.generic) and not isinstance(value, np.void):
        return f"{told(value, most=60)!r} ({name})" if isinstance(value, str) else f"{_short(value)} ({name})"
    return f"a {name}"


def _short(value: object) -> str:
    return _figure(value) if isinstance(value, int) and not isinstance(value, bool) else told(value, most=60)

"""Opportunities of a finished scan as the bytes they are stored as: a third of what they take as objects.

Decoded as they are read, some at a time; or handed out as they are, in the order of results, without being decoded.
"""

from array import array
from collections.abc import Iterator, Sequence
from typing import overload

import msgspec

from scanstream.model import Opportunity, confidence_order

TOGETHER = 100
"""Opportunities that are encoded, and decoded, together."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Opportunity])


class Packed(Sequence[Opportunity]):
    """A list of opportunities that grows no more."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._starts = array("I")
        """Where each begins within its part."""
        self._order = array("I")
        """Their indices, the most confident first; made when it is first wanted."""
        self._length = 0

    def pack(self, opportunities: Sequence[Opportunity]) -> None:
        """Take the next `TOGETHER`; only the last ones may be fewer."""
        encoded = [_encoder.encode(one) for one in opportunities]
        start = 1
        for one in encoded:
            self._starts.append(start)
            start += len(one) + 1
        self._parts.append(b"[%b]" % b",".join(encoded))
        self._length += len(opportunities)
        self._order = array("I")

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(map(len, self._parts)) + 2 * self._starts.itemsize * self._length

    def encoded(self, index: int) -> memoryview:
        """One of them as JSON."""
        part, place = divmod(index, TOGETHER)
        last = index + 1 == self._length or place + 1 == TOGETHER
        stop = len(self._parts[part]) if last else self._starts[index + 1]
        return memoryview(self._parts[part])[self._starts[index] : stop - 1]

    def by_confidence(self) -> Sequence[int]:
        """Their indices in the order of results."""
        if len(self._order) < self._length:
            keys = [confidence_order(one) for one in self]
            self._order = array("I", sorted(range(self._length), key=keys.__getitem__))
        return self._order

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Opportunity]:
        for part in self._parts:
            yield from _decoder.decode(part)

    @overload
    def __getitem__(self, index: int) -> Opportunity: ...
    @overload
    def __getitem__(self, index: slice) -> list[Opportunity]: ...
    def __getitem__(self, index: int | slice) -> Opportunity | list[Opportunity]:
        wanted = range(self._length)[index]
        if isinstance(wanted, int):
            return self._part(wanted // TOGETHER)[wanted % TOGETHER]
        if not wanted:
            return []
        first = min(wanted) // TOGETHER
        decoded = [one for part in range(first, max(wanted) // TOGETHER + 1) for one in self._part(part)]
        return [decoded[number - first * TOGETHER] for number in wanted]

    def _part(self, number: int) -> list[Opportunity]:
        opportunities: list[Opportunity] = _decoder.decode(self._parts[number])
        return opportunities

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

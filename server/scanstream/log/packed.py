"""Opportunities of a finished scan as the bytes they are stored as: a third of what they take as objects.

Decoded as they are read, some at a time.
"""

from collections.abc import Iterator, Sequence
from typing import overload

import msgspec

from scanstream.model import Opportunity

TOGETHER = 100
"""Opportunities that are encoded, and decoded, together."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Opportunity])


class Packed(Sequence[Opportunity]):
    """A list of opportunities that grows no more."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def pack(self, opportunities: Sequence[Opportunity]) -> None:
        """Take the next `TOGETHER`; only the last ones may be fewer."""
        encoded = _encoder.encode(opportunities)
        self._parts.append(memoryview(encoded).tobytes())  # msgspec leaves a third of its buffer behind the end
        self._length += len(opportunities)

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(map(len, self._parts))

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

"""Opportunities as the bytes they are stored as: a third of what they take as objects, and compressed a fifteenth.

A list that grows while the scan runs, and is closed when it has ended. Decoded as they are read, some at a time; or
handed out as they are, in the order of results, without being decoded.
"""

import zlib
from array import array
from bisect import insort
from collections.abc import Generator, Iterator, Sequence
from heapq import merge, nsmallest
from itertools import accumulate, takewhile
from typing import TypeAlias, overload

import msgspec
import numpy as np

from scanstream.model import Opportunity, confidence_order

TOGETHER = 100
"""Opportunities that are kept, and decoded, together."""
MOST_BEST = 10
"""The most confident of a scan that runs: so many are shown."""
MOST_IN_A_RUN = 1000
"""What has come is put in order in runs of so many, and the runs are merged when all is there: sorted anew each time, a
hundred thousand would stop the loop for longer and longer."""
MOST_INSERTED = 16
"""Of more that come at once the run is sorted, which is quick where most of it is in order."""
MOST_IN_A_PIECE = 1024 * 1024
"""Bytes of those that are read together: a frame of the largest would be ten times that."""
LARGEST_FEW = 32
"""So many take less, however large each is."""
BYTES_OF_A_RANK = 140
MOST_COMPRESSED = 16 * TOGETHER
"""A longer list is not compressed: its results, whose order is another, would be unpacked again for each piece."""
LEVEL = 1
"""Of zlib: 93 of 760 bytes each are 15 KB then, after 0.4 ms; level 6 makes 13 KB of them in three times that."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Opportunity])
_decoder_of_one = msgspec.json.Decoder(Opportunity)

Rank: TypeAlias = tuple[float, str, int]
"""What decides the place of one in the order of results, and its index."""


class Packed(Sequence[Opportunity]):
    """A list of opportunities."""

    __slots__ = ("_best", "_compressed", "_open", "_order", "_parts", "_runs", "_sizes")

    def __init__(self, opportunities: Sequence[Opportunity] = ()) -> None:
        self._parts: list[bytes] = []
        """Of `TOGETHER` each, but for the last of a closed list; the first `_compressed` of them are so."""
        self._compressed = 0
        self._open: list[bytes] = []
        """Those behind the parts, one by one."""
        self._sizes = array("I")
        """Bytes of each."""
        self._best: list[Rank] = []
        self._runs: list[list[Rank]] = []
        """Of all, in the order of results within each run …"""
        self._order: array[int] | None = None
        """… and, once somebody has wanted them all in this order, the indices alone."""
        self.extend(opportunities)

    def extend(self, opportunities: Sequence[Opportunity]) -> None:
        """Take some more; not once it is closed."""
        first = len(self)
        for one in opportunities:
            encoded = _encoder.encode(one)
            self._open.append(encoded)
            self._sizes.append(len(encoded))
            if len(self._open) == TOGETHER:
                self._close_part()
        ranked = [(*confidence_order(one), index) for index, one in enumerate(opportunities, start=first)]
        if not self._runs or len(self._runs[-1]) + len(ranked) > MOST_IN_A_RUN:
            self._runs.append([])
        run = self._runs[-1]
        if len(ranked) < MOST_INSERTED:
            for rank in ranked:
                insort(run, rank)
        else:
            run += ranked
            run.sort()
        self._best = nsmallest(MOST_BEST, self._best + ranked)
        self._order = None

    def _close_part(self) -> None:
        if self._open:
            self._parts.append(_joined(self._open))
            self._open = []

    def close(self) -> Iterator[None]:
        """Let nothing more come, and take less room; step by step, and whole after each step."""
        self._close_part()
        yield from self.ordering()
        self._best = []
        while self._runs:
            self._runs.pop()
            yield
        while len(self) <= MOST_COMPRESSED and self._compressed < len(self._parts):
            self._parts[self._compressed] = zlib.compress(self._parts[self._compressed], LEVEL)
            self._compressed += 1
            yield

    @property
    def size(self) -> int:
        """In bytes."""
        kept = sum(map(len, self._parts)) + sum(map(len, self._open))
        return kept + 2 * self._sizes.itemsize * len(self) + BYTES_OF_A_RANK * sum(map(len, self._runs))

    def best(self) -> list[Opportunity]:
        """The most confident, in the order of results."""
        order = self._order if self._order is not None else [index for *_, index in self._best]
        return [_decoder_of_one.decode(one) for one in self.encoded(order[:MOST_BEST])]

    def stop(self, start: int, stop: int) -> int:
        """Where a piece from `start` on has to end: at `stop`, or before, if it would be too large."""
        if stop - start > LARGEST_FEW and sum(self._sizes[start:stop]) > MOST_IN_A_PIECE:
            ends = accumulate(self._sizes[start:stop])
            return start + max(LARGEST_FEW, sum(1 for _ in takewhile(MOST_IN_A_PIECE.__ge__, ends)))
        return stop

    def sizes(self, indices: Sequence[int]) -> int:
        """Bytes of those together, as JSON."""
        return int(np.frombuffer(self._sizes, np.uintc)[np.asarray(indices, np.intp)].sum())

    def encoded(self, indices: Sequence[int]) -> list[memoryview]:
        """Those as JSON, in this order. Each part that they are in is unpacked once."""
        parts: dict[int, tuple[memoryview, list[int]]] = {}
        found: list[memoryview] = []
        for index in indices:
            number, place = divmod(index, TOGETHER)
            if number == len(self._parts):
                found.append(memoryview(self._open[place]))
                continue
            if number not in parts:
                sizes = self._sizes[number * TOGETHER : (number + 1) * TOGETHER]
                starts = accumulate((size + 1 for size in sizes), initial=1)
                parts[number] = memoryview(self._unpacked(number)), list(starts)
            part, starts_of = parts[number]
            found.append(part[starts_of[place] : starts_of[place + 1] - 1])
        return found

    def ordering(self) -> Generator[None, None, None]:
        """Put their indices into the order of results; step by step, and once for all who want it."""
        while self._order is None:
            order, there = array("I"), len(self)
            for place, (*_, index) in enumerate(merge(*self._runs), start=1):
                order.append(index)
                if place % TOGETHER == 0:
                    yield
            if there == len(self):
                self._order = order

    def by_confidence(self) -> Sequence[int]:
        """Their indices in the order of results; of many it takes long, unless `ordering` was before."""
        for _ in self.ordering():
            pass
        assert self._order is not None
        return self._order

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[Opportunity]:
        for number in range(-(-len(self) // TOGETHER)):
            yield from self._part(number)

    @overload
    def __getitem__(self, index: int) -> Opportunity: ...
    @overload
    def __getitem__(self, index: slice) -> list[Opportunity]: ...
    def __getitem__(self, index: int | slice) -> Opportunity | list[Opportunity]:
        wanted = range(len(self))[index]
        if isinstance(wanted, int):
            return _decoder_of_one.decode(self.encoded([wanted])[0])
        return [_decoder_of_one.decode(one) for one in self.encoded(wanted)]

    def _part(self, number: int) -> list[Opportunity]:
        return _decoder.decode(self._unpacked(number))

    def _unpacked(self, number: int) -> bytes:
        if number == len(self._parts):
            return _joined(self._open)
        part = self._parts[number]
        return zlib.decompress(part) if number < self._compressed else part

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list


class Piece(Sequence[Opportunity]):
    """Some of a list, one after the other; of use as long as the list is."""

    __slots__ = ("_indices", "_whole")

    def __init__(self, whole: Packed, start: int, stop: int) -> None:
        self._whole = whole
        self._indices = range(start, stop)

    def encoded(self) -> list[memoryview]:
        """Each as JSON, which nobody decodes for that."""
        return self._whole.encoded(self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Opportunity: ...
    @overload
    def __getitem__(self, index: slice) -> list[Opportunity]: ...
    def __getitem__(self, index: int | slice) -> Opportunity | list[Opportunity]:
        wanted = self._indices[index]
        return self._whole[wanted] if isinstance(wanted, int) else self._whole[wanted.start : wanted.stop : wanted.step]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list


NOTHING = Packed()
"""Of all scans that have not found anything yet."""
NO_PIECE = Piece(NOTHING, 0, 0)


def _joined(encoded: list[bytes]) -> bytes:
    return b"[%b]" % b",".join(encoded)

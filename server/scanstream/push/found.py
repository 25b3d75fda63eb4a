"""What a finished scan has found, in the order of results, as bytes that are put together while they are taken.

Nothing of it is held for a reader but its place: a scan may have found much, and its readers may be many and slow.
"""

from collections.abc import AsyncGenerator, Iterator

from scanstream.log.packed import TOGETHER, Packed


class Found:
    """A page of it. Of much that is found it is to be put in order before, step by step: see `Packed.ordering`."""

    def __init__(self, packed: Packed, offset: int, limit: int) -> None:
        self._packed = packed
        self._order = self._packed.by_confidence()
        self._wanted = range(offset, min(offset + limit, len(self._order)))

    @property
    def size(self) -> int:
        """Bytes of the page as a JSON list."""
        several = max(0, len(self._wanted) - 1)
        return 2 + several + self._packed.sizes(self._order[self._wanted.start : self._wanted.stop])

    async def document(self, before: bytes, after: bytes) -> AsyncGenerator[bytes, None]:
        """The page as a JSON list, with what stands around it."""
        lead = before + b"["
        for piece in self._pieces(b","):
            yield lead + piece
            lead = b","
        yield (b"]" if self._wanted else lead + b"]") + after

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """One opportunity a line, some at a time, so that the first ones leave at once."""
        for piece in self._pieces(b"\n"):
            yield piece + b"\n"

    def _pieces(self, joint: bytes) -> Iterator[bytes]:
        """Joined at once: each of them, as it is, would hold all that was unpacked for it while its reader is slow."""
        for start in range(0, len(self._wanted), TOGETHER):
            places = self._wanted[start : start + TOGETHER]
            yield joint.join(self._packed.encoded([self._order[place] for place in places]))

"""The ids of what a scan has found, however many.

A set that has grown is put up anew, and of a million that stops the loop for 20 ms. So these are many sets, of which
one at a time is put up anew.
"""

from collections.abc import Collection, Iterable, Iterator

TOGETHER = 2048
"""As long as there are no more than these they are one set: most scans find less, and to divide more takes long."""
SETS = 256
FREED_AT_ONCE = 2000
"""Of a hundred thousand it takes long to let go."""


class Ids(Collection[str]):
    """A set of ids."""

    __slots__ = ("_count", "_sets")

    def __init__(self) -> None:
        self._sets: list[set[str]] = [set()]
        self._count = 0

    def update(self, ids: Iterable[str]) -> None:
        """Take these, none of which is here."""
        for one in ids:
            self._sets[hash(one) % len(self._sets)].add(one)
            self._count += 1
        if self._count > TOGETHER and len(self._sets) == 1:
            together, self._sets = self._sets[0], [set() for _ in range(SETS)]
            for one in together:
                self._sets[hash(one) % SETS].add(one)

    def let_go(self) -> Iterator[None]:
        """Of all, step by step."""
        for some in self._sets:
            while some:
                for _ in range(min(len(some), FREED_AT_ONCE)):
                    some.pop()
                    self._count -= 1
                yield

    def __contains__(self, identity: object) -> bool:
        return identity in self._sets[hash(identity) % len(self._sets)]

    def __iter__(self) -> Iterator[str]:
        for some in self._sets:
            yield from some

    def __len__(self) -> int:
        return self._count

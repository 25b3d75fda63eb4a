"""The scans that wait to be let in, and the place of each: told at once, however many there are and whoever leaves."""

from bisect import bisect_left, insort
from collections import OrderedDict

from scanstream.model import ScanId


class Queue:
    """First come, first served. Each has a number; a place is the difference, less those between that have left."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[ScanId, int] = OrderedDict()
        self._next = 0
        self._left: list[int] = []
        """The numbers of those that left from the middle, in order; none before the first that waits."""

    def __contains__(self, scan_id: ScanId) -> bool:
        return scan_id in self._numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def join(self, scan_id: ScanId) -> None:
        """Wait, behind the others."""
        self._numbers[scan_id] = self._next
        self._next += 1

    def leave(self, scan_id: ScanId) -> None:
        """Wait no more, wherever in the queue; nothing happens to one that does not wait."""
        number = self._numbers.pop(scan_id, None)
        if number is not None:
            insort(self._left, number)
            self._close_up()

    def first(self) -> ScanId:
        """The one that has waited for longest.

        :raises StopIteration: if nobody waits
        """
        return next(iter(self._numbers))

    def rank(self, scan_id: ScanId) -> int | None:
        """1 for the scan that is let in next; None for one that does not wait."""
        number = self._numbers.get(scan_id)
        if number is None:
            return None
        return number - self._first() - bisect_left(self._left, number) + 1

    def _first(self) -> int:
        return next(iter(self._numbers.values()), self._next)

    def _close_up(self) -> None:
        """Forget those that left before the first."""
        del self._left[: bisect_left(self._left, self._first())]

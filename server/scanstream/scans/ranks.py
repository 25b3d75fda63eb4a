"""The place in the queue of each scan that waits, and how those that run share what there is.

Where this process lets them in itself, it knows their order. Where several nodes do, the logs alone tell it: who may
start and has no plan waits, but for the first of them, as many as there are free places: these are being planned. So it
is the same on every node that has read as far.
"""

from collections import Counter
from typing import Protocol

from scanstream.log.scanlog import ScanLog
from scanstream.model import Principal, ScanId
from scanstream.scans.queue import Queue


class Line(Protocol):
    """The scans that wait to be let in, as whoever lets them in has them."""

    def rank(self, scan_id: ScanId) -> int | None:
        """See `Ranks.rank`."""
        ...

    def waiting(self) -> int:
        """See `Ranks.waiting`."""
        ...

    def behind(self, principal: Principal) -> int:
        """See `Ranks.behind`."""
        ...


class Ranks:
    """The scans that wait, in the order in which they may start."""

    def __init__(self, places: int, line: Line | None = None) -> None:
        """:param places: how many scans run at once
        :param line: those of this process; None: the logs tell their order, which is that of their permissions
        """
        self._places = places
        self._line = line
        self._queue = Queue()
        self._running: dict[ScanId, Principal] = {}
        self._owners: Counter[Principal] = Counter()
        """Of those that run."""

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans."""
        scan_id, folded = log.scan_id, log.folded
        if log.over:
            self._stop(scan_id)
            self._queue.leave(scan_id)
        elif folded.tallies is not None:
            if scan_id not in self._running:
                self._running[scan_id] = folded.registered.principal
                self._owners[folded.registered.principal] += 1
            self._queue.leave(scan_id)
        elif self._line is None and folded.state.phase != "init" and scan_id not in self._queue:
            self._queue.join(scan_id)

    def _stop(self, scan_id: ScanId) -> None:
        owner = self._running.pop(scan_id, None)
        if owner is not None:
            self._owners[owner] -= 1
            if not self._owners[owner]:
                del self._owners[owner]

    def rank(self, scan_id: ScanId) -> int | None:
        """1 for the scan that is let in next; None for one that does not wait."""
        if self._line is not None:
            return self._line.rank(scan_id)
        place = self._queue.rank(scan_id)
        return place - self._free() if place is not None and place > self._free() else None

    def waiting(self) -> int:
        """How many scans wait."""
        return self._line.waiting() if self._line is not None else max(0, len(self._queue) - self._free())

    def behind(self, principal: Principal) -> int:
        """How many of them are let in after a scan of this principal that joins them now."""
        return self._line.behind(principal) if self._line is not None else 0

    def running(self) -> int:
        """How many have a plan, and have not ended."""
        return len(self._running)

    def sharing(self, principal: Principal) -> int:
        """Into how many equal parts goes what they share, where a scan of this principal has one of them.

        The principals have equal parts, and of one's part each of their scans.
        """
        return max(1, len(self._owners)) * max(1, self._owners[principal])

    def _free(self) -> int:
        return max(0, self._places - len(self._running))

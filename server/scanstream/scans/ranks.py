"""The place in the queue of each scan that waits, and how those that run share what there is."""

from collections import Counter
from typing import NamedTuple, Protocol

from scanstream.log.scanlog import ScanLog
from scanstream.model import Principal, ScanId


class Line(Protocol):
    """The scans that wait to be let in, as whoever lets them in has them."""

    def rank(self, scan_id: ScanId) -> int | None:
        """1 for the scan that is let in next; None for one that does not wait."""
        ...

    def waiting(self) -> int:
        """How many scans wait."""
        ...

    def behind(self, principal: Principal) -> int:
        """How many of them are let in after a scan of this principal that joins them now."""
        ...


class Share(NamedTuple):
    """What a scan has of that which those that run share."""

    principals: int
    """How many have scans that run."""
    own: int
    """How many its principal has."""
    most: int
    """How many whoever has the most of them has."""


class Ranks:
    """The scans that wait, as whoever lets them in tells it, and those that run, as the logs do."""

    def __init__(self, line: Line) -> None:
        self.rank = line.rank
        self.waiting = line.waiting
        self.behind = line.behind
        self._running: dict[ScanId, Principal] = {}
        self._owners: Counter[Principal] = Counter()
        """Of those that run."""
        self._sizes: Counter[int] = Counter()
        """How many principals have so many of them."""
        self._most = 0

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans."""
        scan_id, folded = log.scan_id, log.folded
        if log.over:
            self._stop(scan_id)
        elif folded.tallies is not None and scan_id not in self._running:
            owner = self._running[scan_id] = folded.registered.principal
            self._count(owner, +1)

    def _stop(self, scan_id: ScanId) -> None:
        owner = self._running.pop(scan_id, None)
        if owner is not None:
            self._count(owner, -1)

    def _count(self, owner: Principal, more: int) -> None:
        before, after = self._owners[owner], self._owners[owner] + more
        self._owners[owner] = after
        if not after:
            del self._owners[owner]
        self._sizes[before] -= 1
        self._sizes[after] += 1
        self._most = max(self._most, after)
        if not self._sizes[self._most]:  # whoever had the most has one less
            self._most -= 1

    def running(self) -> int:
        """How many have a plan, and have not ended."""
        return len(self._running)

    def sharing(self, principal: Principal) -> Share:
        """With whom a scan of this principal shares: principals have equal parts, and of one's part each scan of it."""
        return Share(max(1, len(self._owners)), max(1, self._owners[principal]), max(1, self._most))

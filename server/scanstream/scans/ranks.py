"""The place in the queue of each scan that waits, and how those that run share what there is."""

from collections import Counter
from typing import Protocol

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


class Ranks:
    """The scans that wait, as whoever lets them in tells it, and those that run, as the logs do."""

    def __init__(self, line: Line) -> None:
        self.rank = line.rank
        self.waiting = line.waiting
        self.behind = line.behind
        self._running: dict[ScanId, Principal] = {}
        self._owners: Counter[Principal] = Counter()
        """Of those that run."""

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans."""
        scan_id, folded = log.scan_id, log.folded
        if log.over:
            self._stop(scan_id)
        elif folded.tallies is not None and scan_id not in self._running:
            self._running[scan_id] = folded.registered.principal
            self._owners[folded.registered.principal] += 1

    def _stop(self, scan_id: ScanId) -> None:
        owner = self._running.pop(scan_id, None)
        if owner is not None:
            self._owners[owner] -= 1
            if not self._owners[owner]:
                del self._owners[owner]

    def running(self) -> int:
        """How many have a plan, and have not ended."""
        return len(self._running)

    def sharing(self, principal: Principal) -> int:
        """Into how many equal parts goes what they share, where a scan of this principal has one of them.

        The principals have equal parts, and of one's part each of their scans.
        """
        return max(1, len(self._owners)) * max(1, self._owners[principal])

"""The place in the queue of each scan that waits.

Told by the logs alone: who may start and has no plan waits, but for the first of them, as many as there are free
places: these are being planned. So it is the same on every node that has read as far.
"""

from scanstream.log.scanlog import ScanLog
from scanstream.model import ScanId
from scanstream.scans.queue import Queue


class Ranks:
    """The scans that wait, in the order in which they may start."""

    def __init__(self, places: int) -> None:
        """`places`: how many scans run at once."""
        self._places = places
        self._queue = Queue()
        self._running: set[ScanId] = set()

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans."""
        scan_id, folded = log.scan_id, log.folded
        if log.over:
            self._running.discard(scan_id)
            self._queue.leave(scan_id)
        elif folded.tallies is not None:
            self._running.add(scan_id)
            self._queue.leave(scan_id)
        elif folded.state.phase != "init" and scan_id not in self._queue:
            self._queue.join(scan_id)

    def rank(self, scan_id: ScanId) -> int | None:
        """1 for the scan that is let in next; None for one that does not wait."""
        place = self._queue.rank(scan_id)
        return place - self._free() if place is not None and place > self._free() else None

    def waiting(self) -> int:
        """How many scans wait."""
        return max(0, len(self._queue) - self._free())

    def running(self) -> int:
        """How many have a plan, and have not ended."""
        return len(self._running)

    def _free(self) -> int:
        return max(0, self._places - len(self._running))

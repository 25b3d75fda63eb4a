"""Whose the unfinished scans are, how many of them each principal has, and which may not start yet."""

from collections import Counter
from collections.abc import Iterator

from scanstream.log.scanlog import ScanLog
from scanstream.model import ANYONE, Principal, ScanId


class Owners:
    """Told by the logs: on several nodes all of them count alike."""

    def __init__(self) -> None:
        self._of: dict[ScanId, Principal] = {}
        self._unfinished: Counter[Principal] = Counter()
        self._unreleased: dict[ScanId, None] = {}
        """In the order of their registration."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self._of)

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans."""
        if log.over:
            principal = self._of.pop(log.scan_id, None)
            self._unreleased.pop(log.scan_id, None)
            if principal is not None:
                self._unfinished[principal] -= 1
                if not self._unfinished[principal]:
                    del self._unfinished[principal]
        elif log.scan_id not in self._of:
            principal = self._of[log.scan_id] = log.folded.registered.principal
            self._unfinished[principal] += 1
            if log.folded.state.phase == "init":
                self._unreleased[log.scan_id] = None
        elif log.folded.state.phase != "init":
            self._unreleased.pop(log.scan_id, None)

    def of(self, scan_id: ScanId) -> Principal:
        """Whose it is; of one that has ended nobody asks."""
        return self._of.get(scan_id, ANYONE)

    def unfinished(self, principal: Principal) -> int:
        """How many of theirs have not ended."""
        return self._unfinished[principal]

    def unreleased(self) -> Iterator[tuple[ScanId, Principal]]:
        """Those that are registered and may not start yet, and whose they are; in the order of registration."""
        return ((scan_id, self._of[scan_id]) for scan_id in self._unreleased)

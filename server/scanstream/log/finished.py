"""Logs of finished scans in memory, as long as it lasts.

Bounded in bytes. The least recently asked for goes first, and never one that is being asked for: somebody follows it,
or asked a moment ago. Those do not count against the others: one large scan that many poll leaves the others where they
are. One that alone would take a good part of the room is kept only as long as it is asked for.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush

from scanstream.log.scanlog import ScanLog
from scanstream.model import Milliseconds, ScanId

FINISHED_BYTES = 64 * 1024 * 1024
"""Of finished scans that nobody asks for just now: some thousand usual ones."""
ASKED_BYTES = 4 * FINISHED_BYTES
"""Of all finished scans but those that are followed: beyond this also one goes that was asked for a moment ago."""
LARGE = FINISHED_BYTES // 4
"""One above this goes first."""
ASKED_SECONDS = 10.0
"""So long after a question a scan counts as being asked for: pollers come each second, patient ones each five."""
MOST_LEFT_OVER = 1000
"""Of scans that were let go of before their time, beside as many as are held twice: what is remembered of when."""
ROOM = 16
"""Where something has to go, a part of the bytes (one in so many) is freed beyond it: not again at the next scan."""


class Held:
    """One log, what it weighs, and when it was asked for last."""

    def __init__(self, log: ScanLog, asked: float) -> None:
        self.log = log
        self.asked = asked
        self.weight = log.weight


class FinishedScans:
    """The finished scans that this node holds."""

    def __init__(self, followed: Callable[[ScanId], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._followed = followed
        self._clock = clock
        self._held: OrderedDict[ScanId, Held] = OrderedDict()
        self._spared = 0
        """Bytes of those that the last look found to be asked for."""
        self.weight = 0
        self._expiries: list[tuple[Milliseconds, ScanId]] = []
        """A heap: of each that is held, and of some that were, when its time is over."""

    def __contains__(self, scan_id: ScanId) -> bool:
        return scan_id in self._held

    def __iter__(self) -> Iterator[ScanLog]:
        return iter([held.log for held in self._held.values()])

    def __len__(self) -> int:
        return len(self._held)

    def get(self, scan_id: ScanId) -> ScanLog | None:
        """The log if it is held."""
        held = self._held.get(scan_id)
        return held.log if held else None

    def ask(self, scan_id: ScanId) -> None:
        """Somebody asks for this scan."""
        if held := self._held.get(scan_id):
            held.asked = self._clock()
            self._held.move_to_end(scan_id)

    def keep(self, log: ScanLog, *, asked: bool = False) -> None:
        """Hold the log, or weigh it anew, and let go of others if need be."""
        before = self._held.pop(log.scan_id, None)
        at = self._clock() if asked else before.asked if before else float("-inf")
        held = self._held[log.scan_id] = Held(log, at)
        self.weight += held.weight - (before.weight if before else 0)
        if before is None and (expires_at := log.folded.expires_at) is not None:
            self._expect(expires_at, log.scan_id)
        self._make_room()

    def _expect(self, expires_at: Milliseconds, scan_id: ScanId) -> None:
        if len(self._expiries) > 2 * len(self._held) + MOST_LEFT_OVER:  # most of them were let go of since
            ends = ((held.log.folded.expires_at, scan_id) for scan_id, held in self._held.items())
            self._expiries = [(at, scan_id) for at, scan_id in ends if at is not None]
            heapify(self._expiries)
        else:
            heappush(self._expiries, (expires_at, scan_id))

    def due(self, at: Milliseconds) -> Iterator[ScanLog]:
        """Those whose time is over by then, each once; others may come and go meanwhile."""
        while self._expiries and self._expiries[0][0] <= at:
            _, scan_id = heappop(self._expiries)
            if held := self._held.get(scan_id):
                yield held.log

    def pop(self, scan_id: ScanId) -> ScanLog | None:
        """Let go of a log."""
        held = self._held.pop(scan_id, None)
        if held is None:
            return None
        self.weight -= held.weight
        return held.log

    def look(self) -> None:
        """See anew who is being asked for."""
        self._spared = 0
        self._make_room()

    def _make_room(self) -> None:
        if self.weight - self._spared > FINISHED_BYTES:
            self._shed()
        if self.weight > ASKED_BYTES:
            loose = {scan_id: held.weight for scan_id, held in self._held.items() if not self._followed(scan_id)}
            followed = self.weight - sum(loose.values())
            self._let_go(list(loose)[:-1], followed + ASKED_BYTES)

    def _shed(self) -> None:
        since = self._clock() - ASKED_SECONDS
        self._spared = 0
        large: list[ScanId] = []
        others: list[ScanId] = []
        newest = next(reversed(self._held))
        for scan_id, held in self._held.items():
            if held.asked >= since or self._followed(scan_id):
                self._spared += held.weight
            elif scan_id != newest:  # whoever kept it is about to ask
                (large if held.weight > LARGE else others).append(scan_id)
        if self.weight - self._spared > FINISHED_BYTES:
            self._let_go(large + others, self._spared + FINISHED_BYTES - FINISHED_BYTES // ROOM)

    def _let_go(self, scan_ids: list[ScanId], most: int) -> None:
        """Of these, in this order, until all together weigh no more than that."""
        for scan_id in scan_ids:
            if self.weight <= most:
                return
            self.pop(scan_id)

"""Scans are let in, in one process: at most so many at once, the principals in turn, and each one's as they came."""

from collections import deque
from collections.abc import AsyncIterator

import anyio

from scanstream.log.scanlog import ScanLog
from scanstream.model import Principal, ScanId
from scanstream.scans.rota import Rota


class LocalCall:
    """A scan of this process that was let in."""

    def __init__(self, calls: "LocalCalls", scan_id: ScanId, places: int) -> None:
        """`places`: how many it holds."""
        self._calls = calls
        self.scan_id = scan_id
        self.places = places

    async def deaths(self) -> int:
        """See `Call.deaths`: this process lives."""
        return 0

    async def waits(self) -> float:
        """See `Call.waits`: it was never given back."""
        return 0.0

    async def done(self) -> None:
        """See `Call.done`."""
        self._calls.leave(self)

    async def give_back(self, after: float = 0.0) -> None:
        """See `Call.give_back`: nobody else is there, and the next server reads the log."""
        self._calls.leave(self)


class LocalCalls:
    """The calls port in one process."""

    def __init__(self, places: int) -> None:
        """`places`: how many scans run at once."""
        self._free = places
        self._waiting = Rota()
        self._cancelled: deque[ScanId] = deque()
        """Those that had a plan before a restart and were cancelled since: they need no place to end."""
        self._granted: set[ScanId] = set()
        self._changed = anyio.Event()

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans, from the first entry on."""
        scan_id, phase = log.scan_id, log.folded.state.phase
        if scan_id in self._granted or scan_id in self._cancelled:
            return
        if log.ended or phase == "cancelling":
            self._waiting.leave(scan_id)
            if not log.ended:
                self._cancelled.append(scan_id)
                self._changed.set()
        elif phase != "init" and scan_id not in self._waiting:
            planned = log.folded.tallies is not None  # before a restart: what had begun goes on first
            self._waiting.join(scan_id, log.folded.registered.principal, first=planned)
            self._changed.set()

    def rank(self, scan_id: ScanId) -> int | None:
        """See `Line.rank`: those for whom there are places are just being let in."""
        place = self._waiting.rank(scan_id)
        return place - self._free if place is not None and place > self._free else None

    def waiting(self) -> int:
        """See `Line.waiting`."""
        return max(0, len(self._waiting) - self._free)

    def behind(self, principal: Principal) -> int:
        """See `Line.behind`."""
        return self._waiting.behind(principal)

    async def granted(self) -> AsyncIterator[LocalCall]:
        """See `Calls.granted`."""
        while True:
            while (call := self._next()) is None:
                self._changed = anyio.Event()
                await self._changed.wait()
            self._granted.add(call.scan_id)
            yield call

    def _next(self) -> LocalCall | None:
        if self._cancelled:
            return LocalCall(self, self._cancelled.popleft(), places=0)
        scan_id = self._waiting.let_in() if self._free else None
        if scan_id is None:
            return None
        self._free -= 1
        return LocalCall(self, scan_id, places=1)

    def leave(self, call: LocalCall) -> None:
        """Its place is free."""
        self._granted.discard(call.scan_id)
        self._free += call.places
        self._changed.set()

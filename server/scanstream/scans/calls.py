"""Scans are let in, in one process: first come, first served, and at most so many at once."""

from collections import OrderedDict, deque
from collections.abc import AsyncIterator

import anyio

from scanstream.log.scanlog import ScanLog
from scanstream.model import ScanId


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
        self._waiting: OrderedDict[ScanId, None] = OrderedDict()
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
            self._waiting.pop(scan_id, None)
            if not log.ended:
                self._cancelled.append(scan_id)
                self._changed.set()
        elif phase != "init" and scan_id not in self._waiting:
            self._waiting[scan_id] = None
            self._changed.set()

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
        if not self._free or not self._waiting:
            return None
        self._free -= 1
        return LocalCall(self, self._waiting.popitem(last=False)[0], places=1)

    def leave(self, call: LocalCall) -> None:
        """Its place is free."""
        self._granted.discard(call.scan_id)
        self._free += call.places
        self._changed.set()

"""Scans whose ack is out are queued: one task writes it down, once for each."""

from collections.abc import Callable
from itertools import islice

import anyio

from scanstream.log.entry import Queued
from scanstream.log.hub import Hub
from scanstream.log.refold import Slices
from scanstream.log.scanlog import ScanLog
from scanstream.model import ScanId, now
from scanstream.scans.appending import Appender

MOST_AT_ONCE = 256
"""Entries that are written together, and wait together while the disk is full."""


class Releases:
    """Scans that may start, and are not told so yet."""

    def __init__(
        self, hub: Hub, appender: Appender, entry: Callable[[ScanLog], Queued] = lambda _: Queued(at=now())
    ) -> None:
        """`entry`: what is written; where several nodes let scans in, whether the scan has its turn yet."""
        self._hub = hub
        self._appender = appender
        self._entry = entry
        self._released: dict[ScanId, None] = {}
        """Until it is written down; bounded by how many scans may be under way."""
        self._arrived = anyio.Event()

    def release(self, scan_id: ScanId) -> None:
        """Let the scan start. More than once is once, however long it takes to be written."""
        if scan_id not in self._released:
            self._released[scan_id] = None
            self._arrived.set()

    async def run(self) -> None:
        """Have every released scan queued."""
        while True:
            while batch := list(islice(self._released, MOST_AT_ONCE)):
                slices = Slices()
                async with anyio.create_task_group() as appending:
                    for scan_id in batch:
                        appending.start_soon(self._queue, scan_id)
                        await slices.turn()
            self._arrived = anyio.Event()
            await self._arrived.wait()

    async def _queue(self, scan_id: ScanId) -> None:
        log = self._hub.get(scan_id)
        if log is not None and log.folded.state.phase == "init":
            await self._appender.append(scan_id, self._entry(log))
        del self._released[scan_id]

"""What a scan's log says now: a node of several may be behind, and catches up before it acts on it."""

from scanstream.errors import StoreUnavailable
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import ScanId
from scanstream.scans.shortages import STORE, Pause, Shortages


class View:
    """The logs as those see them who work on scans."""

    def __init__(self, store: Store, hub: Hub, shortages: Shortages) -> None:
        self.shared = store.shared
        """Whether other nodes write to the logs, too."""
        self._store = store
        self._hub = hub
        self._shortages = shortages

    async def newest(self, scan_id: ScanId) -> ScanLog | None:
        """The log with all that was in the store when this was asked; None if there is none (any more)."""
        await self._caught_up()
        return self._hub.get(scan_id)

    async def planned(self, scan_id: ScanId) -> ScanLog | None:
        """The log of a scan that had a plan when this was asked, as far as this node has read it, but with the plan."""
        log = self._hub.get(scan_id)
        if log is None or log.folded.tallies is None:
            return await self.newest(scan_id)
        return log

    def leaves(self, scan_id: ScanId) -> bool:
        """Whether the scan is other nodes', which have a later version."""
        return self._hub.leaves(scan_id)

    async def _caught_up(self) -> None:
        """Wait until this node has read what is in the store, as long as that takes; there is nobody to tell."""
        if not self.shared:
            return
        pause: Pause | None = None
        while True:
            try:
                await self._store.barrier()
            except StoreUnavailable as error:
                pause = pause or Pause()
                await self._shortages.wait(STORE, error.detail, pause)
            else:
                break
        if pause is not None:
            self._shortages.over()

"""Appending to the log from the inside of a scan, where there is nobody to tell that the disk is full."""

from collections.abc import Callable

from msgspec.structs import replace

from scanstream.about import node_name
from scanstream.errors import NotFound, StoreUnavailable
from scanstream.log.entry import AnyEntry
from scanstream.log.store import Store
from scanstream.model import Milliseconds, ScanId
from scanstream.scans.outcomes import Outcomes
from scanstream.scans.shortages import STORE, Pause, Shortages


class Appender:
    """Appends, and waits where it must: each append is one caller's, who tries it again until it is done."""

    def __init__(self, store: Store, shortages: Shortages, time: Callable[[], Milliseconds] | None = None) -> None:
        """`time`: that which entries carry in place of this machine's, where others write to the store, too."""
        self._store = store
        self._time = time
        self._shortages = shortages
        self._node = node_name()
        self.outcomes = Outcomes()

    async def append(self, scan_id: ScanId, *entries: AnyEntry) -> None:
        """Append, and while the store is away wait and try again: running scans outlive a full disk.

        A scan that has expired meanwhile is nobody's business any more. Ends when it is cancelled from outside, too.
        """
        at = None if self._time is None else self._time()
        entries = tuple(replace(entry, by=self._node, at=entry.at if at is None else at) for entry in entries)
        pause: Pause | None = None
        while True:
            try:
                await self._store.append(scan_id, *entries)
            except StoreUnavailable as error:
                pause = pause or Pause()
                await self._shortages.wait(STORE, error.detail, pause)
            except NotFound:
                return
            else:
                break
        self.outcomes.take(entries)
        if pause is not None:
            self._shortages.over()

"""What nobody else remembers: starts scans whose ack got lost, settles ended ones, forgets expired ones."""

import logging
from collections.abc import Callable

import anyio

from scanstream.errors import StoreUnavailable
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import Milliseconds, ScanId
from scanstream.scans.appending import now

INTERVAL_SECONDS = 1.0
UNRELEASED_AFTER: Milliseconds = 5_000
"""A scan that was acknowledged this long ago and may not start yet: whoever should have released it is gone."""

logger = logging.getLogger("scanstream")


class Sweeper:
    """A round every second."""

    def __init__(self, store: Store, hub: Hub, release: Callable[[ScanId], None]) -> None:
        self._store = store
        self._hub = hub
        self._release = release
        self._unsettled: dict[ScanId, Milliseconds] = {}

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans: remembers to settle those that end."""
        expires_at = log.folded.expires_at
        if expires_at is not None:
            self._unsettled[log.scan_id] = expires_at

    async def run(self) -> None:
        """Sweep for ever; what the store cannot take now it is offered again in the next round."""
        self._start(older_than=0)
        while True:
            try:
                await self._settle()
                await self._expire()
            except StoreUnavailable as error:
                logger.warning("the sweep waits: %s", error.detail)
            await anyio.sleep(INTERVAL_SECONDS)
            self._start(older_than=UNRELEASED_AFTER)

    def _start(self, older_than: Milliseconds) -> None:
        before = now() - older_than
        for log in self._hub.live():
            if log.folded.state.phase == "init" and log.folded.registered.at <= before:
                self._release(log.scan_id)

    async def _settle(self) -> None:
        for scan_id, expires_at in list(self._unsettled.items()):
            await self._store.settle(scan_id, expires_at)
            self._unsettled.pop(scan_id, None)
            self._hub.freeze(scan_id)

    async def _expire(self) -> None:
        while gone := await self._store.expired(now()):
            await self._store.purge(gone)
            for scan_id in gone:
                self._hub.forget(scan_id)

"""Appending to the log from the inside of a scan, where there is nobody to tell that the disk is full."""

import logging
import time

import anyio

from scanstream.errors import NotFound, StoreUnavailable
from scanstream.log.entry import AnyEntry
from scanstream.log.store import Store
from scanstream.model import Milliseconds, ScanId

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0

logger = logging.getLogger("scanstream")


def now() -> Milliseconds:
    """The writer's clock: the time that entries carry."""
    return time.time_ns() // 1_000_000


async def append(store: Store, scan_id: ScanId, *entries: AnyEntry) -> None:
    """Append, and while the store is away wait and try again: running scans outlive a full disk.

    A scan that has expired meanwhile is nobody's business any more. Ends when it is cancelled from outside, too.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            await store.append(scan_id, *entries)
        except StoreUnavailable as error:
            logger.warning("%s: %s; trying again in %.1f s", scan_id, error.detail, pause)
            await anyio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        except NotFound:
            return
        else:
            return

"""How recent a read is: on a store that others write to, too, never older than what any node had shown when it came.

All reads of scans come through here (archive.py). What another node has shown is durable, so a barrier that was begun
after the read came brings it; of those who wait at once one barrier serves all. A scan that has ended does not change
until its time is over, so its log can be told as it is in memory, unless that is near: when it is, all nodes judge by
the store's time. And a store of one's own has shown nothing that this process has not read.
"""

import anyio

from scanstream.errors import StoreUnavailable
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import Milliseconds
from scanstream.scans.budget import Seconds

NEAR_THE_END: Milliseconds = 60_000
"""By so much a node that has heard nothing for long may be wrong about the time at most: see `StreamClock`."""
PATIENCE_SECONDS = 5.0
"""How long a read waits for the store: longer than most elections of a new leader take, shorter than callers wait."""
AGAIN_SECONDS = 1.0
"""When a caller may ask again whose read has waited for so long."""


class Recency:
    """As of when this node has read all that was durable."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._as_of = float("-inf")

    def vouches(self, log: ScanLog) -> bool:
        """Whether what is in memory of this scan can be told as it is."""
        if not self._store.shared:
            return True
        expires_at = log.folded.expires_at
        return expires_at is not None and expires_at - self._store.now() > NEAR_THE_END

    async def reach(self, arrived: Seconds | None) -> None:
        """Return when this node knows all that any had shown at a time on the loop's clock (None: now).

        Nothing is done for that on a store of one's own.

        :raises StoreUnavailable: if the store does not say so in time
        """
        if not self._store.shared or (arrived is not None and self._as_of > arrived):
            return
        begun = anyio.current_time()
        try:
            with anyio.fail_after(PATIENCE_SECONDS):
                await self._store.barrier()
        except TimeoutError as error:
            raise StoreUnavailable(
                f"The store has not answered for {PATIENCE_SECONDS:g} s; ask again", retry_after=AGAIN_SECONDS
            ) from error
        self._as_of = max(self._as_of, begun)

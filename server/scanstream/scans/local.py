"""Jobs in memory: the embedded engine needs no table for them, they are the plan less the outcomes."""

from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterable

import anyio

from scanstream.jobs import ShardName
from scanstream.log.refold import Slices
from scanstream.model import ANYONE, Principal, ScanId

Owner = Callable[[ScanId], Principal]
"""Whose a scan is."""
Key = tuple[str, int]
"""Strategy and number: which shard of a scan."""


class LocalLease:
    """A shard taken out of the queue of this process."""

    deaths = 0

    def __init__(self, jobs: "LocalJobs", shard: ShardName, attempt: int) -> None:
        self._jobs = jobs
        self.shard = shard
        self.attempt = attempt

    def leave(self) -> None:
        """Nothing to do: the places are the worker processes."""

    async def done(self) -> None:
        """Nothing to do: the log has the outcome."""

    async def give_back(self, *, tried: bool = True) -> None:
        """See `Lease.give_back`."""
        self._jobs.again(self.shard, self.attempt + tried)


class LocalJobs:
    """The jobs port in one process: the principals take turns, one shard each, and the scans of each of them do."""

    def __init__(self, owner: Owner = lambda _: ANYONE) -> None:
        self._owner = owner
        self._waiting: OrderedDict[Principal, OrderedDict[ScanId, deque[LocalLease]]] = OrderedDict()
        self._known: dict[ScanId, tuple[Principal, set[Key]]] = {}
        self._arrived = anyio.Event()

    async def put(self, shards: Iterable[ShardName]) -> None:
        """See `Jobs.put`. A plan may have thousands: others have turns between."""
        slices = Slices()
        for shard in shards:
            if shard.scan_id not in self._known:
                self._known[shard.scan_id] = (self._owner(shard.scan_id), set())
            _, known = self._known[shard.scan_id]
            key = (shard.strategy_id, shard.number)
            if key not in known:
                known.add(key)
                self._add(LocalLease(self, shard, attempt=1))
            await slices.turn()

    def again(self, shard: ShardName, attempt: int) -> None:
        """Put back what a worker could not finish, unless its scan was dropped."""
        if shard.scan_id in self._known:
            self._add(LocalLease(self, shard, attempt))

    def _add(self, lease: LocalLease) -> None:
        scan_id = lease.shard.scan_id
        scans = self._waiting.setdefault(self._known[scan_id][0], OrderedDict())
        scans.setdefault(scan_id, deque()).append(lease)
        self._arrived.set()

    async def leases(self) -> AsyncIterator[LocalLease]:
        """See `Jobs.leases`."""
        while True:
            while not self._waiting:
                self._arrived = anyio.Event()
                await self._arrived.wait()
            principal, scans = self._waiting.popitem(last=False)
            scan_id, queue = scans.popitem(last=False)
            lease = queue.popleft()
            if queue:
                scans[scan_id] = queue  # at the end: the others have their turn first
            if scans:
                self._waiting[principal] = scans
            yield lease

    async def elsewhere(self, scan_id: ScanId, strategy_id: str | None = None) -> bool:
        """See `Jobs.elsewhere`: there is no other node."""
        return False

    async def drop(self, scan_id: ScanId) -> None:
        """See `Jobs.drop`."""
        principal, _ = self._known.pop(scan_id, (None, None))
        scans = self._waiting.get(principal) if principal is not None else None
        if principal is not None and scans is not None:
            scans.pop(scan_id, None)
            if not scans:
                del self._waiting[principal]

    def depth(self) -> int:
        """How many shards wait."""
        return sum(len(queue) for scans in self._waiting.values() for queue in scans.values())

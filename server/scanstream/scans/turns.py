"""The queue of shards that the loop runs: its places are shared fairly, and none that hangs starves the others.

A free place goes to the scan that holds the fewest, and in it to the strategy that holds the fewest; where that is
equal, to the one whose turn is longest ago. So every scan, and every strategy of it, shows life early, and one whose
shards hang fills up what the others leave.
"""

from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable
from heapq import heapify, heappop, heappush

import anyio

from scanstream.jobs import ShardName
from scanstream.model import ScanId
from scanstream.scans.local import Key

MOST_LEFT_OVER = 64
"""Offers that hold no more, beside two for each scan."""


class Turn:
    """A shard that has a place."""

    deaths = 0

    def __init__(self, turns: "Turns", shard: ShardName, attempt: int) -> None:
        self._turns = turns
        self.shard = shard
        self.attempt = attempt

    async def done(self) -> None:
        """Nothing to do: the log has the outcome."""

    async def give_back(self, *, tried: bool = True) -> None:
        """See `Lease.give_back`."""
        self._turns.again(self.shard, self.attempt + tried)

    def leave(self) -> None:
        """Its place is free."""
        self._turns.leave(self.shard)


class _Scan:
    """One scan's shards that wait, by strategy, and how many have a place."""

    def __init__(self, number: int) -> None:
        self.number = number
        """Its place among the scans where nothing else tells them apart."""
        self.waiting: dict[str, deque[Turn]] = {}
        self.known: set[Key] = set()
        self.held: Counter[str] = Counter()
        self.places = 0
        """How many it holds, over all strategies."""
        self.served: dict[str, int] = {}
        self.last = 0

    def next(self, number: int) -> Turn:
        """The strategy with the fewest places is next; `number` counts the turns of all scans."""
        strategy_id = min(self.waiting, key=lambda name: (self.held[name], self.served.get(name, 0)))
        queue = self.waiting[strategy_id]
        turn = queue.popleft()
        if not queue:
            del self.waiting[strategy_id]
        self.held[strategy_id] += 1
        self.places += 1
        self.served[strategy_id] = self.last = number
        return turn


class Turns:
    """The jobs port for shards in the loop: at most so many of one scan have a place at once."""

    def __init__(self, most_of_a_scan: int) -> None:
        self._most_of_a_scan = most_of_a_scan
        self._scans: dict[ScanId, _Scan] = {}
        self._number = 0
        self._met = 0
        self._able: list[tuple[int, int, int, ScanId]] = []
        """A heap of (places held, last turn, number, scan): the next scan is its first whose numbers still hold."""
        self._changed = anyio.Event()

    async def put(self, shards: Iterable[ShardName]) -> None:
        """See `Jobs.put`."""
        for shard in shards:
            scan = self._scans.get(shard.scan_id)
            if scan is None:
                self._met += 1
                scan = self._scans[shard.scan_id] = _Scan(self._met)
            key = (shard.strategy_id, shard.number)
            if key not in scan.known:
                scan.known.add(key)
                self._add(scan, Turn(self, shard, attempt=1))

    def again(self, shard: ShardName, attempt: int) -> None:
        """Put back what could not be finished, unless its scan was dropped."""
        scan = self._scans.get(shard.scan_id)
        if scan is not None and (shard.strategy_id, shard.number) in scan.known:
            self._add(scan, Turn(self, shard, attempt))

    def _add(self, scan: _Scan, turn: Turn) -> None:
        first = not scan.waiting
        scan.waiting.setdefault(turn.shard.strategy_id, deque()).append(turn)
        if first:
            self._offer(turn.shard.scan_id, scan)
        self._changed.set()

    def _offer(self, scan_id: ScanId, scan: _Scan) -> None:
        """The scan may have a place: from now on with what it holds."""
        if not scan.waiting or scan.places >= self._most_of_a_scan:
            return
        if len(self._able) > 2 * len(self._scans) + MOST_LEFT_OVER:
            self._able = [entry for entry in self._able if self._holds(entry)]
            heapify(self._able)
        heappush(self._able, (scan.places, scan.last, scan.number, scan_id))

    def _holds(self, entry: tuple[int, int, int, ScanId]) -> bool:
        places, last, number, scan_id = entry
        scan = self._scans.get(scan_id)
        if scan is None or not scan.waiting:
            return False
        return (scan.places, scan.last, scan.number) == (places, last, number)

    async def leases(self) -> AsyncIterator[Turn]:
        """See `Jobs.leases`: each must `leave` its place in the end."""
        while True:
            while (scan_id := self._next()) is None:
                self._changed = anyio.Event()
                await self._changed.wait()
            self._number += 1
            scan = self._scans[scan_id]
            turn = scan.next(self._number)
            self._offer(scan_id, scan)
            yield turn

    def _next(self) -> ScanId | None:
        while self._able:
            entry = heappop(self._able)
            if self._holds(entry):
                return entry[-1]
        return None

    def leave(self, shard: ShardName) -> None:
        """A place is free."""
        scan = self._scans.get(shard.scan_id)
        if scan is None:
            return
        scan.held[shard.strategy_id] -= 1
        scan.places -= 1
        self._offer(shard.scan_id, scan)
        self._forget(shard.scan_id, scan)
        self._changed.set()

    async def elsewhere(self, scan_id: ScanId, strategy_id: str | None = None) -> bool:
        """See `Jobs.elsewhere`: there is no other node."""
        return False

    async def drop(self, scan_id: ScanId) -> None:
        """See `Jobs.drop`. What has a place keeps it until it leaves."""
        scan = self._scans.get(scan_id)
        if scan is not None:
            scan.waiting.clear()
            scan.known.clear()
            self._forget(scan_id, scan)

    def _forget(self, scan_id: ScanId, scan: _Scan) -> None:
        if not scan.known and not scan.places:
            del self._scans[scan_id]

    def depth(self) -> int:
        """How many shards wait."""
        return sum(len(queue) for scan in self._scans.values() for queue in scan.waiting.values())

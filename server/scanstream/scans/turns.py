"""The queue of shards that the loop runs: its places are shared fairly, and none that hangs starves the others.

A free place goes to the principal who holds the fewest, of theirs to the scan that holds the fewest, and in it to the
strategy that holds the fewest; where that is equal, to the one whose turn is longest ago. So every scan, and every
strategy of it, shows life early, and one whose shards hang fills up what the others leave.
"""

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

import anyio

from scanstream.jobs import ShardName
from scanstream.model import ANYONE, Principal, ScanId
from scanstream.scans.local import Key, Owner

MOST_LEFT_OVER = 64
"""Offers that hold no more, beside two for each who takes part."""


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


class _Holder(ABC):
    """Somebody who holds places, and may have more."""

    def __init__(self, number: int) -> None:
        self.number = number
        """Tells them apart where nothing else does."""
        self.places = 0
        """How many it holds, over all strategies."""
        self.last = 0
        """When it had its last turn."""

    @property
    @abstractmethod
    def able(self) -> bool:
        """Whether one more place is of use to it, and it may have it."""


H = TypeVar("H", bound=_Holder)
K = TypeVar("K")


class _Fewest(Generic[K, H]):
    """Who holds the fewest places, of those who may have one more; of these, whose turn is longest ago."""

    def __init__(self) -> None:
        self.members: dict[K, H] = {}
        self._offers: list[tuple[int, int, int, H]] = []
        """A heap of (places held, last turn, number, member): the next is of its first whose numbers still hold."""

    def offer(self, member: H) -> None:
        """It may have a place: from now on with what it holds."""
        if not member.able:
            return
        if len(self._offers) > 2 * len(self.members) + MOST_LEFT_OVER:
            self._offers = [_offer(one) for one in self.members.values() if one.able]
            heapify(self._offers)
        heappush(self._offers, _offer(member))

    def first(self) -> H | None:
        """Who is next; None: nobody may have a place."""
        while self._offers:
            *_, member = self._offers[0]
            if member.able and _offer(member) == self._offers[0]:
                return member
            heappop(self._offers)
        return None


def _offer(member: H) -> tuple[int, int, int, H]:
    return member.places, member.last, member.number, member


class _Scan(_Holder):
    """One scan's shards that wait, by strategy, and how many have a place."""

    def __init__(self, number: int, principal: Principal, most: int) -> None:
        super().__init__(number)
        self.principal = principal
        self._most = most
        self.waiting: dict[str, deque[Turn]] = {}
        self.known: set[Key] = set()
        self.held: Counter[str] = Counter()
        self.served: dict[str, int] = {}

    @property
    def able(self) -> bool:
        """See `_Holder.able`."""
        return bool(self.waiting) and self.places < self._most

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


class _Principal(_Holder):
    """One principal's scans."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.scans = _Fewest[ScanId, _Scan]()

    @property
    def able(self) -> bool:
        """See `_Holder.able`."""
        return self.scans.first() is not None


class Turns:
    """The jobs port for shards in the loop: at most so many of one scan have a place at once."""

    def __init__(self, most_of_a_scan: int, owner: Owner = lambda _: ANYONE) -> None:
        self._most_of_a_scan = most_of_a_scan
        self._owner = owner
        self._scans: dict[ScanId, _Scan] = {}
        self._principals = _Fewest[Principal, _Principal]()
        self._number = 0
        self._met = 0
        self._changed = anyio.Event()

    async def put(self, shards: Iterable[ShardName]) -> None:
        """See `Jobs.put`."""
        for shard in shards:
            scan = self._scans.get(shard.scan_id) or self._meet(shard.scan_id)
            key = (shard.strategy_id, shard.number)
            if key not in scan.known:
                scan.known.add(key)
                self._add(scan, Turn(self, shard, attempt=1))

    def _meet(self, scan_id: ScanId) -> _Scan:
        self._met += 1
        owner = self._owner(scan_id)
        scan = self._scans[scan_id] = _Scan(self._met, owner, self._most_of_a_scan)
        principal = self._principals.members.setdefault(owner, _Principal(self._met))
        principal.scans.members[scan_id] = scan
        return scan

    def again(self, shard: ShardName, attempt: int) -> None:
        """Put back what could not be finished, unless its scan was dropped."""
        scan = self._scans.get(shard.scan_id)
        if scan is not None and (shard.strategy_id, shard.number) in scan.known:
            self._add(scan, Turn(self, shard, attempt))

    def _add(self, scan: _Scan, turn: Turn) -> None:
        first = not scan.waiting
        scan.waiting.setdefault(turn.shard.strategy_id, deque()).append(turn)
        if first:
            self._offer(scan)
        self._changed.set()

    def _offer(self, scan: _Scan) -> None:
        principal = self._principals.members[scan.principal]
        principal.scans.offer(scan)
        self._principals.offer(principal)

    async def leases(self) -> AsyncIterator[Turn]:
        """See `Jobs.leases`: each must `leave` its place in the end."""
        while True:
            while (turn := self._next()) is None:
                self._changed = anyio.Event()
                await self._changed.wait()
            yield turn

    def _next(self) -> Turn | None:
        principal = self._principals.first()
        scan = principal.scans.first() if principal is not None else None
        if principal is None or scan is None:
            return None
        self._number += 1
        turn = scan.next(self._number)
        principal.places += 1
        principal.last = self._number
        self._offer(scan)
        return turn

    def leave(self, shard: ShardName) -> None:
        """A place is free."""
        scan = self._scans.get(shard.scan_id)
        if scan is None:
            return
        scan.held[shard.strategy_id] -= 1
        scan.places -= 1
        self._principals.members[scan.principal].places -= 1
        self._offer(scan)
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
        if scan.known or scan.places:
            return
        del self._scans[scan_id]
        principal = self._principals.members[scan.principal]
        del principal.scans.members[scan_id]
        if not principal.scans.members:
            del self._principals.members[scan.principal]

    def depth(self) -> int:
        """How many shards wait."""
        return sum(len(queue) for scan in self._scans.values() for queue in scan.waiting.values())

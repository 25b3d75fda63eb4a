"""The ports: shards to run and scans to conduct, each one node's at a time."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Protocol, TypeAlias

from msgspec import Struct

from scanstream.model import DiscoverRequest, ScanId

Releases: TypeAlias = Mapping[str, str]
"""Strategies by their ids, and of which release of its package each is; empty: any will do."""


def covers(has: Releases, wants: Releases) -> bool:
    """Whether a node that has these strategies can run those that are wanted."""
    return all(name in has and release in ("", has[name]) for name, release in wants.items())


class ShardName(Struct, frozen=True, kw_only=True):
    """Which shard of which scan: what there is to do the scan's log says, on every node."""

    scan_id: ScanId
    strategy_id: str
    number: int


class Shard(ShardName, frozen=True, kw_only=True):
    """A piece of a scan's work that one worker does on its own: units `start` to `stop` of one strategy."""

    start: int
    stop: int
    digest: str
    """Which market data to look at."""
    request: DiscoverRequest
    budget_seconds: float
    release: str = ""
    """Which release of the strategy's package has cut it; empty: any may run it."""


class Lease(Protocol):
    """A shard that this node is to run now; nobody else runs it as long as this node lives and has it."""

    @property
    def shard(self) -> ShardName:
        """What to run."""
        ...

    @property
    def attempt(self) -> int:
        """1 the first time, then one more each time that it was tried in vain, or that its node died."""
        ...

    @property
    def deaths(self) -> int:
        """How many nodes have died that had it."""
        ...

    def leave(self) -> None:
        """It does not run here any more: its place is free. `done` or `give_back` follows."""
        ...

    async def done(self) -> None:
        """Its outcome is in the log, or nobody wants one any more."""
        ...

    async def give_back(self, *, tried: bool = True) -> None:
        """Let another run it, unless its scan was dropped.

        :param tried: whether this was an attempt; it is none if the node has to leave
        """
        ...


class Jobs(Protocol):
    """A queue of shards."""

    async def put(self, shards: Iterable[ShardName]) -> None:
        """Add shards; one that is in already, or is with somebody, changes nothing."""
        ...

    def leases(self) -> AsyncIterator[Lease]:
        """Shards to run, one scan after the other in turn, so that a long one does not hold up a short one."""
        ...

    async def elsewhere(self, scan_id: ScanId, strategy_id: str | None = None) -> bool:
        """Whether another node may have shards of the scan, or of one strategy of it, just now."""
        ...

    async def drop(self, scan_id: ScanId) -> None:
        """Forget the scan's shards: it has ended."""
        ...


class Call(Protocol):
    """A scan that this node is to conduct now; nobody else conducts it meanwhile."""

    @property
    def scan_id(self) -> ScanId:
        """Which."""
        ...

    async def deaths(self) -> int:
        """How many nodes have died that had it: it may be why."""
        ...

    async def waits(self) -> float:
        """For how many seconds it has been given back by one node after another."""
        ...

    async def done(self) -> None:
        """It has ended."""
        ...

    async def give_back(self, after: float = 0.0) -> None:
        """Let another conduct it.

        :param after: seconds in which nobody is asked
        """
        ...


class Calls(Protocol):
    """The scans that may start: let in at most so many at once, in the order in which they may."""

    def granted(self) -> AsyncIterator[Call]:
        """Scans to conduct. One that is cancelled, and whose shards nobody attends to, is among them, too."""
        ...

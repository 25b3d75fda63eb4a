"""The ports: shards to run and scans to conduct, each one node's at a time."""

from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from msgspec import Struct

from scanstream.model import DiscoverRequest, ScanId


class Shard(Struct, frozen=True, kw_only=True):
    """A piece of a scan's work that one worker does on its own: units `start` to `stop` of one strategy."""

    scan_id: ScanId
    strategy_id: str
    number: int
    start: int
    stop: int
    digest: str
    """Which market data to look at."""
    request: DiscoverRequest
    budget_seconds: float


class Lease(Protocol):
    """A shard that this node is to run now; nobody else runs it meanwhile."""

    @property
    def shard(self) -> Shard:
        """What to run."""
        ...

    @property
    def attempt(self) -> int:
        """1 the first time, then one more each time that it was given back."""
        ...

    async def extend(self) -> None:
        """Still at it: do not give the shard to another."""
        ...

    async def done(self) -> None:
        """Its outcome is in the log."""
        ...

    async def give_back(self) -> None:
        """Let another run it."""
        ...


class Jobs(Protocol):
    """A queue of shards."""

    async def put(self, shards: Iterable[Shard]) -> None:
        """Add shards; one that is in already (the same scan and number) changes nothing."""
        ...

    def leases(self) -> AsyncIterator[Lease]:
        """Shards to run, one scan after the other in turn, so that a long one does not hold up a short one."""
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

    async def done(self) -> None:
        """It has ended."""
        ...

    async def give_back(self) -> None:
        """Let another conduct it."""
        ...


class Calls(Protocol):
    """The scans that may start: let in at most so many at once, in the order in which they may."""

    def granted(self) -> AsyncIterator[Call]:
        """Scans to conduct. One that is cancelled, and whose shards nobody attends to, is among them, too."""
        ...

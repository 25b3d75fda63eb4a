"""The port: what is to be told elsewhere, kept until it was, or until nobody tries any more.

The engines implement it (engines/); tests/engines/deliveries_contract.py is one suite over all of them.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from msgspec import Struct

from scanstream.model import ANYONE, Milliseconds, Principal, ScanId


class Delivery(Struct, frozen=True, kw_only=True):
    """What is to be told to whom: that this scan has ended."""

    id: str
    """The same for the same scan and target: by it receivers tell repetitions apart."""
    scan_id: ScanId
    url: str
    expires_at: Milliseconds
    """After that nobody tries any more: the scan answers no longer."""
    principal: Principal = ANYONE
    """Whose scan it is: principals have their attempts in turn."""


class Attempt(Protocol):
    """A delivery that this node is to try now; nobody else does as long as this node lives and has it."""

    @property
    def delivery(self) -> Delivery:
        """What to deliver."""
        ...

    @property
    def number(self) -> int:
        """1 the first time, then one more after each that was tried in vain, or whose node died."""
        ...

    async def done(self) -> None:
        """Forget it: it was delivered, or given up. Durable when it returns.

        Waits while the store cannot write. If it is cancelled meanwhile the delivery comes again, to whomever.
        """
        ...

    async def again(self, after: float = 0.0, *, tried: bool = True) -> None:
        """Have it tried again in so many seconds, behind all whose time comes before that. Durable when it returns.

        A restart changes neither the count nor the time. Waits as `done` does.

        :param tried: whether this was an attempt; it is none if the node has to leave, or others go first
        """
        ...


class Deliveries(Protocol):
    """The deliveries that there are: each at least once, and one node's at a time."""

    async def put(self, *deliveries: Delivery) -> None:
        """Add them, to be tried at once. Durable when it returns.

        Of very many of one principal's, where nodes share them, some are due a little later each.

        One that is in already, whether it waits or somebody has it, stays as it is.

        :raises StoreUnavailable: if that cannot be written now; some may be in, and putting all again does no harm
        """
        ...

    def due(self) -> AsyncIterator[Attempt]:
        """Those whose time has come, as it comes: of each principal the earliest first, or nearly so.

        Where one server has them all principals take turns, and the order is strict. It waits while there is none, and
        while the store is away. The next is looked for when it is asked for, so whoever has enough in hand takes none,
        and other nodes do. One consumer at a time.
        """
        ...

    async def waiting(self) -> int:
        """How many there are, or were a moment ago: those that wait, and those that somebody has.

        :raises StoreUnavailable: if nobody can say
        """
        ...

"""The port: what the nodes of a cluster share of their markets. On one machine there is none."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, TypeAlias

from scanstream.model import Milliseconds

Announce: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Tells all nodes: this is the newest of a certain market from now on."""


class Library(Protocol):
    """Panels as files, each under its digest; which of them is a market's newest; and whose turn it is to read one.

    Every call raises `StoreUnavailable` when nobody answers now.
    """

    def now(self) -> Milliseconds:
        """What time it is, for all nodes alike."""
        ...

    async def has(self, digest: str) -> bool:
        """Whether there is something under this digest; one that was put there a moment ago may be missed."""
        ...

    async def put(self, digest: str, file: Path) -> None:
        """Keep what is in the file, unless there is something under this digest. Durable when it returns."""
        ...

    async def get(self, digest: str, file: Path) -> bool:
        """Write what is kept under this digest into the file; False if there is nothing, or not whole."""
        ...

    async def keep(self, digests: set[str]) -> None:
        """Remove all but these."""
        ...

    async def announce(self, market: str, issue: bytes) -> None:
        """This is the market's newest from now on; every node hears it."""
        ...

    async def announced(self, market: str) -> bytes | None:
        """What was announced last, by whomever, before this call."""
        ...

    async def latest(self) -> bytes | None:
        """What was announced last of any market."""
        ...

    def listen(self, market: str, heard: Callable[[bytes], None]) -> None:
        """Have `heard` called with what is the market's newest: what is now, and whatever is announced.

        Whoever has passed a barrier of the store has heard all that was announced before it.
        """
        ...

    def turn(self, market: str, *, waits: bool = True) -> AbstractAsyncContextManager[Announce | None]:
        """While inside it is this node's turn to read the market, and no other's; what is inside ends when it is lost.

        Gives how to announce what was read in it: that fails with `StoreUnavailable` from the moment on at which it is
        another's turn, so of a node that stood still meanwhile nobody hears what was before. Gives None, at once, where
        it is another's and `waits` is not set. Of a node that died it is over in a lease.
        """
        ...

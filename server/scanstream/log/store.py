"""The port: where logs live.

The engines implement it (engines/); tests/engines/contract.py is one suite over all of them. Whoever writes another
one has to keep what the docstrings here promise, to the letter.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

from scanstream.log.entry import AnyEntry, Registered
from scanstream.model import Milliseconds, Principal, ScanId


class Store(Protocol):
    """An append-only log a scan, durable, with one feed of everything.

    Every call raises `StoreUnavailable` when the store cannot write now; then nothing of that call has happened.
    """

    @property
    def identity(self) -> str:
        """Names this store: a lost and recreated one has another identity, so its cursors are foreign."""
        ...

    @property
    def key(self) -> bytes:
        """The store's secret: scan ids carry a MAC under it."""
        ...

    @property
    def shared(self) -> bool:
        """Whether others write to it, too: then what this process has read may be behind what another has shown."""
        ...

    def now(self) -> Milliseconds:
        """What time it is, for all who write to it: by this scans are over, and entries carry it.

        Where there are others, too, it is at most the time at which a barrier would be written now. So what this node
        has taken to be over is over for every other one behind its next barrier.
        """
        ...

    async def register(self, scan: Registered, replaces: ScanId | Literal["any"] | None) -> ScanId:
        """Register the scan if its slot still holds `replaces` (None: nothing); else the slot's holder wins.

        With "any" whoever holds the slot is replaced: of many that insist at once none waits for another.

        Durable when it returns: registry, lookup and placeholder are one write. Returns the holder of the slot: the
        scan's own id if it was registered.
        """
        ...

    async def holder(self, slot: str) -> ScanId | None:
        """Who holds the slot, after all registrations that were asked for before this call; None: nobody."""
        ...

    async def append(self, scan_id: ScanId, *entries: AnyEntry) -> None:
        """Append the entries, all or none, in this order. Durable when it returns.

        :raises NotFound: if there is no such scan (any more)
        """
        ...

    def feed(self) -> AsyncIterator[tuple[ScanId, int, AnyEntry | None]]:
        """Every unfinished scan's log whole, then all that is appended, each with its seq: contiguous within a scan.

        Durable before visible: what the feed gives, no crash takes back. One consumer at a time. A log that is damaged
        where it is kept is left out, or ends with `ScanFailed`; it never ends the feed. None in an entry's place: a
        later version of this code has written it, so from now on the scan is other nodes', and no more of it comes.
        """
        ...

    async def history(self, scan_id: ScanId) -> list[AnyEntry] | None:
        """The whole log of one scan, finished or not; None if there is none (any more).

        :raises Damaged: if there is one, and it cannot be read
        :raises StoreUnavailable: also if a later version of this code has written it: another node can tell
        """
        ...

    async def newest(
        self, principal: Principal, limit: int, before: ScanId | None = None, *, at: Milliseconds = 0
    ) -> list[ScanId]:
        """The principal's scans, newest first; those registered before `before` where it is given.

        The order is that of registration, whatever the clock said. Scans whose time was over `at` this moment are left
        out, purged or not.

        :raises NotFound: if there is no scan `before` (any more): where it stood nobody knows
        """
        ...

    async def settle(self, scan_id: ScanId, expires_at: Milliseconds) -> None:
        """Remember that the scan has ended, so that the feed leaves it out after a restart. Idempotent."""
        ...

    async def settled(self, scan_id: ScanId) -> bool:
        """Whether somebody has said that the scan has ended, as far as is known here; also if it is purged since."""
        ...

    async def expired(self, now: Milliseconds) -> list[ScanId]:
        """The settled scans whose time is over."""
        ...

    async def purge(self, scan_ids: Sequence[ScanId]) -> None:
        """Forget these scans and their logs; each whole or, if the call fails on its way, not at all. Idempotent.

        Many at once cost little more than one, and whoever registers meanwhile does not wait for all of them.
        """
        ...

    async def remember(self, name: str, value: bytes) -> None:
        """Keep a small value under a name, in place of an earlier one. Durable when it returns."""
        ...

    async def recall(self, name: str) -> bytes | None:
        """The value that was remembered under this name last; None if none ever was."""
        ...

    async def barrier(self) -> None:
        """Return when the feed's consumer has taken all that was durable before this call, whoever wrote it.

        Those who wait share one.

        :raises StoreUnavailable: if that takes too long: what the consumer has taken may be behind
        """
        ...

    async def probe(self) -> None:
        """Write something that changes nothing, to see whether the store can.

        :raises StoreUnavailable: if it cannot, or if the feed does not go on
        """
        ...

    async def close(self) -> None:
        """Write what was accepted, and let go of everything."""
        ...

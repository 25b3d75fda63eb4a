"""The scans that were registered, found again: by id, newest first, as the holder of a slot.

Expiry is judged here, at each question, by the store's time: whoever deletes what has expired may be late. So is how
recent an answer is (recency.py): `arrived` is when the question came, on the loop's clock; now, if it is None.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import anyio

from scanstream.errors import Damaged, Expired, NotFound
from scanstream.log.cursor import Cursor, Position
from scanstream.log.entry import NewerError
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import Principal, ScanId
from scanstream.scans.budget import Seconds
from scanstream.scans.identity import is_genuine
from scanstream.scans.recency import Recency
from scanstream.security.caller import LATEST, Owner, Ticket


class Archive:
    """What the desk finds scans in."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub
        self._recency = Recency(store)

    async def find(self, owner: Owner, scan_id: str, arrived: Seconds | None = None) -> ScanLog:
        """The log of a scan of this owner.

        :raises NotFound: if it never was, or is not theirs
        :raises Expired: if it was, and is gone
        :raises Damaged: if its record cannot be read
        :raises StoreUnavailable: if nobody can say now how things are
        """
        if scan_id == LATEST and not isinstance(owner, Ticket):
            return await self._latest(owner, arrived)
        if not self._is_given(owner, scan_id):
            raise NotFound("No scan found. Please initiate a new scan.", scan_id=scan_id)
        genuine = ScanId(scan_id)
        log = await self._recent(genuine, arrived)
        if log is None and not self._store.shared:
            await self._store.barrier()
            log = await self._hub.fetch(genuine)
        if log is None or self._is_over(log):
            raise Expired.of(scan_id)
        return log

    def _is_given(self, owner: Owner, scan_id: str) -> bool:
        """Whether this store has given this id to them."""
        if isinstance(owner, Ticket):
            return owner.scan_id == scan_id
        return is_genuine(self._store.key, owner, scan_id)

    async def _recent(self, scan_id: ScanId, arrived: Seconds | None) -> ScanLog | None:
        """The log as of when the question came, or later; None if there is none."""
        log = self._hub.held(scan_id)
        if log is None or not self._recency.vouches(log):
            await self._recency.reach(arrived)
            log = await self._hub.fetch(scan_id)
        return log

    def held(self, owner: Owner, scan_id: str) -> ScanLog | None:
        """The log of a scan of this owner that is in memory and answers as it is there; of others None, which says
        nothing."""
        log = self._hub.held(ScanId(scan_id))
        if log is None or not self._recency.vouches(log):
            return None
        theirs = scan_id == owner.scan_id if isinstance(owner, Ticket) else log.folded.registered.principal == owner
        return log if theirs and not self._is_over(log) else None

    async def _latest(self, principal: Principal, arrived: Seconds | None) -> ScanLog:
        await self._recency.reach(arrived)
        async with aclosing(self._registered(principal, 1)) as registered:
            async for scan_id in registered:
                log = await self._hub.fetch(scan_id)
                if log is not None and not self._is_over(log):
                    return log
        raise NotFound("No scan found. Please initiate a new scan.", scan_id=LATEST)

    async def newest(self, principal: Principal, limit: int, before: str | None = None) -> list[ScanLog]:
        """The principal's scans, newest first; those registered before `before` where it is given.

        One whose record is damaged is left out, and one that a later version has written; the server's log names it.

        :raises NotFound: if `before` never was, or is not theirs
        :raises Expired: if it was, and is gone
        :raises StoreUnavailable: if nobody can say now how things are
        """
        arrived = anyio.current_time()
        await self._recency.reach(arrived)
        older_than = None if before is None else await self._known(principal, before, arrived)
        logs: list[ScanLog] = []
        async with aclosing(self._registered(principal, limit, older_than)) as registered:
            async for scan_id in registered:
                with suppress(Damaged, NewerError):
                    log = await self._hub.fetch(scan_id)
                    if log is not None and not self._is_over(log):
                        logs.append(log)
                if len(logs) == limit:
                    break
        return logs

    async def _known(self, principal: Principal, scan_id: str, arrived: Seconds | None) -> ScanId:
        """The id of a scan of theirs, whether this version can read it or not."""
        try:
            return (await self.find(principal, scan_id, arrived)).scan_id
        except NewerError:
            if scan_id == LATEST:
                raise
            return ScanId(scan_id)

    async def _registered(
        self, principal: Principal, page: int, before: ScanId | None = None
    ) -> AsyncGenerator[ScanId, None]:
        """The principal's scans of the last registration and back, asked for page by page."""
        last = before
        while True:
            try:
                scan_ids = await self._store.newest(principal, page, last, at=self._store.now())
            except NotFound as error:  # purged a moment ago
                raise Expired.of(last) from error
            for scan_id in scan_ids:
                yield scan_id
            if len(scan_ids) < page:
                return
            last = scan_ids[-1]

    async def holder(self, scan_id: ScanId, *, keyed: bool) -> ScanLog | None:
        """The log of the scan in a slot; None where it has expired, or is damaged: then a new one takes its place.

        A damaged scan that was asked for with a key is not replaced: the same key is never another scan.
        """
        try:
            log = await self._recent(scan_id, None)
        except Damaged:
            if keyed:
                raise
            return None
        return None if log is None or self._is_over(log) else log

    async def place(self, log: ScanLog, cursor: Cursor | None) -> Position:
        """Where a reader with this cursor goes on; one that is ahead of this node makes it catch up first.

        :param log: as `find` gave it: on a shared store what any node had shown is in it already
        """
        ahead = cursor is not None and cursor.epoch == log.epoch and cursor.position.seq > log.seq
        if ahead and not self._store.shared:
            await self._store.barrier()
        return log.place(cursor)

    def _is_over(self, log: ScanLog) -> bool:
        """Whether the scan has expired: judged at each question, as whoever deletes it may be late.

        Then it is so for all who follow it, too.
        """
        expires_at = log.folded.expires_at
        if expires_at is not None and expires_at <= self._store.now():
            self._hub.expire(log)
        return log.expired

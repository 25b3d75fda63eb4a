"""Who asks to be told when the scan has ended already: that stands in its log, too, behind the end.

The fold looks at nothing there, and readers see none of it. So this is read when somebody asks, from the store: the
log's order decides who is among the first, and it is the same on each node and after a restart. Once somebody is in the
queue the log says that, too; who asks for the same again is told nothing twice. Who dies between the two puts them
again when they are asked again, and had promised nothing.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable

import anyio
from msgspec.structs import replace

from scanstream.about import node_name
from scanstream.errors import Expired, InvalidRequest, NotFound, StoreUnavailable
from scanstream.log.entry import AnyEntry, NotifyAsked
from scanstream.log.fold import MOST_TARGETS, Folded
from scanstream.log.refold import let_go
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import Milliseconds, ScanId

MOST_REMEMBERED = 10_000
"""Ended scans of which it is remembered who asked; of others it is read again."""
MOST_AT_ONCE = 2
"""Logs that are read for this at once: they may be long."""
OTHERS_AFTER: Milliseconds = 5_000
"""So long whoever asked at another node is left to that one, which is about to put them into the queue."""

Put = Callable[[ScanLog, NotifyAsked], Awaitable[None]]
"""Have this one told of the scan's end; durable when it returns, and while they wait it is the same once more."""


class _Known:
    """What was read of one scan. Its log only grows, so what was true once stays true."""

    __slots__ = ("asked", "put")

    def __init__(self) -> None:
        self.asked: dict[str, NotifyAsked] = {}
        """The first entry of each, in the log's order."""
        self.put: set[str] = set()
        """Those who are in the queue, or were."""

    def take(self, folded: Folded, behind: Iterable[AnyEntry]) -> None:
        """Note the entries behind the end."""
        before = {target.id for target in folded.targets}
        for entry in behind:
            if isinstance(entry, NotifyAsked) and entry.id not in before:
                self.asked.setdefault(entry.id, entry)
                if entry.put:
                    self.put.add(entry.id)

    def require_room(self, folded: Folded, asked: NotifyAsked) -> None:
        """:raises InvalidRequest: if so many were before this one that it is not told"""
        room = MOST_TARGETS - len(folded.targets)
        if asked.id not in list(self.asked)[:room] and len(self.asked) >= room:
            raise too_many()


class Latecomers:
    """Takes who asks after the end."""

    def __init__(self, store: Store, put: Put) -> None:
        self._store = store
        self._put = put
        self._known: OrderedDict[ScanId, _Known] = OrderedDict()
        self._places = anyio.CapacityLimiter(MOST_AT_ONCE)

    async def ask(self, log: ScanLog, asked: NotifyAsked) -> None:
        """Have it told at once, unless it was. Durable when it returns; of one scan one call at a time.

        :raises InvalidRequest: if as many are told already as may be
        :raises Expired: if the scan has expired meanwhile
        :raises StoreUnavailable: if it could not be made durable; asked again it does no harm
        """
        known = self._known.setdefault(log.scan_id, _Known())
        while len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
        if asked.id not in known.put:
            known.require_room(log.folded, asked)
            await self._ask(log, known, asked)

    async def _ask(self, log: ScanLog, known: _Known, asked: NotifyAsked) -> None:
        await self._read(log, known)
        if asked.id not in known.asked:
            known.require_room(log.folded, asked)
            await self._append(log, asked)
            await self._read(log, known)
        known.require_room(log.folded, asked)
        if asked.id in known.put:
            return
        self._leave_to_others(known.asked[asked.id])
        await self._put(log, asked)
        await self._append(log, replace(asked, put=True))
        known.put.add(asked.id)

    async def _read(self, log: ScanLog, known: _Known) -> None:
        """All that was durable by now."""
        await self._store.barrier()
        async with self._places:
            history = await self._store.history(log.scan_id)
            if history is None:
                raise Expired.of(log.scan_id)
            known.take(log.folded, history[log.seq :])
            await let_go(history)

    async def _append(self, log: ScanLog, asked: NotifyAsked) -> None:
        try:
            await self._store.append(log.scan_id, asked)
        except NotFound as error:
            raise Expired.of(log.scan_id) from error

    def _leave_to_others(self, first: NotifyAsked) -> None:
        """Two nodes that put the same at the same time might have it told twice.

        :raises StoreUnavailable: if it was asked for at another node a moment ago
        """
        others = self._store.shared and first.by != node_name()
        if others and self._store.now() < first.at + OTHERS_AFTER:
            raise StoreUnavailable("Another node is about to have this told; ask again", retry_after=1)


def too_many() -> InvalidRequest:
    """As many are told of the scan's end as may be."""
    told = f"this scan's end is told to {MOST_TARGETS} addresses already, and to no more"
    return InvalidRequest.of("url", told)

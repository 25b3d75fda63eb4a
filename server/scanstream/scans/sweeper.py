"""What nobody else remembers: starts scans whose ack got lost, settles ended ones, forgets expired ones.

Who is to be told of an end is put into the queue before the scan is settled: should the server die between, the feed
brings the scan once more, and it is put again. Where several nodes see the same end, the one that has ended the scan
does that, and another only if the scan is not settled some seconds later: else each of them would have it told.
Where many end at once principals take turns.
"""

import logging
import random
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Container
from itertools import takewhile
from typing import NamedTuple, NoReturn

import anyio

from scanstream.about import node_name
from scanstream.errors import StoreUnavailable
from scanstream.log.abreast import abreast
from scanstream.log.entry import NotifyAsked
from scanstream.log.hub import Hub
from scanstream.log.refold import Slices
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import Milliseconds, Principal, ScanId

INTERVAL_SECONDS = 1.0
OTHERS_AFTER_SECONDS = 5.0
"""So long, and at random up to twice as long, the other nodes leave who is to be told to the one that has ended it."""
SETTLED_AT_ONCE = 32
"""Ended scans: each is two durable writes, one after the other, and the store takes those of many together."""
UNRELEASED_AFTER_SECONDS = 5.0
"""A scan that is known for so long and may not start yet: whoever should have released it is gone."""

Tell = Callable[[ScanId, Principal, tuple[NotifyAsked, ...], Milliseconds], Awaitable[None]]
"""Have these told that the scan has ended, until it expires; durable when it returns, and repeated it is the same."""

logger = logging.getLogger("scanstream")


class Ended(NamedTuple):
    """What is to be settled."""

    expires_at: Milliseconds
    principal: Principal
    targets: tuple[NotifyAsked, ...]
    """Who is to be told before."""
    after: float
    """Not before that time, on a clock that nobody sets: another node may do it."""


class Sweeper:
    """A round every second."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        release: Callable[[ScanId], None],
        tell: Tell,
        startable: Callable[[], Container[ScanId]] | None = None,
    ) -> None:
        """`startable`: which of those that may not start yet have a place; None: all of them."""
        self._startable = startable
        self._store = store
        self._tell = tell
        self._node = node_name()
        self._hub = hub
        self._release = release
        self._unsettled: dict[ScanId, Ended] = {}
        self._waiting: set[Callable[[], Awaitable[None]]] = set()
        """What cannot be done now."""
        self._unreleased: OrderedDict[ScanId, float] = OrderedDict()
        """Since when (on a clock that nobody sets) a scan waits for its release; the longest first."""

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans: remembers to settle those that end, and which may not start yet."""
        if log.folded.state.phase == "init" and not log.left:
            self._unreleased.setdefault(log.scan_id, time.monotonic())
        else:
            self._unreleased.pop(log.scan_id, None)
        expires_at = log.folded.expires_at
        if expires_at is not None:
            after, principal = time.monotonic() + self._lateness(log), log.folded.registered.principal
            self._unsettled.setdefault(log.scan_id, Ended(expires_at, principal, log.folded.targets, after))

    def _lateness(self, log: ScanLog) -> float:
        """Seconds that a scan's end is left to others."""
        if not log.folded.targets or not self._store.shared or log.ended_by == self._node:
            return 0.0
        return OTHERS_AFTER_SECONDS * random.uniform(1, 2)  # noqa: S311  # no secret

    async def run(self) -> None:
        """Sweep for ever. No kind of work waits for another: to delete thousands of scans may take a minute."""
        if not self._store.shared:  # else another node may be about to hand out the ack
            await self._start(older_than=0)
        async with anyio.create_task_group() as kinds:
            for kind in (self._look, self._settle, self._expire):
                kinds.start_soon(self._rounds, kind)

    async def _rounds(self, kind: Callable[[], Awaitable[None]]) -> NoReturn:
        """One kind of work, again and again; what the store cannot take now it is offered again in the next round."""
        while True:
            try:
                await kind()
                self._waiting.discard(kind)
            except StoreUnavailable as error:
                if not self._waiting:
                    logger.warning("the sweep waits: %s", error.detail)
                self._waiting.add(kind)
            await anyio.sleep(INTERVAL_SECONDS)

    async def _look(self) -> None:
        await self._hub.expire_all(self._store.now())
        await self._start(older_than=UNRELEASED_AFTER_SECONDS)

    async def _start(self, older_than: float) -> None:
        """Let those go that have waited for so long, if there is a place for them; looks at no others."""
        until = time.monotonic() - older_than
        due = [scan_id for scan_id, _ in takewhile(lambda one: one[1] <= until, self._unreleased.items())]
        startable = self._startable() if due and self._startable is not None else frozenset(due)
        slices = Slices()
        for scan_id in due:
            if scan_id in startable and self._unreleased.pop(scan_id, None) is not None:
                self._release(scan_id)
            await slices.turn()

    async def _settle(self) -> None:
        at = time.monotonic()
        ready = [(scan_id, ended) for scan_id, ended in self._unsettled.items() if ended.after <= at]
        await abreast(SETTLED_AT_ONCE, _in_turn(ready), self._settle_one)

    async def _settle_one(self, one: tuple[ScanId, Ended]) -> None:
        scan_id, ended = one
        if ended.targets and not (self._store.shared and await self._store.settled(scan_id)):
            await self._tell(scan_id, ended.principal, ended.targets, ended.expires_at)
        await self._store.settle(scan_id, ended.expires_at)
        self._unsettled.pop(scan_id, None)
        await self._hub.freeze(scan_id)

    async def _expire(self) -> None:
        before: list[ScanId] = []
        while (gone := await self._store.expired(self._store.now())) and gone != before:  # else they cannot be deleted
            await self._store.purge(gone)
            slices = Slices()
            for scan_id in gone:
                self._hub.forget(scan_id)
                await slices.turn()
            before = gone


def _in_turn(ready: list[tuple[ScanId, Ended]]) -> list[tuple[ScanId, Ended]]:
    """The first of each principal, then the second of each, and so on."""
    turns = Counter[Principal]()

    def turn(one: tuple[ScanId, Ended]) -> int:
        turns[one[1].principal] += 1
        return turns[one[1].principal]

    return sorted(ready, key=turn)

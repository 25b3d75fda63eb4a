"""The hub: folds what the store feeds, and calls a scan's watchers.

It holds the logs of all unfinished scans, and of finished ones as long as memory for them lasts; a finished scan that
is not held is folded again from its history when somebody asks.
"""

import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager

import anyio

from scanstream.errors import Damaged, Restarting
from scanstream.log.cursor import epoch_of
from scanstream.log.entry import AnyEntry, NewerError, Registered, newer
from scanstream.log.fetch import Fetch
from scanstream.log.finished import FinishedScans
from scanstream.log.refold import Slices, frozen, refolded
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import Milliseconds, ScanId

logger = logging.getLogger("scanstream")

MOST_LEFT = 100_000
"""Scans that are left to other nodes, and known to be."""
OVER_FOR: Milliseconds = 10_000
"""What has expired goes from memory after so long at the latest: of several nodes one deletes it, and not all do."""
LEFT_SECONDS = 2.0
"""When to ask again for one of them: another node may be asked then."""

Watcher = Callable[[ScanLog], None]
"""Called after a change, on the loop; must not wait and must not raise."""


class Hub:
    """All scans' logs as this node has read them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._live: dict[ScanId, ScanLog] = {}
        self._digests: Counter[str] = Counter()
        self._watchers: dict[ScanId, set[Watcher]] = {}
        self._finished = FinishedScans(self._watchers.__contains__)
        self._fetches: dict[ScanId, Fetch] = {}
        self._everyone: list[Watcher] = []
        self._awaited: dict[ScanId, anyio.Event] = {}
        self._waits: set[anyio.Event] = set()
        self._left: OrderedDict[ScanId, None] = OrderedDict()
        """Scans of other nodes, which have a later version; the oldest first."""
        self._over: deque[tuple[Milliseconds, ScanId]] = deque()
        """What was seen to have expired, and when; the oldest first."""
        self._closed = False

    async def run(self) -> None:
        """Fold the feed, for ever. A failure here ends the server: to go on without the feed would be to lie."""
        try:
            async with aclosing(self._store.feed()) as feed:  # type: ignore[type-var]  # a generator in every engine
                async for scan_id, seq, entry in feed:
                    self._take(scan_id, seq, entry)
        finally:
            self._closed = True
            for waiting in self._waits:
                waiting.set()

    def _take(self, scan_id: ScanId, seq: int, entry: AnyEntry | None) -> None:
        if entry is None:
            self._leave(scan_id)
            return
        if words := newer(entry):
            logger.warning("%s is left alone: %s", scan_id, words)
            self._leave(scan_id)
            return
        log = self.get(scan_id)
        if log is None and isinstance(entry, Registered):
            log = self._live[scan_id] = ScanLog(entry, epoch_of(self._store.identity, scan_id))
            self._digests[entry.digest] += 1
            self._announce(log)
            if event := self._awaited.pop(scan_id, None):
                event.set()
        elif log is not None and (log.apply(seq, entry) or self._catches_up(log, seq)):
            self._announce(log)

    def _leave(self, scan_id: ScanId) -> None:
        """The scan is other nodes': what this one has of it grows no more, and must not be shown as if it did."""
        self._left[scan_id] = None
        if len(self._left) > MOST_LEFT:
            self._left.popitem(last=False)
        self._finished.pop(scan_id)
        if log := self._live.pop(scan_id, None):
            self._let_go_of(log.folded.registered.digest)
            log.left = True
            for watcher in (*self._watchers.get(scan_id, ()), *self._everyone):
                watcher(log)

    def leaves(self, scan_id: ScanId) -> bool:
        """Whether the scan is other nodes', as a later version of this code has written to it."""
        return scan_id in self._left

    def _catches_up(self, log: ScanLog, seq: int) -> bool:
        """Whether the feed has come to the end of a scan that was fetched before: only now its watchers hear of it."""
        return log.scan_id in self._finished and seq == log.changed

    def _announce(self, log: ScanLog) -> None:
        if log.ended and log.scan_id in self._live:
            del self._live[log.scan_id]
            self._let_go_of(log.folded.registered.digest)
            self._finished.keep(log)
        for watcher in tuple(self._watchers.get(log.scan_id, ())):
            watcher(log)
        for watcher in self._everyone:
            watcher(log)

    def _let_go_of(self, digest: str) -> None:
        self._digests[digest] -= 1
        if not self._digests[digest]:
            del self._digests[digest]

    async def freeze(self, scan_id: ScanId) -> None:
        """The scan is settled: its past may go."""
        log = self._finished.get(scan_id)
        if log is not None and log.ended:
            await frozen(log)
            if scan_id in self._finished:
                self._finished.keep(log)

    def unfinished(self) -> int:
        """How many scans have not ended."""
        return len(self._live)

    def digests(self) -> set[str]:
        """The market data that unfinished scans stand on."""
        return set(self._digests)

    def finished_bytes(self) -> int:
        """What the finished scans that are held weigh."""
        return self._finished.weight

    def live(self) -> list[ScanLog]:
        """The unfinished scans in the order of their registration, which is the order of the feed."""
        return list(self._live.values())

    def get(self, scan_id: ScanId) -> ScanLog | None:
        """The scan's log if it is in memory."""
        return self._live.get(scan_id) or self._finished.get(scan_id)

    async def fetch(self, scan_id: ScanId) -> ScanLog | None:
        """The scan's log, from memory or from the store; None if there is none.

        :raises Damaged: if there is one, and it cannot be read
        :raises NewerError: if a later version has written it
        """
        while (log := self.get(scan_id)) is None:
            if (fetch := self._fetches.get(scan_id)) is not None:  # one reads it for all
                if await fetch.over():
                    return fetch.result()
                continue
            fetch = self._fetches[scan_id] = Fetch()
            try:
                with fetch:
                    fetch.log = await self._read(scan_id)
            finally:
                del self._fetches[scan_id]
            return fetch.log
        self._finished.ask(scan_id)
        return log

    def held(self, scan_id: ScanId) -> ScanLog | None:
        """As `fetch`, of what is in memory, where that says enough."""
        if log := self.get(scan_id):
            self._finished.ask(scan_id)
        return log

    async def _read(self, scan_id: ScanId) -> ScanLog | None:
        history = await self._store.history(scan_id)
        if (log := self.get(scan_id)) or not history:
            return log
        if words := newer(history[0]):
            raise NewerError(words, retry_after=LEFT_SECONDS, scan_id=scan_id)
        log = await refolded(history, epoch_of(self._store.identity, scan_id))
        if there := self.get(scan_id):  # the feed has brought it meanwhile
            return there
        if not log.ended:  # registered a moment ago: the feed brings the log that will go on
            await self._store.barrier()
            if there := self.get(scan_id):
                return there
            if not (history := await self._store.history(scan_id)):  # purged meanwhile
                return None
            log = await refolded(history, epoch_of(self._store.identity, scan_id))
            if not log.ended:
                raise Damaged(
                    "The record of this scan is damaged: it does not say how the scan ended. "
                    "Please initiate a new scan.",
                    scan_id=scan_id,
                )
        self._finished.keep(log, asked=True)
        return log

    async def until_known(self, scan_id: ScanId) -> ScanLog:
        """The log of a scan that is durably registered, as soon as the feed has brought it.

        :raises Restarting: if the feed ends before: the next server knows the scan
        """
        if log := await self.fetch(scan_id):
            return log
        while (log := self.get(scan_id)) is None:
            self._require_feed()
            await self._reached(self._awaited.setdefault(scan_id, anyio.Event()))
        return log

    async def expire_all(self, at: Milliseconds) -> None:
        """Every scan whose time is over by now answers no more, whether it is purged or not."""
        slices = Slices()
        for log in self._finished.due(at):
            self.expire(log)
            self._over.append((at, log.scan_id))
            await slices.turn()
        while self._over and self._over[0][0] <= at - OVER_FOR:
            self.forget(self._over.popleft()[1])
            await slices.turn()
        for _ in self._finished.look():
            await slices.turn()

    def expire(self, log: ScanLog) -> None:
        """The scan's time is over: tell its watchers, once."""
        if not log.expired:
            log.expired = True
            for watcher in tuple(self._watchers.pop(log.scan_id, ())):
                watcher(log)

    def forget(self, scan_id: ScanId) -> None:
        """The scan is purged: let go of its log."""
        if log := self._finished.pop(scan_id):
            self.expire(log)

    @contextmanager
    def watching(self, scan_id: ScanId, watcher: Watcher) -> Iterator[None]:
        """Have `watcher` called after each change of the scan."""
        watchers = self._watchers.setdefault(scan_id, set())
        watchers.add(watcher)
        try:
            yield
        finally:
            watchers.discard(watcher)
            if not watchers:
                self._watchers.pop(scan_id, None)

    @contextmanager
    def watching_all(self, watcher: Watcher) -> Iterator[None]:
        """Have `watcher` called after each change of any scan."""
        self._everyone.append(watcher)
        try:
            yield
        finally:
            self._everyone.remove(watcher)

    async def until(self, scan_id: ScanId, holds: Callable[[ScanLog], bool]) -> None:
        """Wait until the scan's log, which must be in memory, is as `holds` wants it, or has expired, or is left.

        :raises Restarting: if the feed ends before: nothing would change any more
        """
        reached = anyio.Event()

        def is_so(log: ScanLog) -> bool:
            return holds(log) or log.expired or log.left

        def notice(log: ScanLog) -> None:
            if is_so(log):
                reached.set()

        with self.watching(scan_id, notice):
            log = self.get(scan_id)
            if log is None or is_so(log):
                return
            self._require_feed()
            await self._reached(reached)
            if not is_so(log):
                self._require_feed()

    async def _reached(self, event: anyio.Event) -> None:
        """Wait, but not beyond the end of the feed."""
        self._waits.add(event)
        try:
            await event.wait()
        finally:
            self._waits.discard(event)

    def _require_feed(self) -> None:
        if self._closed:
            raise Restarting("The server stops; the scan is kept, and the next one answers", retry_after=2)

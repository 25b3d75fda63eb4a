"""Logs of finished scans in memory, as long as it lasts.

Bounded in bytes. The least recently asked for goes first, and never one that is being asked for: somebody follows it,
or asked a moment ago. Those do not count against the others: one large scan that many poll leaves the others where they
are. One that alone would take a good part of the room is kept only as long as it is asked for.

Nothing here walks over all that is held: there may be tens of thousands, and the loop has others to serve. Where many
have to go at once, as one that comes is large or all were asked for in the same moment, they go some at a time.
"""

import time
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from scanstream.log.scanlog import ScanLog
from scanstream.model import Milliseconds, ScanId

FINISHED_BYTES = 64 * 1024 * 1024
"""Of finished scans that nobody asks for just now: some thousand usual ones."""
ASKED_BYTES = 4 * FINISHED_BYTES
"""Of all finished scans but those that are followed: beyond this also one goes that was asked for a moment ago."""
LARGE = FINISHED_BYTES // 4
"""One above this goes first."""
ASKED_SECONDS = 10.0
"""So long after a question a scan counts as being asked for: pollers come each second, patient ones each five."""
MOST_AT_ONCE = 256
"""So many at most are let go of, or put elsewhere, when one more comes; the rest follows with the next, or with the
look of each second."""
ROOM = 64
"""Where something has to go, a part of the bytes (one in so many) is freed beyond it: not again at the next scan."""


class Held:
    """One log, what it weighs, and when it was asked for last."""

    __slots__ = ("asked", "log", "weight")

    def __init__(self, log: ScanLog, asked: float) -> None:
        self.log = log
        self.asked = asked
        self.weight = log.weight


class Shelf:
    """Some of them, in an order, and what they weigh together."""

    def __init__(self) -> None:
        self._held: OrderedDict[ScanId, Held] = OrderedDict()
        self.weight = 0

    def __contains__(self, scan_id: ScanId) -> bool:
        return scan_id in self._held

    def __iter__(self) -> Iterator[ScanId]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def put(self, held: Held) -> None:
        """At the end."""
        self._held[held.log.scan_id] = held
        self.weight += held.weight

    def take(self, scan_id: ScanId) -> Held | None:
        """This one, if it is here."""
        held = self._held.pop(scan_id, None)
        if held is not None:
            self.weight -= held.weight
        return held

    def first(self) -> Held | None:
        """The one that is here the longest."""
        return next(iter(self._held.values()), None)


class FinishedScans:
    """The finished scans that this node holds."""

    def __init__(self, followed: Callable[[ScanId], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._is_followed = followed
        self._clock = clock
        self._held: OrderedDict[ScanId, Held] = OrderedDict()
        """The least recently asked for first; each is on one of these shelves:"""
        self._asked = Shelf()
        self._followed = Shelf()
        """Those that had to go, but that somebody follows."""
        self._large = Shelf()
        self._loose = Shelf()
        self._expiries: list[tuple[Milliseconds, ScanId]] = []
        """In order: of each that is held, and was not due yet, when its time is over."""

    @property
    def _shelves(self) -> tuple[Shelf, ...]:
        return self._loose, self._asked, self._large, self._followed

    @property
    def weight(self) -> int:
        """Bytes of all."""
        return sum(shelf.weight for shelf in self._shelves)

    def __contains__(self, scan_id: ScanId) -> bool:
        return scan_id in self._held

    def __iter__(self) -> Iterator[ScanLog]:
        return iter([held.log for held in self._held.values()])

    def __len__(self) -> int:
        return len(self._held)

    def get(self, scan_id: ScanId) -> ScanLog | None:
        """The log if it is held."""
        held = self._held.get(scan_id)
        return held.log if held else None

    def ask(self, scan_id: ScanId) -> None:
        """Somebody asks for this scan."""
        if held := self._held.get(scan_id):
            held.asked = self._clock()
            self._held.move_to_end(scan_id)
            self._move(held, self._asked)

    def keep(self, log: ScanLog, *, asked: bool = False) -> None:
        """Hold the log, or weigh it anew, and let go of others if need be."""
        before = self._take(log.scan_id)
        at = self._clock() if asked else before.asked if before else float("-inf")
        held = self._held[log.scan_id] = Held(log, at)
        self._put_away(held)
        if before is None and (expiry := _expiry(log)) is not None:
            insort(self._expiries, expiry)
        for _ in islice(self._make_room(), MOST_AT_ONCE):
            pass

    def pop(self, scan_id: ScanId) -> ScanLog | None:
        """Let go of a log."""
        held = self._forget(scan_id)
        return held.log if held else None

    def look(self) -> Iterator[None]:
        """See anew who is being asked for, and make room; step by step, and whole after each."""
        for scan_id in tuple(self._followed):
            if scan_id in self._followed and not self._is_followed(scan_id):
                self._put_away(self._held[scan_id])
            yield
        yield from self._make_room()

    def due(self, at: Milliseconds) -> Iterator[ScanLog]:
        """Those whose time is over by then, each once; others may come and go meanwhile."""
        while self._expiries and self._expiries[0][0] <= at:
            _, scan_id = self._expiries.pop(0)
            yield self._held[scan_id].log

    def _take(self, scan_id: ScanId) -> Held | None:
        for shelf in self._shelves:
            if shelf.take(scan_id):
                break
        return self._held.pop(scan_id, None)

    def _forget(self, scan_id: ScanId) -> Held | None:
        """Take it away for good."""
        held = self._take(scan_id)
        if held is not None and (expiry := _expiry(held.log)) is not None:
            place = bisect_left(self._expiries, expiry)
            if self._expiries[place : place + 1] == [expiry]:
                del self._expiries[place]
        return held

    def _move(self, held: Held, there: Shelf) -> None:
        for shelf in self._shelves:
            if shelf.take(held.log.scan_id):
                break
        there.put(held)

    def _put_away(self, held: Held) -> None:
        """Onto the shelf where it belongs, unless it is followed: that is seen where it would have to go."""
        if held.asked >= self._clock() - ASKED_SECONDS:
            self._move(held, self._asked)
        else:
            self._move(held, self._large if held.weight > LARGE else self._loose)

    def _make_room(self) -> Iterator[None]:
        since = self._clock() - ASKED_SECONDS
        while (held := self._asked.first()) is not None and held.asked < since:
            self._put_away(held)
            yield
        if self._large.weight + self._loose.weight > FINISHED_BYTES:
            most = FINISHED_BYTES - FINISHED_BYTES // ROOM
            yield from self._let_go((self._large, self._loose), most)
        yield from self._let_go((self._loose, self._large, self._asked), ASKED_BYTES)

    def _let_go(self, shelves: Sequence[Shelf], most: int) -> Iterator[None]:
        """Of those on these shelves, in this order, until they weigh no more than that."""
        for shelf in shelves:
            while len(shelf) and sum(one.weight for one in shelves) > most:
                held = shelf.first()
                assert held is not None
                scan_id = held.log.scan_id
                if self._is_followed(scan_id):
                    self._move(held, self._followed)
                elif scan_id != next(reversed(self._held)):
                    self._forget(scan_id)
                elif len(shelf) > 1:
                    self._move(held, shelf)
                else:  # whoever kept it is about to ask
                    break
                del held  # what is large takes long to free: not together with the next
                yield


def _expiry(log: ScanLog) -> tuple[Milliseconds, ScanId] | None:
    """When its time is over, and whose that is."""
    expires_at = log.folded.expires_at
    return None if expires_at is None else (expires_at, log.scan_id)

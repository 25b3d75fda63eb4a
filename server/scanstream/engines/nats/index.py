"""What a node knows of every scan without its log: who holds a slot, whose it is, when it ends. Kept from the stream.

All nodes read the same messages in the same order, so all of them know the same at the same place.
"""

import heapq
from bisect import bisect_left
from collections.abc import Callable, Iterator
from sys import intern

import msgspec
from msgspec import Struct

from scanstream.engines.nats.names import Names
from scanstream.engines.nats.tail import Message
from scanstream.model import Milliseconds, Principal, ScanId
from scanstream.undecodable import UNDECODABLE

MOST_EXPIRED = 1000
"""Scans that are told at once."""


class Registration(Struct, frozen=True):
    """What the index keeps of a `Registered`."""

    scan_id: ScanId
    principal: Principal


class End(Struct, frozen=True):
    """The body of `.end`."""

    expires_at: Milliseconds


class Scan:
    """One scan, as long as it is not purged. There may be very many."""

    __slots__ = ("earlier", "ended", "expires_at", "last", "number", "principal", "queued", "scan_id", "slot", "token")

    def __init__(self, registration: Registration, slot: str, token: str, number: int, earlier: "Scan | None") -> None:
        self.scan_id = registration.scan_id
        self.principal = Principal(intern(registration.principal))
        self.slot = slot
        """As it stands in subjects; so does `token`, the scan's id."""
        self.token = token
        self.number = number
        """Its registration's place in the stream: the order of scans."""
        self.last = number
        """The place of the last that is known of its log. Of what was there at the start only the ends are known."""
        self.earlier = earlier
        """The registration before it in its slot, if that one is not purged."""
        self.queued = False
        """Whether it has its `go`."""
        self.expires_at: Milliseconds | None = None
        """Until when it answers; None: it is not settled."""


_registration = msgspec.json.Decoder(Registration)
_end = msgspec.json.Decoder(End)


class Index:
    """Every scan that is registered and not purged."""

    def __init__(self, names: Names, damaged: Callable[[str], None]) -> None:
        """`damaged`: called with the subject of a message that cannot be read."""
        self._names = names
        self._damaged = damaged
        self._scans: dict[str, Scan] = {}
        self._slots: dict[str, Scan] = {}
        self._of: dict[Principal, list[Scan]] = {}
        self._ends: list[tuple[Milliseconds, int, str]] = []
        """A heap of the settled: (expires_at, number, token); what has changed since is left in it, and skipped."""

    def take(self, kind: str, slot: str, token: str, message: Message) -> Scan | None:
        """Note a message of a scan; the scan, if there is one, or was one until this message."""
        scan = self._scans.get(token)
        if kind == "reg":
            return scan or self._register(slot, token, message)
        if scan is None:
            return None
        if kind == "gone":
            self._forget(scan)
            return scan
        scan.last = message.seq
        if kind == "go":
            scan.queued = True
        elif kind == "end":
            self._settle(scan, message)
        return scan

    def _register(self, slot: str, token: str, message: Message) -> Scan | None:
        try:
            registration = _registration.decode(message.data)
        except UNDECODABLE:
            self._damaged(message.subject)
            return None
        scan = Scan(registration, slot, token, message.seq, self._slots.get(slot))
        self._scans[token] = self._slots[slot] = scan
        self._of.setdefault(scan.principal, []).append(scan)
        return scan

    def _settle(self, scan: Scan, message: Message) -> None:
        try:
            scan.expires_at = _end.decode(message.data).expires_at
        except UNDECODABLE:
            self._damaged(message.subject)
        else:
            heapq.heappush(self._ends, (scan.expires_at, scan.number, scan.token))

    def _forget(self, scan: Scan) -> None:
        del self._scans[scan.token]
        theirs = self._of[scan.principal]
        del theirs[_place(theirs, scan)]
        if not theirs:
            del self._of[scan.principal]
        later = self._slots[scan.slot]
        if later is scan:
            if scan.earlier is None:
                del self._slots[scan.slot]
            else:
                self._slots[scan.slot] = scan.earlier
            return
        while later.earlier is not scan:
            assert later.earlier is not None
            later = later.earlier
        later.earlier = scan.earlier

    def get(self, token: str) -> Scan | None:
        """The scan, if there is one (any more)."""
        return self._scans.get(token)

    def holder(self, slot: str) -> Scan | None:
        """The last that was registered in this slot, of those that are not purged."""
        return self._slots.get(slot)

    def unfinished(self) -> Iterator[Scan]:
        """The scans that are not settled, in the order of their registration."""
        return (scan for scan in self._scans.values() if scan.expires_at is None)

    def newest(self, principal: Principal, limit: int, before: Scan | None, at: Milliseconds) -> list[ScanId]:
        """See `Store.newest`."""
        theirs = self._of.get(principal, [])
        end = len(theirs) if before is None else _place(theirs, before)
        found: list[ScanId] = []
        while end and len(found) < limit:
            end -= 1
            if (expires_at := theirs[end].expires_at) is None or expires_at > at:
                found.append(theirs[end].scan_id)
        return found

    def expired(self, now: Milliseconds) -> list[ScanId]:
        """See `Store.expired`: the first thousand of them."""
        due: list[tuple[Milliseconds, int, str]] = []
        while self._ends and self._ends[0][0] <= now and len(due) < MOST_EXPIRED:
            one = heapq.heappop(self._ends)
            scan = self._scans.get(one[2])
            if scan is not None and (scan.expires_at, scan.number) == one[:2] and one not in due[-1:]:
                due.append(one)
        for one in due:
            heapq.heappush(self._ends, one)
        return [self._scans[token].scan_id for _, _, token in due]


def _place(theirs: list[Scan], scan: Scan) -> int:
    return bisect_left(theirs, scan.number, key=lambda one: one.number)

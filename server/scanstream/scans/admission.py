"""Who may start one more scan: no limit is overshot, those counted in that are being registered.

Where several nodes register scans, what one of them counts in lacks what the others have under way. There the order of
the logs decides, which is the same for all: each registration that is read is judged by what was read before it, and
whoever has made one beyond a limit takes it back, before anybody has its ack. So no node holds a place for another, and
none is lost with a node that dies. What it had not taken back by then waits until there is a place (`startable`).
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import anyio

from scanstream.errors import RateLimited, ScanstreamError, TooManyScans
from scanstream.log.scanlog import ScanLog
from scanstream.model import Milliseconds, Principal, ScanId
from scanstream.scans.owners import Owners
from scanstream.security.allowance import Allowance, Rate

A_MINUTE = 60.0
RETRY_SECONDS = 5
"""When somebody is to come again who found no place: when one is free nobody knows."""


class Bounds(NamedTuple):
    """How much new work there may be. None: as much as comes."""

    scans: int
    """Under way, over all principals."""
    own: int | None = None
    """Of these of one principal's."""
    a_minute: int | None = None
    """That one principal starts."""
    abreast: int | None = None
    """Registrations of one principal's under way at once: the next wait, and keep nobody else's waiting."""


class Admission:
    """Places for scans that have not ended."""

    def __init__(self, bounds: Bounds, owners: Owners, time: Callable[[], Milliseconds]) -> None:
        """:param owners: has heard of each scan before this does
        :param time: that of the store
        """
        self._bounds = bounds
        self._owners = owners
        self._time = time
        self._started = Allowance[Principal](Rate(bounds.a_minute, A_MINUTE)) if bounds.a_minute else None
        self._turns: dict[Principal, anyio.Semaphore] = {}
        """Of those of whom registrations are under way."""
        self._asking: dict[ScanId, Principal] = {}
        """Scans that may come to be here: a place is held for each."""
        self._askers: Counter[Principal] = Counter()
        """How many of these are whose."""
        self._decided: anyio.Event | None = None
        """Waited for by those who come while the last places are held."""
        self._beyond: dict[ScanId, ScanstreamError] = {}
        """Scans that were registered beyond a limit, here or by another node, and have neither started nor ended."""

    async def enter(self, principal: Principal, scan_id: ScanId) -> ScanstreamError | None:
        """None: there is a place for this scan, held until `leave`, while it is registered. Else why there is none.

        While the last places are held by others it waits until it is known which of them they need: that takes no
        longer than a registration. And it waits for its turn among its principal's own.
        """
        await self._take_turn(principal)
        try:
            refusal = await self._judged(principal)
        except BaseException:
            self._end_turn(principal)
            raise
        if refusal is not None:
            self._end_turn(principal)
        else:
            self._asking[scan_id] = principal
            self._askers[principal] += 1
        return refusal

    async def _take_turn(self, principal: Principal) -> None:
        """Wait behind one's own, where very many of them are under way, and behind nobody else's."""
        if self._bounds.abreast is None:
            return
        turns = self._turns.setdefault(principal, anyio.Semaphore(self._bounds.abreast, fast_acquire=True))
        try:
            await turns.acquire()
        except BaseException:
            self._forget(principal)
            raise

    def _end_turn(self, principal: Principal) -> None:
        if (turns := self._turns.get(principal)) is not None:
            turns.release()
            self._forget(principal)

    def _forget(self, principal: Principal) -> None:
        """Nobody of them is under way, and so nobody waits."""
        if (turns := self._turns.get(principal)) is not None and turns.value == self._bounds.abreast:
            del self._turns[principal]

    async def _judged(self, principal: Principal) -> ScanstreamError | None:
        while self._is_undecided(principal):
            if self._decided is None:
                self._decided = anyio.Event()
            await self._decided.wait()
        there, theirs = len(self._owners), self._owners.unfinished(principal)
        return self._full(there, theirs) or self._too_fast(principal, self._askers[principal])

    def _is_undecided(self, principal: Principal) -> bool:
        """Whether there is no place, and may be one in a moment."""
        scans, own = self._bounds.scans, self._bounds.own
        there, theirs = len(self._owners), self._owners.unfinished(principal)
        if there < scans <= there + len(self._asking):
            return own is None or theirs < own
        return there < scans and own is not None and theirs < own <= theirs + self._askers[principal]

    def _full(self, there: int, theirs: int) -> ScanstreamError | None:
        """Why there may be no other one where there are so many, and so many of the principal's."""
        scans, own = self._bounds.scans, self._bounds.own
        if there >= scans:
            return TooManyScans(f"{scans} scans are under way; try again later", retry_after=RETRY_SECONDS)
        if own is not None and theirs >= own:
            detail = f"{own} scans of yours are under way, and no more may be; wait for one to end, or cancel one"
            return TooManyScans(detail, retry_after=RETRY_SECONDS)
        return None

    def _too_fast(self, principal: Principal, asking: int) -> ScanstreamError | None:
        """Why the principal may start no other one yet, beside those that may come to be in a moment."""
        seconds = 0.0 if self._started is None else self._started.lacks(principal, asking)
        return self._at_most(seconds) if seconds else None

    def _at_most(self, seconds: float) -> ScanstreamError:
        told = f"At most {self._bounds.a_minute} scans a minute may be started; try again later"
        return RateLimited(told, retry_after=seconds)

    def leave(self, principal: Principal, scan_id: ScanId) -> None:
        """It is known whether the scan has come to be."""
        self._end_turn(principal)
        self._asks_no_more(scan_id)
        if self._decided is not None:
            self._decided.set()
            self._decided = None

    def _asks_no_more(self, scan_id: ScanId) -> None:
        principal = self._asking.pop(scan_id, None)
        if principal is not None:
            self._askers[principal] -= 1
            if not self._askers[principal]:
                del self._askers[principal]

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans: judges each as it is registered, wherever that was."""
        if log.over or log.folded.state.phase != "init":
            self._beyond.pop(log.scan_id, None)
        elif log.seq == 1:
            self._asks_no_more(log.scan_id)
            refusal = self._verdict(log.folded.registered.principal, self._time() - log.folded.registered.at)
            if refusal is not None:
                self._beyond[log.scan_id] = refusal

    def _verdict(self, principal: Principal, age: Milliseconds) -> ScanstreamError | None:
        """What is to be said against the registration of theirs that was read just now."""
        full = self._full(len(self._owners) - 1, self._owners.unfinished(principal) - 1)
        if full is not None or self._started is None or age > A_MINUTE * 1000:
            return full
        seconds = self._started.take(principal)
        return self._at_most(seconds) if seconds else None

    def beyond(self, scan_id: ScanId) -> ScanstreamError | None:
        """The limit beyond which this scan was registered, as long as it has neither started nor ended."""
        return self._beyond.get(scan_id)

    def startable(self) -> set[ScanId]:
        """Of the scans that were not released yet those for which there is a place beside all that were.

        Places are given in the order of registration, so all nodes name the same ones. It is all of them, but for what
        nodes have left behind that died.
        """
        unreleased = list(self._owners.unreleased())
        own = Counter(principal for _, principal in unreleased)
        places = self._bounds.scans - len(self._owners) + len(unreleased)
        of_each = {} if self._bounds.own is None else {one: self._own_places(one, own[one]) for one in own}
        found: set[ScanId] = set()
        for scan_id, principal in unreleased:
            if len(found) < places and of_each.get(principal, 1) > 0:
                found.add(scan_id)
                if principal in of_each:
                    of_each[principal] -= 1
        return found

    def _own_places(self, principal: Principal, unreleased: int) -> int:
        """How many of theirs may be released, of so many."""
        return (self._bounds.own or 0) - self._owners.unfinished(principal) + unreleased

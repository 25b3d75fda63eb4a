"""The scans that wait to be let in, where principals take turns: however many one of them has asked for, another's
scan is among the next.

Each principal has one scan in a round, and their own are let in as they came. Somebody who has nothing in the queue,
and had no turn in this round, comes first in the next one, before those who have had theirs; so does everybody else who
comes before that round begins, and nobody who comes later. So a newcomer waits for nobody's queue, and no stream of
newcomers keeps anybody waiting for more than a round.

A place is told at once, however many wait. It gets worse only where somebody comes whose turn is before: each scan has
a slot from the moment it joins, and moves up to that of the one before it when one of its principal's leaves.
"""

from bisect import bisect_left, insort
from typing import NamedTuple

from scanstream.model import Principal, ScanId
from scanstream.scans.queue import Queue


class Slot(NamedTuple):
    """A turn to come: earlier ones are smaller."""

    round: int
    late: bool
    """Whether its principal has had a turn in the round before, or waits for another one."""
    number: int
    """Slots are numbered as they are made."""
    principal: Principal


class _Own:
    """What one principal has in the queue."""

    __slots__ = ("scans", "slots", "turn")

    def __init__(self) -> None:
        self.scans = Queue()
        self.slots: list[Slot] = []
        """As many as there are scans, in order: the first scan has the first."""
        self.turn = -1
        """The round in which one of them was let in last."""


class Rota:
    """The queue."""

    def __init__(self) -> None:
        self._slots: list[Slot] = []
        """All of them, in order."""
        self._own: dict[Principal, _Own] = {}
        self._principals: dict[ScanId, Principal] = {}
        self._round = 0
        """That of the scan that was let in last."""
        self._rested: set[Principal] = set()
        """Those who had a turn in this round and, when they were put here, nothing more in the queue."""
        self._number = 0

    def __contains__(self, scan_id: ScanId) -> bool:
        return scan_id in self._principals

    def __len__(self) -> int:
        return len(self._slots)

    def join(self, scan_id: ScanId, principal: Principal, *, first: bool = False) -> None:
        """Wait.

        :param first: it was let in before, by a server that has ended: it comes before all that were not
        """
        own = self._own.setdefault(principal, _Own())
        slot = Slot(self._round, False, self._number, principal) if first else self._slot(principal, own)
        self._number += 1
        self._principals[scan_id] = principal
        own.scans.join(scan_id)
        insort(own.slots, slot)
        insort(self._slots, slot)

    def _slot(self, principal: Principal, own: _Own | None) -> Slot:
        """Of one more scan."""
        if own is None or not (own.slots or own.turn >= self._round):
            return Slot(self._round + 1, False, self._number, principal)
        last = own.slots[-1].round if own.slots else own.turn
        return Slot(max(last, self._round) + 1, True, self._number, principal)

    def let_in(self) -> ScanId | None:
        """The scan whose turn it is: it waits no more. None: nobody does."""
        if not self._slots:
            return None
        scan_id = self._own[self._slots[0].principal].scans.first()
        self.take(scan_id)
        return scan_id

    def take(self, scan_id: ScanId) -> None:
        """This scan, which waits, was let in now, whoever says so: its principal has had the next of their turns.

        Where it was another's turn, that other is still next, and nobody who comes later waits for longer.
        """
        principal, begins = self._principals[scan_id], self._slots[0].round
        own = self._own[principal]
        self._leave(scan_id, own, 0)
        own.turn = max(begins, self._round)  # before the next round begins, in which those who had none are forgotten
        if begins > self._round:
            self._next_round(begins)
        self._rest(principal, own)

    def leave(self, scan_id: ScanId) -> None:
        """It waits no more, and was not let in: its principal has had no turn. Nothing happens to one that does not."""
        principal = self._principals.get(scan_id)
        if principal is None:
            return
        own = self._own[principal]
        self._leave(scan_id, own, -1)
        self._rest(principal, own)

    def _leave(self, scan_id: ScanId, own: _Own, which: int) -> None:
        """Those behind it move up: the slot that is free is the last one, or the first, which was used."""
        del self._principals[scan_id]
        own.scans.leave(scan_id)
        del self._slots[bisect_left(self._slots, own.slots.pop(which))]

    def _rest(self, principal: Principal, own: _Own) -> None:
        """Who waits for nothing, and has had no turn in this round, is as good as new: nothing is known of them."""
        if own.slots:
            return
        if own.turn < self._round:
            del self._own[principal]
        else:
            self._rested.add(principal)

    def _next_round(self, number: int) -> None:
        self._round = number
        rested, self._rested = self._rested, set()
        for principal in rested:
            if (own := self._own.get(principal)) is not None:
                self._rest(principal, own)

    def rank(self, scan_id: ScanId) -> int | None:
        """1 for the scan that is let in next; None for one that does not wait."""
        principal = self._principals.get(scan_id)
        if principal is None:
            return None
        own = self._own[principal]
        place = own.scans.rank(scan_id)
        assert place is not None
        return bisect_left(self._slots, own.slots[place - 1]) + 1

    def behind(self, principal: Principal) -> int:
        """How many would be let in after a scan of this principal that joined now."""
        return len(self._slots) - bisect_left(self._slots, self._slot(principal, self._own.get(principal)))

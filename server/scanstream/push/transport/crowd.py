"""Who makes room where all places are taken: who was sent away already, else the address with most connections.

Of its connections one goes that it makes no use of, or over which it does not take what it was sent. So nobody keeps
others out with connections alone, however many, and whoever has many may as long as there is room.
"""

from collections import Counter
from enum import Enum
from itertools import islice
from typing import Protocol

from scanstream.errors import Overloaded
from scanstream.security.seats import RETRY_SECONDS

MOST_LOOKED_AT = 64
"""Connections of one address that are looked at for one newcomer; the others are looked at for the next ones."""


class Use(Enum):
    """What is made of a connection; whoever makes the least of one goes first."""

    NONE = "no whole request has come that is still to be answered, or the end was said already"
    PATIENT = "it waits for news only"
    BEHIND = "it has not taken what it was sent"


class Leaver(Protocol):
    """A connection that was told its end, and is still there: the other side has not taken it, or does not go."""

    def cut(self) -> None:
        """Be gone, whatever the other side still has to take."""
        ...


class Guest(Leaver, Protocol):
    """A connection over which requests come."""

    network: str
    """Where it comes from (`network_of`)."""

    def make_room(self, use: Use) -> bool:
        """Go, if no more is made of it than this; whether it does."""
        ...


class Crowd:
    """The connections of each address; those that have become WebSockets have seats, which have bounds of their own."""

    def __init__(self) -> None:
        self._leaving: dict[Leaver, None] = {}
        """They have no seat any more, or never had one; the oldest first."""
        self._of: dict[str, dict[Guest, None]] = {}
        """Of each those first that were not looked at for longest."""
        self._sizes: Counter[int] = Counter()
        """How many addresses have so many."""
        self._most = 0

    def join(self, guest: Guest) -> None:
        """One has come."""
        theirs = self._of.setdefault(guest.network, {})
        theirs[guest] = None
        self._count(len(theirs) - 1, len(theirs))

    def dismiss(self, leaver: Leaver) -> None:
        """It was told its end: from now on it makes room before all others, for anybody."""
        self._leaving[leaver] = None

    def gone(self, leaver: Leaver) -> None:
        """It is. More than once is once."""
        self._leaving.pop(leaver, None)

    def leave(self, guest: Guest) -> None:
        """It is gone, or something else by now. More than once is once."""
        theirs = self._of.get(guest.network, {})
        if guest not in theirs:
            return
        del theirs[guest]
        self._count(len(theirs) + 1, len(theirs))
        if not theirs:
            del self._of[guest.network]

    def _count(self, before: int, after: int) -> None:
        self._sizes[before] -= 1
        self._sizes[after] += 1
        if not self._sizes[before]:
            del self._sizes[before]
        self._most = max(self._most, after)
        if self._most not in self._sizes:  # whoever had most has one less
            self._most -= 1

    def makes_room(self, guest: Guest) -> bool:
        """Whether somebody goes so that this one, who has joined, may stay: who is about to leave in any case, or of
        those who have more than its address.
        """
        for leaver in self._leaving:
            self.gone(leaver)
            leaver.cut()
            return True
        if len(self._of[guest.network]) >= self._most:
            return False
        theirs = next(theirs for theirs in self._of.values() if len(theirs) == self._most)
        looked_at = list(islice(theirs, MOST_LOOKED_AT))
        for one in looked_at:
            theirs[one] = theirs.pop(one)  # behind the others
        goes = next((one for use in Use for one in looked_at if one.make_room(use)), None)
        if goes is not None:
            self.leave(goes)
            self.gone(goes)  # its place is given away by now
        return goes is not None


def full() -> Overloaded:
    """Why somebody is sent away."""
    return Overloaded("As many clients are connected as the server takes; try again later", retry_after=RETRY_SECONDS)

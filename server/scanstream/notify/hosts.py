"""Whose turn it is: so many attempts at once for one host, and principals have theirs in turn.

No attempt waits here: whoever gets no place is put back into the queue, and comes again about when there is one. What
is remembered of them is one claim for each principal and host. A free place is left to whoever is expected and has a
better claim: those who hold the fewest places, and of these who has waited for the longest since their last turn. So
however much one principal has for a host, another's is among the next. A claim of one who does not come lapses.

Over all hosts a principal has a place only while it holds fewer than are free. So there is one for whoever comes, how
many hosts hang; who is alone may have half of all.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scanstream.model import Principal
from scanstream.telling import Telling

AT_ONCE = 2
"""Attempts for one host."""
AT_ONCE_IN_ALL = 32
"""Attempts for all of them."""
FIRST_GUESS_SECONDS = 0.1
"""What an attempt takes, before one was made."""
WEIGHT = 0.3
"""Of the last attempt, in how long they take."""
LONGEST_SECONDS = 600.0
"""What one is put off by at most."""
GRACE_SECONDS = 1.0
"""By so much somebody may come late, as the queue does: then nobody waits for them any longer."""


class Claim:
    """Of one principal, of whose attempts some were put off."""

    __slots__ = ("due", "since", "turn")

    def __init__(self, since: float) -> None:
        self.since = since
        """Since when they wait, or had their last turn."""
        self.due = math.inf
        """When the next of them is expected."""
        self.turn = 0.0
        """When the last one is."""


class Places:
    """Attempts under way, of which so many may be."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._began: list[tuple[Principal, float]] = []
        self.seconds = FIRST_GUESS_SECONDS
        """What one takes, as they did lately."""
        self.claims: dict[Principal, Claim] = {}

    @property
    def free(self) -> int:
        """How many more there may be."""
        return self._at_once - len(self._began)

    def held(self, principal: Principal) -> int:
        """How many of these are theirs."""
        return sum(who == principal for who, _ in self._began)

    def ahead(self, principal: Principal, now: float) -> int:
        """How many principals are expected who have a better claim to a place."""
        own = self.claims.get(principal)
        mine = (self.held(principal), own.since if own else math.inf)
        others = ((who, claim) for who, claim in self.claims.items() if who != principal)
        return sum(now <= claim.due + GRACE_SECONDS and (self.held(who), claim.since) < mine for who, claim in others)

    def put_off(self, principal: Principal, now: float) -> float:
        """Seconds until there may be a place for one more, behind those of this principal that were put off before.

        Each comes back about when there is a place for it: of a thousand none comes again and again in vain. Attempts
        take as long as they did lately, or as those under way have taken by now.
        """
        for who in [who for who, claim in self.claims.items() if claim.turn + GRACE_SECONDS < now]:
            if who != principal:
                del self.claims[who]
        claim = self.claims.setdefault(principal, Claim(now))
        pace = max(self.seconds, now - min((at for _, at in self._began), default=now)) / self._at_once
        step = pace if claim.turn <= now else pace * len(self.claims)
        claim.turn = min(max(claim.turn, now) + step, now + LONGEST_SECONDS)
        if not now < claim.due < claim.turn:
            claim.due = claim.turn
        return claim.turn - now

    def begin(self, principal: Principal, now: float) -> None:
        """An attempt of theirs is made: it is the turn that they had a claim to."""
        self._began.append((principal, now))
        if (claim := self.claims.get(principal)) is None:
            return
        if claim.turn <= now:
            del self.claims[principal]
        else:
            claim.since = now
            claim.due = min(claim.turn, now + self.seconds / self._at_once * len(self.claims))

    def end(self, principal: Principal, began: float, now: float) -> None:
        """It is over."""
        self._began.remove((principal, began))
        self.seconds += WEIGHT * (now - began - self.seconds)


class Host:
    """One receiver, as it is just now."""

    def __init__(self) -> None:
        self.telling = Telling()
        """How often it is told that it fails."""
        self.places = Places(AT_ONCE)


class Hosts:
    """All receivers that were told something; as few as are allowed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: dict[str, Host] = {}
        self._all = Places(AT_ONCE_IN_ALL)

    def of(self, name: str) -> Host:
        """The one of this name."""
        return self._hosts.setdefault(name, Host())

    def wait(self, name: str, principal: Principal) -> float:
        """Seconds by which another attempt for this host is put off; 0 if it can be made now."""
        now, places = self._clock(), self.of(name).places
        if places.free <= places.ahead(principal, now):
            return places.put_off(principal, now)
        if self._all.free <= self._all.held(principal):
            return self._all.put_off(principal, now)
        return 0.0

    @contextmanager
    def busy(self, name: str, principal: Principal) -> Iterator[None]:
        """An attempt for this host is made in here."""
        began, both = self._clock(), (self._all, self.of(name).places)
        for places in both:
            places.begin(principal, began)
        try:
            yield
        finally:
            for places in both:
                places.end(principal, began, self._clock())

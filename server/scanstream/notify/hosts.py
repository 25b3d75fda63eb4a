"""Whose turn it is: so many attempts at once for one host, so that one that hangs holds up nobody else."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scanstream.telling import Telling

AT_ONCE = 2
"""Attempts for one host."""
FIRST_GUESS_SECONDS = 0.1
"""What an attempt takes, before one was made."""
WEIGHT = 0.3
"""Of the last attempt, in how long they take."""
LONGEST_SECONDS = 600.0
"""What one is put off by at most."""


class Host:
    """One receiver, as it is just now."""

    def __init__(self) -> None:
        self.telling = Telling()
        """How often it is told that it fails."""
        self.began: list[float] = []
        """Of the attempts under way."""
        self.seconds = FIRST_GUESS_SECONDS
        self.turn = 0.0
        """When the last of those comes that were put off."""

    def put_off(self, now: float) -> float:
        """Seconds until a place may be free for one more, behind those that were put off before.

        Each comes back about when there is a place for it: of a thousand none comes again and again in vain. Attempts
        take as long as they did lately, or as those under way have taken by now.
        """
        self.turn = max(self.turn, now) + max(self.seconds, now - min(self.began, default=now)) / AT_ONCE
        return min(self.turn - now, LONGEST_SECONDS)


class Hosts:
    """All receivers that were told something; as few as are allowed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: dict[str, Host] = {}

    def of(self, name: str) -> Host:
        """The one of this name."""
        return self._hosts.setdefault(name, Host())

    def wait(self, name: str) -> float:
        """Seconds by which another attempt for this host is put off; 0 if it can be made now."""
        host = self.of(name)
        return 0.0 if len(host.began) < AT_ONCE else host.put_off(self._clock())

    @contextmanager
    def busy(self, name: str) -> Iterator[None]:
        """An attempt for this host is made in here."""
        host, began = self.of(name), self._clock()
        host.began.append(began)
        try:
            yield
        finally:
            host.began.remove(began)
            host.seconds += WEIGHT * (self._clock() - began - host.seconds)

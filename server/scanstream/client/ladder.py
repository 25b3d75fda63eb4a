"""Which transport is used, when it is tried, and when a better one. Pure: the time and chance are handed in, what
happens is told, what to do is read off. tests/vectors/ladder.json holds the rules for this library and the browser's.

Times are seconds on one clock of the caller's. A *rung* is a transport; the first is the best. An *attempt* is one
connection (or one series of requests) over a rung, from `began` to `lost`. Beside the attempt that works there may be
one that tries a better rung: a *climb*.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from scanstream.client.backoff import Pace, pause

Transport: TypeAlias = Literal["websocket", "stream", "longpoll", "poll"]
RUNGS: tuple[Transport, ...] = ("websocket", "stream", "longpoll", "poll")
"""The best first."""
BARREN = 3
"""Attempts in a row without a frame that cost a rung."""
FIRST_CLIMB_SECONDS = 5.0
LONGEST_CLIMB_SECONDS = 60.0

Why: TypeAlias = Literal["refused", "restarting", "dropped", "silent", "no_upgrade"]
"""`refused`: nobody listens; `restarting`: the server said so; `dropped`: any other loss of a connection, also an
answer that is none of ours; `silent`: nothing came for longer than there may be silence; `no_upgrade`: the WebSocket
handshake was answered in HTTP."""


class Due(NamedTuple):
    """An attempt, and when it is to begin."""

    rung: Transport
    at: float


class Ladder:
    """See above.

    :param rungs: the best first
    :param random: from 0 to 1; asked once for each pause
    """

    def __init__(self, random: Callable[[], float], rungs: Sequence[Transport] = RUNGS) -> None:
        self._random = random
        self._rungs = tuple(rungs)
        self._index = 0
        self._failures = 0
        """Losses since the last frame."""
        self._barren = 0
        """Attempts on this rung without a frame, in a row."""
        self._silences = 0
        """Losses by silence on this rung, in a row."""
        self._proven = False
        """Whether this rung has brought a frame since we came to it."""
        self._brought = False
        """Whether the attempt that is under way has."""
        self._interval = FIRST_CLIMB_SECONDS
        self._climbed_at = -math.inf
        self._paces = {rung: Pace() for rung in rungs}
        self.trying: Transport | None = None
        """The rung that a climb is trying now."""
        self.next: Due | None = None
        """The attempt to begin on the rung that is used; None while one is under way."""
        self.climb: Due | None = None
        """The attempt to begin on a better rung; None on the best, and while one is under way."""
        self.attempts = 0
        """Since the last frame."""

    @property
    def rung(self) -> Transport:
        """The rung that is used."""
        return self._rungs[self._index]

    @property
    def is_best(self) -> bool:
        """Whether there is no better one."""
        return self._index == 0

    def start(self, at: float) -> None:
        """A connection is wanted from now on: at first, and after `stop`."""
        self.stop()
        self._failures = 0
        self.next = self._due(self.rung, at)
        if self._index > 0:
            self.climb = self._due(self._rungs[0], at + self._interval)

    def stop(self) -> None:
        """No connection is wanted: what was under way is given up."""
        self.next = self.climb = self.trying = None
        self.attempts = 0

    def began(self, rung: Transport, at: float) -> None:
        """The attempt that was due begins."""
        self._paces[rung].began(at)
        if rung == self.rung:
            self.next = None
            self._brought = False
            self.attempts += 1
        else:
            self.climb = None
            self.trying = rung

    def frame(self, rung: Transport, at: float) -> None:
        """A snapshot, an update or the end came: what brings one is proven."""
        if rung == self.trying:
            self.trying = None
            self._climbed_at = at
            self._stand(self._rungs.index(rung))
            self.next = None
            self.climb = self._due(self._rungs[0], at + FIRST_CLIMB_SECONDS) if self._index > 0 else None
        elif rung != self.rung:
            return
        self._failures = self._barren = self.attempts = 0
        self._proven = self._brought = True

    def lost(self, rung: Transport, why: Why, at: float, retry_after: float = 0.0) -> None:
        """The attempt on this rung is over.

        :param retry_after: seconds that the server asked for
        """
        if rung == self.trying:
            self._climb_failed(rung, why, at)
        elif rung == self.rung:
            self._working_lost(why, at, retry_after)

    def online(self, at: float) -> None:
        """The network is back, or somebody looks: no pause is waited out."""
        self._failures = 0
        if self.next is not None:
            self.next = self._due(self.next.rung, at)
        if self.climb is not None:
            self.climb = self._due(self.climb.rung, at)

    def _climb_failed(self, rung: Transport, why: Why, at: float) -> None:
        self.trying = None
        below = self._rungs.index(rung) + 1
        if why != "refused" and below < self._index:
            self.climb = self._due(self._rungs[below], at)
            return
        self._interval = min(LONGEST_CLIMB_SECONDS, self._interval * 2)
        self.climb = self._due(self._rungs[0], at + self._interval)

    def _working_lost(self, why: Why, at: float, retry_after: float) -> None:
        if self._costs(why) and self._index + 1 < len(self._rungs):
            self._step_down(at)
            self.next = self._due(self.rung, at + retry_after)
            return
        self._failures += 1
        self.next = self._due(self.rung, at + pause(self._failures, self._random, retry_after))

    def _costs(self, why: Why) -> bool:
        """Whether this loss costs the rung."""
        if why in ("refused", "restarting"):
            return False
        if why == "no_upgrade":
            return True
        if not self._brought:
            self._barren += 1
        self._silences = self._silences + 1 if why == "silent" else 0
        return self._barren >= BARREN or (self._silences > 0 and not self._proven) or self._silences > 1

    def _step_down(self, at: float) -> None:
        """The first try to come back is soon, unless the last one was for nothing."""
        in_vain = at - self._climbed_at < LONGEST_CLIMB_SECONDS
        self._interval = min(LONGEST_CLIMB_SECONDS, self._interval * 2) if in_vain else FIRST_CLIMB_SECONDS
        self._climbed_at = -math.inf
        self._stand(self._index + 1)
        self.trying = None
        self.climb = self._due(self._rungs[0], at + self._interval)

    def _stand(self, index: int) -> None:
        self._index = index
        self._barren = self._silences = 0
        self._proven = self._brought = False

    def _due(self, rung: Transport, at: float) -> Due:
        """As soon after `at` as attempts on this rung may follow each other."""
        return Due(rung, self._paces[rung].due(at))

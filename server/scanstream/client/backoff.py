"""How long to wait before trying again: exponential, with full jitter above the shortest pause."""

import math
from collections.abc import Callable

import anyio

SHORTEST_SECONDS = 0.25
LONGEST_SECONDS = 10.0
MOST_DOUBLINGS = 32
THREE_SECONDS = 0.75
"""From the first of three attempts to the third: at most two within 0.5 s where they arrive, though a busy machine or
network brings the first one late."""


def pause(failures: int, random: Callable[[], float], retry_after: float = 0.0) -> float:
    """Seconds.

    :param failures: in a row, this one too: 1 or more
    :param random: from 0 to 1
    :param retry_after: seconds that the server asked for: the pause comes after them, lest all come at once
    """
    ceiling = min(LONGEST_SECONDS, SHORTEST_SECONDS * 2.0 ** min(failures, MOST_DOUBLINGS))
    return retry_after + SHORTEST_SECONDS + random() * (ceiling - SHORTEST_SECONDS)


class Pace:
    """Attempts of one kind, which must stay apart, whoever makes them and whatever becomes of them."""

    def __init__(self) -> None:
        self._last = self._before = -math.inf

    def began(self, at: float) -> None:
        """One is made."""
        self._last, self._before = at, self._last

    def answered(self, at: float) -> None:
        """The last one is over: it has arrived at some time until now, which may be long after it was made."""
        self._last = max(self._last, at)

    def due(self, at: float) -> float:
        """As soon after this time as the next may be made."""
        return max(at, self._last + SHORTEST_SECONDS, self._before + THREE_SECONDS)

    async def turn(self) -> None:
        """Wait until the next may be made; it is made now."""
        at = self.due(anyio.current_time())
        self.began(at)
        await anyio.sleep_until(at)

"""How long to wait before trying again: exponential, with full jitter above the shortest pause."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio

SHORTEST_SECONDS = 0.25
LONGEST_SECONDS = 10.0
MOST_DOUBLINGS = 32
THREE_SECONDS = 0.75
"""From the first of three attempts to the third: at most two within 0.5 s where they arrive, though a busy machine or
network brings the first one late."""

HELD_UP_SECONDS = 2.0
"""Two that nobody waits for may both be on their way for so long, where a machine or a network is busy."""


def pause(failures: int, random: Callable[[], float], retry_after: float = 0.0) -> float:
    """Seconds.

    :param failures: in a row, this one too: 1 or more
    :param random: from 0 to 1
    :param retry_after: seconds that the server asked for: the pause comes after them, lest all come at once
    """
    ceiling = min(LONGEST_SECONDS, SHORTEST_SECONDS * 2.0 ** min(failures, MOST_DOUBLINGS))
    return retry_after + SHORTEST_SECONDS + random() * (ceiling - SHORTEST_SECONDS)


class Turn:
    """One request: when it was made, or, as soon as that is known, by when it has arrived."""

    __slots__ = ("at", "left")

    def __init__(self, at: float) -> None:
        self.at = at
        self.left = False
        """Whether nobody waits for its answer, so that only that of a later one tells when it has arrived."""


class Pace:
    """Attempts of one kind, which must stay apart, whoever makes them and whatever becomes of them."""

    def __init__(self) -> None:
        self._last, self._before = Turn(-math.inf), Turn(-math.inf)

    def began(self, at: float) -> Turn:
        """One is made."""
        self._last, self._before = Turn(at), self._last
        return self._last

    def over(self, turn: Turn, at: float) -> None:
        """This one is: it has arrived at some time until now, which may be long after it was made. So have those before
        it that nobody waits for: they were sent in their order.
        """
        for one in (self._last, self._before):
            if one is turn or (one.left and one.at <= at):
                one.at, one.left = at, False

    @contextmanager
    def under_way(self, turn: Turn) -> Iterator[None]:
        """This one, until it is over, or left."""
        try:
            yield
        except anyio.get_cancelled_exc_class():
            turn.left = True
            raise
        except Exception:
            self.over(turn, anyio.current_time())
            raise
        self.over(turn, anyio.current_time())

    def due(self, at: float) -> float:
        """As soon after this time as the next may be made; later where nothing is known of the last two."""
        unknown = self._last.left and self._before.left
        three = HELD_UP_SECONDS if unknown else THREE_SECONDS
        return max(at, self._last.at + SHORTEST_SECONDS, self._before.at + three)

    async def turn(self) -> Turn:
        """Wait until the next may be made; it is made now."""
        turn = self.began(self.due(anyio.current_time()))
        await anyio.sleep_until(turn.at)
        turn.at = max(turn.at, anyio.current_time())  # later than wished where a machine is busy
        return turn

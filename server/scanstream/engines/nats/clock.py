"""What time it is in a cluster: the stream's time, whatever the nodes' own clocks say.

Each message carries when it was stored, by the clock of whoever led the stream then. It is heard later than that, so
what a node makes of it is at most the time there, and never ahead of it. Hence: what one node takes to be over is over
for every other one that reads on, as its barrier is stored, and stamped, after that.
"""

import logging
import math
from collections.abc import Callable

from scanstream.model import Milliseconds, now, uptime
from scanstream.telling import Telling

DRIFT = 0.0002
"""How much faster a clock that nobody sets may run here than there: twice of what quartz does."""
SAID_BEYOND: Milliseconds = 2_000
"""The log hears of a machine's clock that is wrong by so much."""

logger = logging.getLogger("scanstream")


class StreamClock:
    """The stream's time, as this node can tell it."""

    def __init__(self, elapsed: Callable[[], float] = uptime, wall: Callable[[], Milliseconds] = now) -> None:
        """:param elapsed: seconds, on a clock that nobody sets
        :param wall: this machine's time: taken until anything was heard, and then never again
        """
        self._elapsed = elapsed
        self._wall = wall
        self._ahead = -math.inf
        """By so many milliseconds at least the stream's time was ahead of what has elapsed here …"""
        self._heard = 0.0
        """… when so much had."""
        self._last = -math.inf
        """When the last one was stored of those that are read one behind the other."""
        self._telling = Telling()

    def hear(self, at: Milliseconds) -> None:
        """A message is read that was stored then; how long ago that is nobody knows."""
        elapsed = self._elapsed()
        ahead = at - elapsed * 1000
        if ahead > self._least(elapsed):
            self._ahead, self._heard = ahead, elapsed

    def follow(self, at: Milliseconds) -> None:
        """The message that stands next in the stream was stored then: if that is before the last one, it is said."""
        back = self._last - at
        if back > SAID_BEYOND and self._telling.due():
            logger.warning(
                "the clock of NATS went back by %.0f s: it was set, or another server leads, whose clock is behind; "
                "docs/scaling.md (Clocks) says what that means",
                back / 1000,
            )
        self._last = at

    def now(self) -> Milliseconds:
        """The time there, or a little less; it never goes back."""
        elapsed = self._elapsed()
        least = self._least(elapsed)
        return self._wall() if least == -math.inf else int(elapsed * 1000 + least)

    def _least(self, elapsed: float) -> float:
        return self._ahead - DRIFT * 1000 * (elapsed - self._heard)

    def compare(self) -> None:
        """Say it where this machine's clock is wrong."""
        ahead = self._wall() - self.now()
        if abs(ahead) > SAID_BEYOND:
            words = "ahead of" if ahead > 0 else "behind"
            logger.warning(
                "the clock of this machine is %.0f s %s that of NATS, which is the one that counts",
                abs(ahead) / 1000,
                words,
            )

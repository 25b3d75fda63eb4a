"""How often trouble that goes on is told: at once, and then each time after twice as long, as nobody reads a flood."""

import time

FIRST_SECONDS = 5.0
LONGEST_SECONDS = 300.0
OVER_SECONDS = 60.0
"""Where there was no trouble for so long the next is a new one, and is told at once."""


class Telling:
    """One kind of trouble: ten minutes of it are seven lines in the log, however often it is met."""

    def __init__(self) -> None:
        self._pause = 0.0
        self._told = self._met = float("-inf")

    def due(self) -> bool:
        """Whether it is told now; asked each time that it is met."""
        now = time.monotonic()
        if now - self._met >= OVER_SECONDS:
            self.anew()
        self._met = now
        if now - self._told < self._pause:
            return False
        self._told, self._pause = now, min(max(FIRST_SECONDS, 2 * self._pause), LONGEST_SECONDS)
        return True

    def anew(self) -> None:
        """It was over: the next is told at once."""
        self._pause = 0.0

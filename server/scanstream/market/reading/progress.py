"""Reading takes its time: it says how far it is, and ends at once when it is not wanted any more."""

import logging
import time
from contextlib import suppress

from anyio import from_thread

EVERY_SECONDS = 3.0
"""How often a line says how far it is."""

logger = logging.getLogger("scanstream.market")


class Progress:
    """How far the reading of one market is."""

    def __init__(self, market: str, files: int) -> None:
        self._market = market
        self._files = files
        self._done = 0
        self._bars = 0
        self._started = self._told = time.monotonic()

    def took(self, bars: int) -> None:
        """Bars were read. Raises the cancellation of whoever waits for this thread, if there is one."""
        self._bars += bars
        with suppress(RuntimeError):  # read in a thread that no task waits for
            from_thread.check_cancelled()
        if time.monotonic() - self._told >= EVERY_SECONDS:
            self._told = time.monotonic()
            logger.info("%s: %s", self._market, self._words())

    def finished_file(self) -> None:
        """A file was read to its end."""
        self._done += 1

    def finished(self) -> None:
        """All were. Said only where it took long enough to be told about before."""
        if self._told > self._started:
            seconds = time.monotonic() - self._started
            logger.info("%s: read, %s in %.0f s", self._market, self._words(), seconds)

    def _words(self) -> str:
        return f"{self._done} of {self._files} files, {self._bars:,} bars"

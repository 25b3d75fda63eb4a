"""How many scans may be under way, those counted in that are being registered: so the limit is never overshot."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio


class Admission:
    """Places for scans that have not ended."""

    def __init__(self, unfinished: Callable[[], int], most: int) -> None:
        self._unfinished = unfinished
        self._most = most
        self._asking = 0
        """Who holds a place for a scan that may come to be, and may be counted as unfinished already."""
        self._decided: anyio.Event | None = None
        """Waited for by those who come while the last places are held."""

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[bool]:
        """Whether there is a place for one more scan; if so it is held in here, where the scan is to be registered.

        While the last places are held by others it waits until it is known which of them they need: that takes no
        longer than a registration.
        """
        while self._unfinished() < self._most <= self._unfinished() + self._asking:
            if self._decided is None:
                self._decided = anyio.Event()
            await self._decided.wait()
        if self._unfinished() >= self._most:
            yield False
            return
        self._asking += 1
        try:
            yield True
        finally:
            self._asking -= 1
            if self._decided is not None:
                self._decided.set()
                self._decided = None

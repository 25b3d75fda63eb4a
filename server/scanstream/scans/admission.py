"""How many scans may be under way, those counted in that are being registered: so the limit is never overshot."""

from collections.abc import Callable

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

    async def enter(self) -> bool:
        """Whether there is a place for one more scan; if so it is held until `leave`, while it is registered.

        While the last places are held by others it waits until it is known which of them they need: that takes no
        longer than a registration.
        """
        while self._unfinished() < self._most <= self._unfinished() + self._asking:
            if self._decided is None:
                self._decided = anyio.Event()
            await self._decided.wait()
        if self._unfinished() >= self._most:
            return False
        self._asking += 1
        return True

    def leave(self) -> None:
        """It is known whether the scan has come to be: then it is counted as unfinished."""
        self._asking -= 1
        if self._decided is not None:
            self._decided.set()
            self._decided = None

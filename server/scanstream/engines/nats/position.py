"""How far a reader of the stream has come, and those who wait for it to come further."""

import asyncio
import heapq
from itertools import count


class Position:
    """A place in the stream that only goes on."""

    def __init__(self, seq: int = 0) -> None:
        self.seq = seq
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self._expected = seq
        self._closed = False

    def advance(self, seq: int) -> None:
        """The reader has had all up to here."""
        self.seq = max(self.seq, seq)
        while self._waiting and self._waiting[0][0] <= self.seq:
            _, _, reached = heapq.heappop(self._waiting)
            if not reached.done():  # who was cancelled has gone already
                reached.set_result(None)

    def expect(self, seq: int) -> None:
        """The stream goes on up to here for certain."""
        self._expected = max(self._expected, seq)

    def awaited(self) -> bool:
        """Whether there is more to come for certain."""
        return self._expected > self.seq

    def close(self) -> None:
        """The reader goes no further; nobody waits for it any more."""
        self._closed = True
        for _, _, reached in self._waiting:
            if not reached.done():
                reached.set_result(None)
        self._waiting.clear()

    async def reach(self, seq: int, seconds: float | None = None) -> None:
        """Return when the reader has had what stands at this place, or goes no further.

        :raises TimeoutError: if that takes longer than `seconds`
        """
        if self.seq >= seq or self._closed:
            return
        self.expect(seq)
        loop = asyncio.get_running_loop()
        reached: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._waiting, (seq, next(self._order), reached))
        late = None if seconds is None else loop.call_later(seconds, _late, reached)  # cheaper than a cancel scope
        try:
            await reached
        finally:
            if late is not None:
                late.cancel()


def _late(reached: asyncio.Future[None]) -> None:
    if not reached.done():
        reached.set_exception(TimeoutError())

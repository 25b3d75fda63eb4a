"""The way out: before a restart everybody who listens is told, and leaves with a cursor to come back with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio


class Drain:
    """Who is connected, and whether it is time to go."""

    def __init__(self) -> None:
        self.begun = False
        self._attending: set[Callable[[], None]] = set()
        self._empty = anyio.Event()

    @contextmanager
    def attending(self, wake: Callable[[], None]) -> Iterator[None]:
        """A connection: `wake` is called when it is to end."""
        self._attending.add(wake)
        if self.begun:
            wake()
        try:
            yield
        finally:
            self._attending.discard(wake)
            if not self._attending:
                self._empty.set()

    async def run(self, seconds: float) -> None:
        """Tell everybody, and give them so long to leave."""
        self.begun = True
        self._empty = anyio.Event()
        for wake in tuple(self._attending):
            wake()
        if self._attending:
            with anyio.move_on_after(seconds):
                await self._empty.wait()

    def __len__(self) -> int:
        """How many are connected."""
        return len(self._attending)

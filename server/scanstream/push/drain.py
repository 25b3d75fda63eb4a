"""The way out: before a restart everybody who listens is told, and leaves with a cursor to come back with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

from scanstream.log.refold import Slices
from scanstream.push.transport.ready_made import EXTENSION


class DrainRule:
    """ASGI middleware: the last requests are ended with the server, without a word in its log."""

    def __init__(self, app: ASGIApp, drain: "Drain") -> None:
        self.inner = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, until it is cut; a WebSocket that takes ready-made frames is only let in here."""
        if scope["type"] == "websocket" and EXTENSION in scope.get("extensions", ()):
            await self.inner(scope, receive, send)
            return
        with self._drain.severable():
            await self.inner(scope, receive, send)


class Drain:
    """Who is connected, and whether it is time to go."""

    def __init__(self) -> None:
        self.begun = False
        self._attending: set[Callable[[], None]] = set()
        self._empty = anyio.Event()
        self._under_way: set[anyio.CancelScope] = set()

    @contextmanager
    def attending(self, wake: Callable[[], None]) -> Iterator[None]:
        """A connection, as long as the block lasts: see `attend`."""
        self.attend(wake)
        try:
            yield
        finally:
            self.depart(wake)

    def attend(self, wake: Callable[[], None]) -> None:
        """A connection: `wake` is called when it is to end; now, if that is so already."""
        self._attending.add(wake)
        if self.begun:
            wake()

    def depart(self, wake: Callable[[], None]) -> None:
        """It has ended."""
        self._attending.discard(wake)
        if not self._attending:
            self._empty.set()

    @contextmanager
    def severable(self) -> Iterator[None]:
        """A request, which `cut` can end."""
        with anyio.CancelScope() as scope:
            self._under_way.add(scope)
            try:
                yield
            finally:
                self._under_way.discard(scope)

    async def run(self) -> None:
        """Tell everybody, and wait until all have left: as long as the caller likes."""
        self.begun = True
        self._empty = anyio.Event()
        slices, attending = Slices(), list(self._attending)
        while attending:  # let go of one after the other: all at once takes as long as to make them
            wake = attending.pop()
            if wake in self._attending:
                wake()
            await slices.turn()
        if self._attending:
            await self._empty.wait()

    async def cut(self) -> None:
        """End what is still under way; nobody is there any more to be answered."""
        slices, under_way = Slices(), list(self._under_way)
        while under_way:
            under_way.pop().cancel()
            await slices.turn()

    def __len__(self) -> int:
        """How many are connected."""
        return len(self._attending)

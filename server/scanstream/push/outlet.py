"""Outlets: where a connection's messages leave. Whoever pushes looks whether one is ready, puts, and never waits.

What a reader has not been sent while its outlet was not ready is conflated: that is the whole of backpressure here. The
plain outlet works on any ASGI server; the fast one (push/transport/ready_made.py) wants one that takes ready-made
frames.
"""

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from starlette.types import Send
from starlette.websockets import WebSocketDisconnect

from scanstream.push.outgoing import Outgoing

GONE = (WebSocketDisconnect, OSError, RuntimeError)
"""How ASGI servers say that the other side has left; a RuntimeError where a close was sent before."""

Start = Callable[[Callable[[], Coroutine[Any, Any, None]]], object]
"""Have something run in a task of its own."""


class OutletClosed(Exception):
    """The other side is gone; there is nobody to tell."""


def nothing() -> None:
    """Nobody pushes."""


class Outlet:
    """Takes messages in order, while it is ready."""

    __slots__ = ("_awaited", "closed", "drained", "ready")

    def __init__(self) -> None:
        self.ready = True
        """Whether more is taken now. What is put while it is not is taken, too, and kept."""
        self.closed = False
        """Whether nobody is there any more; then it is never ready."""
        self.drained: Callable[[], None] = nothing
        """Called when it is ready again, unless somebody waits for that."""
        self._awaited: anyio.Event | None = None

    def put(self, message: Outgoing) -> None:
        """One more message; it leaves with the next `flush`, if not before."""
        raise NotImplementedError

    def flush(self) -> None:
        """Hand to the transport what was put, at once and together."""
        raise NotImplementedError

    def push(self, message: Outgoing) -> None:
        """Put one that nothing comes behind in this turn, and hand it over."""
        self.put(message)
        self.flush()

    async def clear(self) -> None:
        """Wait until it is ready: as long as the reader is there. How long one may take no byte the transport judges.

        :raises OutletClosed: if the other side is gone
        """
        while not self.ready:
            if self.closed:
                raise OutletClosed
            if self._awaited is None:
                self._awaited = anyio.Event()
            await self._awaited.wait()

    async def handed(self) -> None:
        """Wait until what was flushed is with the transport.

        :raises OutletClosed: if the other side is gone
        """

    def shut(self) -> None:
        """The other side is gone, or is told that it is to go: nothing more is taken."""
        self.ready, self.closed = False, True
        self._tell()

    def _resume(self) -> None:
        """What was put is with the transport."""
        if self.closed:
            return
        self.ready = True
        if self._awaited is None:
            self.drained()
        self._tell()

    def _tell(self) -> None:
        if self._awaited is not None:
            self._awaited.set()
            self._awaited = None


NOWHERE = Outlet()
"""The outlet of those who have left."""
NOWHERE.shut()


class PlainOutlet(Outlet):
    """`await send(…)` of ASGI, in a task for as long as it takes."""

    __slots__ = ("_messages", "_send", "_start")

    def __init__(self, send: Send, start: Start) -> None:
        super().__init__()
        self._send = send
        self._start = start
        self._messages: list[Outgoing] = []
        """Few: nothing is put before those are sent, but what belongs together."""

    def put(self, message: Outgoing) -> None:
        """See `Outlet.put`."""
        if not self.closed:
            self._messages.append(message)

    def flush(self) -> None:
        """See `Outlet.flush`."""
        if self.ready and self._messages:
            self.ready = False
            self._start(self._send_all)

    async def handed(self) -> None:
        """See `Outlet.handed`."""
        await self.clear()

    async def _send_all(self) -> None:
        try:
            while self._messages:
                message = self._messages[0]
                await self._send({"type": "websocket.send", "text" if message.text else "bytes": message.payload})
                del self._messages[0]
        except GONE:
            self._messages.clear()
            self.shut()
        else:
            self._resume()

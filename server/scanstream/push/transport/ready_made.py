"""The fast outlet: ready-made frames go to the transport as they are, of one connection together.

`scanstream serve` offers it to the application through the ASGI scope, under `EXTENSION`; so does any other uvicorn
that was told `ws=WebSocketTransport` (docs/operations.md). Nothing of a reader waits here: no task, lock, event, timer
or queue. Once the application lets the next event come to a callback, it may return: the connection stays.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn._types import ASGIReceiveEvent

from scanstream.push.outgoing import Outgoing
from scanstream.push.outlet import Outlet
from scanstream.push.transport.bounds import HIGH_WATER_BYTES

EXTENSION = "scanstream.ready_made"
"""In the scope's `extensions`: the connection's `ReadyMadeOutlet`."""

Taker = Callable[[ASGIReceiveEvent], None]


class ReadyMadeOutlet(Outlet):
    """Writes frames to one connection's transport, which tells when it is full and when it has drained."""

    __slots__ = ("_box", "_transport", "then")

    def __init__(self, transport: asyncio.Transport, then: Callable[[Taker], None]) -> None:
        super().__init__()
        self._transport = transport
        self._box = b""
        self.then = then
        """Have the next event of the connection handed to a taker, once; now, if it is there already."""

    def put(self, message: Outgoing) -> None:
        """See `Outlet.put`."""
        self._box = self._box + message.frame if self._box else message.frame
        if len(self._box) > HIGH_WATER_BYTES:
            self.flush()

    def flush(self) -> None:
        """See `Outlet.flush`."""
        box = self._box
        if box:
            self._box = b""
            if not self.closed:
                self._transport.write(box)

    def push(self, message: Outgoing) -> None:
        """See `Outlet.push`."""
        if self._box:
            self.put(message)
            self.flush()
        elif not self.closed:
            self._transport.write(message.frame)

    def pause(self) -> None:
        """The transport is full."""
        self.ready = False

    def resume(self) -> None:
        """The transport has drained."""
        self._resume()

    def forget(self) -> None:
        """The connection is gone; what leads to it would keep it alive in a circle."""
        self._box = b""
        del self._transport, self.then


class Inbox:
    """The events of one connection that nobody has taken up yet, in place of a queue: few, as no more is read then.

    uvicorn puts every event into it; they go to whoever waits in `get`, or to the taker that was named by `then`.
    """

    __slots__ = ("_events", "_taker", "_waiting", "calls")

    def __init__(self) -> None:
        self._events: tuple[ASGIReceiveEvent, ...] = ()
        self._waiting: asyncio.Future[None] | None = None
        self._taker: Taker | None = None
        self.calls = False
        """Whether somebody is called with the events, and so needs no task to wait for them."""

    def put_nowait(self, event: ASGIReceiveEvent) -> None:
        """One more event."""
        if self._taker is not None:
            taker, self._taker = self._taker, None
            taker(event)
            return
        self._events = (*self._events, event)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def empty(self) -> bool:
        """Whether nothing waits to be taken up."""
        return not self._events

    async def get(self) -> ASGIReceiveEvent:
        """The next event, as soon as there is one."""
        while not self._events:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        return self._pop()

    def then(self, taker: Taker) -> None:
        """Have the next event handed to `taker`: now, if it is there already."""
        self.calls = True
        if self._events:
            taker(self._pop())
        else:
            self._taker = taker

    def _pop(self) -> ASGIReceiveEvent:
        first, *rest = self._events
        self._events = tuple(rest)
        return first


class Gate:
    """Open or closed, in place of an `asyncio.Event` that hardly anybody ever waits for."""

    __slots__ = ("_event", "_open")

    def __init__(self) -> None:
        self._open = False
        self._event: asyncio.Event | None = None

    def is_set(self) -> bool:
        """Whether it is open."""
        return self._open

    def set(self) -> None:
        """Open it."""
        self._open = True
        if self._event is not None:
            self._event.set()
            self._event = None

    def clear(self) -> None:
        """Close it."""
        self._open = False

    async def wait(self) -> Any:
        """Wait until it is open."""
        while not self._open:
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()

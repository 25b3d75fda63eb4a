"""Outlets: where a connection's messages leave. The plain one works on any ASGI server.

A message is sent when the transport has taken it. A transport that is full makes the sender wait, and what the reader
has not been sent by then is conflated: that is the whole of backpressure here.
"""

from typing import Protocol

import anyio
from starlette.types import Send
from starlette.websockets import WebSocketDisconnect

from scanstream.push.codec import Payload

ABORT_EXTENSION = "scanstream.expel"
"""ASGI extension of push/transport.py: close a connection that takes no bytes."""


GONE = (WebSocketDisconnect, OSError, RuntimeError)
"""How ASGI servers say that the other side has left; a RuntimeError where a close was sent before."""


class OutletClosed(Exception):
    """The other side is gone; there is nobody to tell."""


class Stalled(Exception):
    """The reader took no byte for as long as it may."""


class Outlet(Protocol):
    """Takes messages in order."""

    lock: anyio.Lock
    """Held by whoever decides what comes next until it is sent."""

    async def send(self, *messages: Payload) -> None:
        """Hand the messages to the transport, together and in this order. The caller holds `lock`.

        :raises OutletClosed: if the other side is gone
        :raises Stalled: if it takes nothing
        """
        ...


class PlainOutlet:
    """`await send(…)` of ASGI."""

    def __init__(self, send: Send, *, stall_seconds: float) -> None:
        self._send = send
        self._stall_seconds = stall_seconds
        self.lock = anyio.Lock()

    async def send(self, *messages: Payload) -> None:
        """See `Outlet.send`."""
        for message in messages:
            field = "text" if isinstance(message, str) else "bytes"
            with anyio.move_on_after(self._stall_seconds) as patience:
                try:
                    await self._send({"type": "websocket.send", field: message})
                except GONE as error:
                    raise OutletClosed from error
            if patience.cancelled_caught:
                raise Stalled

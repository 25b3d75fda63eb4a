"""Outlets: where a connection's messages leave. The plain one works on any ASGI server.

A message is sent when the transport has taken it. A transport that is full makes the sender wait, and what the reader
has not been sent by then is conflated: that is the whole of backpressure here.
"""

from typing import Protocol

import anyio
from starlette.types import Send
from starlette.websockets import WebSocketDisconnect

from scanstream.push.codec import Payload

GONE = (WebSocketDisconnect, OSError, RuntimeError)
"""How ASGI servers say that the other side has left; a RuntimeError where a close was sent before."""


class OutletClosed(Exception):
    """The other side is gone; there is nobody to tell."""


class Outlet(Protocol):
    """Takes messages in order."""

    lock: anyio.Lock
    """Held by whoever decides what comes next until it is sent."""

    async def send(self, *messages: Payload) -> None:
        """Hand the messages to the transport, together and in this order. The caller holds `lock`.

        :raises OutletClosed: if the other side is gone
        """
        ...


class PlainOutlet:
    """`await send(…)` of ASGI. It may wait as long as the reader is there: how long one may take no byte is judged by
    the transport, which sees the bytes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.lock = anyio.Lock()

    async def send(self, *messages: Payload) -> None:
        """See `Outlet.send`."""
        for message in messages:
            field = "text" if isinstance(message, str) else "bytes"
            try:
                await self._send({"type": "websocket.send", field: message})
            except GONE as error:
                raise OutletClosed from error

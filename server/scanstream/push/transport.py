"""What uvicorn's transports lack: a way to be rid of a reader that takes no bytes.

ASGI can only send a close frame after everything that is queued before it, which such a reader never takes. Passed
to uvicorn as its `ws` and `http` classes; relies on the range of uvicorn that pyproject.toml pins
(tests/push/test_transport.py).
"""

import socket

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.http11 import Request

from scanstream.push.outlet import ABORT_EXTENSION

SEND_BUFFER_BYTES = 64 * 1024
"""SO_SNDBUF: the kernel's buffer is the hidden queue; at 64 KiB a slow client catches up in a tenth of the time."""


class WebSocketTransport(WebSocketsSansIOProtocol):
    """uvicorn's own, with one ASGI extension: `expel(code, reason)`."""

    def handle_connect(self, event: Request) -> None:
        """Offer the extension in the scope of the connection."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["extensions"][ABORT_EXTENSION] = {"expel": self.expel}

    async def send(self, message: ASGISendEvent) -> None:
        """As uvicorn sends it; a handshake that is refused with a body is complete, too, and no error."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True

    def expel(self, code: int, reason: str) -> None:
        """Queue a close frame behind what is queued, and cut the connection where it is not taken in time."""
        if self.close_sent or self.transport.is_closing():
            return
        try:
            self.conn.send_close(code, reason)
        except InvalidState:
            return
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)


class HttpTransport(HttpToolsProtocol):
    """uvicorn's own, with the same extension."""

    def on_headers_complete(self) -> None:
        """Offer the extension in the scope of the request, before the application sees it."""
        self.scope["extensions"] = {ABORT_EXTENSION: {"expel": self.expel}}
        super().on_headers_complete()

    def expel(self, _code: int, _reason: str) -> None:
        """Cut the connection: HTTP has no word for it."""
        self.transport.abort()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket whose connections have a small send buffer.

    :raises OSError: if the address is in use or not ours
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048, reuse_port=False)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return listener

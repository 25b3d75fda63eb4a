"""WebSockets as uvicorn serves them, within bounds: what it lacks is backpressure for all that is no message.

Bytes are given to the parser in slices, and none while the application has a message to take up or the client its
answers: pings are answered with pongs, so a client that floods and never reads would grow the buffer without end.
Relies on the range of uvicorn that pyproject.toml pins (tests/push/test_transport.py).
"""

import logging
from typing import Any

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Response
from websockets.server import ServerProtocol

from scanstream.errors import Forbidden, Internal, MalformedRequest, MethodNotAllowed, UpgradeRequired
from scanstream.push.problem import problem
from scanstream.push.transport.bounds import HIGH_WATER_BYTES, SLICE_BYTES, patience_of
from scanstream.push.transport.outflow import MOST_HELD_BYTES, Outflow

SLOWEST_BYTES_A_SECOND = 2000
"""A pong comes behind what was sent before its ping: who reads has the time to read that, no faster than this."""


class Handshake(ServerProtocol):
    """websockets' own, whose refusals are problems."""

    def reject(self, status: Any, text: str) -> Response:
        """See `ServerProtocol.reject`."""
        response = super().reject(status, text)
        kind = {403: Forbidden, 405: MethodNotAllowed, 426: UpgradeRequired}.get(
            response.status_code, Internal if response.status_code >= 500 else MalformedRequest
        )
        told = problem(kind(text.strip() or response.reason_phrase))
        response.body = bytes(told.body)
        for name, value in told.headers.items():
            if name in response.headers:
                del response.headers[name]
            response.headers[name] = value
        response.headers["Sec-WebSocket-Version"] = "13"  # RFC 6455, section 4.4
        return response


class WebSocketTransport(WebSocketsSansIOProtocol):
    """uvicorn's protocol of one WebSocket."""

    rests_until = 0.0
    """Until then (on the loop's clock) there is no need to look at it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._patience = patience_of(self.config)
        self.conn = Handshake(max_size=self.config.ws_max_size, logger=logging.getLogger("uvicorn.error"))
        self._unread = bytearray()
        self._fragments = bytearray()
        self._held = False
        self._heard = 0
        """What the reader's side had acknowledged when its last pong came."""

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol.connection_made`."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.outflow = Outflow(transport, self.loop.time())
        self._heard = self.outflow.acknowledged()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was not taken up."""
        self._unread.clear()
        super().connection_lost(exc)

    # What comes in

    def data_received(self, data: bytes) -> None:
        """Take bytes: into the parser, or to be kept until it is their turn."""
        self._unread += data
        self._feed()

    def _feed(self) -> None:
        while self._unread and not self._busy and not self.transport.is_closing():
            piece = bytes(self._unread[:SLICE_BYTES])
            del self._unread[:SLICE_BYTES]
            super().data_received(piece)
        self._hold(bool(self._unread))

    @property
    def _busy(self) -> bool:
        """Whether the client has to wait: it has answers to take, or the application a message to take up."""
        if self.handshake_initiated and not self.handshake_complete:
            return True
        return not self.writable.is_set() or (not self.close_sent and not self.queue.empty())

    def _hold(self, held: bool) -> None:
        if self.transport.is_closing():
            self._unread.clear()
        elif held != self._held:
            self._held, self.rests_until = held, 0.0
            (self.transport.pause_reading if held else self.transport.resume_reading)()

    def handle_cont(self, event: Frame) -> None:
        """A fragment joins those before it: a list of them would grow with their number, however small they are."""
        if self.frames:
            self._fragments[:] = self.frames.pop()
        self._fragments += event.data
        if event.fin:
            self.frames = [bytes(self._fragments)]
            self._fragments.clear()
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        """A whole message; text that is none ends the connection, without a traceback."""
        data = bytes(self.frames.pop())
        if self.close_sent:
            return
        if self.curr_msg_data_type == "bytes":
            self.queue.put_nowait({"type": "websocket.receive", "bytes": data})
            return
        try:
            self.queue.put_nowait({"type": "websocket.receive", "text": data.decode()})
        except UnicodeDecodeError:
            self.conn.send_close(1007, "a text frame that is not UTF-8")
            self.handle_parser_exception()

    async def receive(self) -> ASGIReceiveEvent:
        """The next message; once the last one is taken up, more are read."""
        message = await self.queue.get()
        self._feed()
        return message

    def resume_writing(self) -> None:
        """The client has taken its answers: it may go on."""
        super().resume_writing()
        self._feed()

    async def send(self, message: ASGISendEvent) -> None:
        """As uvicorn sends it; a handshake that is refused with a body is complete, too, and no error."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True
        if message["type"] != "websocket.send":
            self._feed()

    # The end

    def handle_pong(self, event: Frame) -> None:
        """A sign of life."""
        self._heard = self.outflow.acknowledged()
        super().handle_pong(event)

    def keepalive_timeout(self) -> None:
        """No pong in time: a reader who still has bytes to take, or may have them in its system, has longer."""
        now = self.loop.time()
        self.outflow.see(now)
        behind = min(max(self.outflow.acknowledged() - self._heard, 0), MOST_HELD_BYTES)
        allowed = self.ping_timeout or 0
        if not self.outflow.exact:
            allowed += behind / SLOWEST_BYTES_A_SECOND
        if not self.outflow.empty() or now - max(self.ping_sent_at, self.outflow.read_at) < allowed:
            self.pong_timer = self.loop.call_later(self._patience.sweep, self.keepalive_timeout)
        else:
            super().keepalive_timeout()

    def look(self, now: float) -> None:
        """Called every now and then: be rid of a client that takes nothing, or has left."""
        self.outflow.look(now)
        idle = self.outflow.idle_seconds(now)
        if idle >= self._patience.stall and idle >= self.outflow.patience(self._patience.stall, flooding=self._held):
            self.expel(1013, "no byte taken; reconnect with your cursors")
        elif self._held:
            if self.outflow.other_side_left():
                self.outflow.cut()
        elif self.outflow.clear:
            self.rests_until = now + self._patience.rest

    def expel(self, code: int, reason: str) -> None:
        """Queue a close frame behind what is queued; at the next look, where it was not taken, cut the connection."""
        if self.close_sent or self.transport.is_closing() or not self.handshake_complete:
            self.outflow.cut()
            return
        try:
            self.conn.send_close(code, reason)
        except InvalidState:
            self.outflow.cut()
            return
        self.stop_keepalive()
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.close_timer = self.loop.call_later(self.close_timeout, self.outflow.cut)

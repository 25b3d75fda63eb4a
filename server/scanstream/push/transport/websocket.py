"""WebSockets as uvicorn serves them, within bounds: what it lacks is backpressure for all that is no message.

Bytes are given to the parser in slices, and none while the application has a message to take up or the client its
answers: pings are answered with pongs, so a client that floods and never reads would grow the buffer without end. The
application may push ready-made frames (push/transport/ready_made.py), and then return: an idle connection needs no
task. Relies on the range of uvicorn that pyproject.toml pins (tests/push/test_transport.py).
"""

import logging
import random
from collections.abc import Iterable
from typing import Any

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request

from scanstream.errors import InvalidMessage, RequestTimeout, TooLarge
from scanstream.push.confined import confined
from scanstream.push.refused import hung_up
from scanstream.push.transport.bounds import HIGH_WATER_BYTES, SLICE_BYTES, crowd_of, is_strict_here, patience_of
from scanstream.push.transport.handshake import Handshake
from scanstream.push.transport.outflow import MOST_HELD_BYTES, Outflow
from scanstream.push.transport.partial import Partial
from scanstream.push.transport.ready_made import EXTENSION, Gate, Inbox, ReadyMadeOutlet, Taker

SLOWEST_BYTES_A_SECOND = 2000
"""A pong comes behind what was sent before its ping: who reads has the time to read that, no faster than this."""


logger = logging.getLogger("uvicorn.error.websocket")
"""uvicorn tells there of each handshake with its whole address, and websockets with its headers: a token may be in
either. So nothing below a warning is."""
logger.setLevel(logging.WARNING)


class WebSocketTransport(WebSocketsSansIOProtocol):
    """uvicorn's protocol of one WebSocket."""

    rests_until = 0.0
    """Until then (on the loop's clock) there is no need to look at it."""
    outlet: ReadyMadeOutlet
    _close_sent = False

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = logger
        self._patience = patience_of(self.config)
        self.conn.parser.close()  # a generator, which leads back to it: a circle that nothing else would break
        self.conn = Handshake(
            extensions=self.conn.available_extensions, max_size=self.config.ws_max_size, logger=logger
        )
        self.queue = Inbox()  # type: ignore[assignment]  # has what uvicorn asks of a queue
        self.writable = Gate()  # type: ignore[assignment]  # and of an event
        self.writable.set()
        self._unread = bytearray()
        self._fragments: bytearray | None = None
        self._held = False
        self._heard = 0
        """What the reader's side had acknowledged when its last pong came."""
        self._ping_at = float("inf")
        self._partial = Partial()

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol.connection_made`."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.outflow = Outflow(transport, self.loop.time())
        self.outlet = ReadyMadeOutlet(transport, self.then)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was not taken up, and whatever would keep this alive in a circle."""
        self._unread.clear()
        self.outlet.shut()
        crowd_of(self.config).gone(self)
        super().connection_lost(exc)
        self.conn.parser.close()
        self.conn.parser_exc = None  # its traceback leads back here, too
        self.outlet.forget()

    @property
    def close_sent(self) -> bool:
        """Whether this side has said that it is to end: on whatever way, nothing is pushed after that."""
        return self._close_sent

    @close_sent.setter
    def close_sent(self, sent: bool) -> None:
        self._close_sent = sent
        if sent:
            self._end()

    # The handshake

    def begin(self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the request that asks for a WebSocket, as it was parsed; what comes next goes to `data_received`."""
        self.conn.strict = is_strict_here(self.config, headers)  # type: ignore[attr-defined]
        named = Headers()
        for name, value in headers:
            named[name.decode("latin-1")] = value.decode("latin-1")
        self.conn.skip_request()  # type: ignore[attr-defined]
        self.handle_connect(Request(target.decode("ascii"), named, method))

    def handle_connect(self, event: Request) -> None:
        """Offer ready-made frames, unless they would have to be compressed for this one."""
        super().handle_connect(event)
        if self.response.status_code == 101 and not self.conn.extensions:
            self.scope["extensions"][EXTENSION] = self.outlet  # type: ignore[assignment]

    async def run_asgi(self) -> None:
        """As uvicorn runs the application; one that has somebody called with the next event goes on without a task."""
        try:
            await self.app(self.scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except BaseException:
            logger.exception("Exception in ASGI application\n")
            self.send_500_response()
        else:
            if not self.handshake_complete and not self.transport.is_closing():  # who has left is told nothing
                logger.error("ASGI callable returned without completing handshake.")
                self.send_500_response()
        if not self.queue.calls and self.close_timer is None:  # type: ignore[attr-defined]
            self._end()
            self.transport.close()
        for name in ("scope", "request", "response"):  # of use in the handshake only
            vars(self).pop(name, None)

    def start_keepalive(self) -> None:
        """Pings are sent by the sweep that looks at all connections; where there is none, by uvicorn, if it is to."""
        super().start_keepalive()
        self._ping_at = self.loop.time() + self._patience.ping

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
            begun = bool(self.frames or self._fragments is not None or self.conn.reader.buffer)
            self._partial.see(begun=begun, size=len(piece), now=self.loop.time())
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
        if self._fragments is None:
            self._fragments = bytearray()
        if self.frames:
            self._fragments[:] = self.frames.pop()
        self._fragments += event.data
        if event.fin:
            self.frames = [bytes(self._fragments)]
            self._fragments = None
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        """A whole message; text that is none ends the connection, without a traceback."""
        data = bytes(self.frames.pop())
        if self.close_sent or self.curr_msg_data_type == "bytes":
            if not self.close_sent:
                self.queue.put_nowait({"type": "websocket.receive", "bytes": data})
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            try:
                self.conn.send_close(1007, "a text frame that is not UTF-8")
            except InvalidState:
                return  # the client's own close came right behind it, and is answered
            self.handle_parser_exception()
        else:
            self.queue.put_nowait({"type": "websocket.receive", "text": text})

    async def receive(self) -> ASGIReceiveEvent:
        """The next message; once the last one is taken up, more are read."""
        message = await self.queue.get()
        self._feed()
        return message

    def then(self, taker: Taker) -> None:
        """Have the next event handed to `taker`; once the last one is taken up, more are read."""
        self.queue.then(taker)  # type: ignore[attr-defined]
        self._feed()

    # What goes out

    def pause_writing(self) -> None:
        """The client does not take what is sent: it is sent no more."""
        super().pause_writing()
        self.outlet.pause()

    def resume_writing(self) -> None:
        """The client has taken its answers: it may go on."""
        super().resume_writing()
        self.outlet.resume()
        self._feed()

    async def send(self, message: ASGISendEvent) -> None:
        """As uvicorn sends it; a handshake that is refused with a body is complete, too, and no error."""
        if message["type"] == "websocket.http.response.start":  # no rule of the chain completes its head
            strict: bool = self.conn.strict  # type: ignore[attr-defined]
            message = {**message, "headers": confined(message["headers"], strict=strict)}
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True
        if message["type"] != "websocket.send":
            self._feed()

    # The end

    def _end(self) -> None:
        """One side has said that it leaves. Whoever was here has no seat any more, and stays no longer than others let
        them: the other side may take its time with what was sent, and with its own goodbye."""
        self.outlet.shut()
        if not self.transport.is_closing():  # else its place may be given away already
            crowd_of(self.config).dismiss(self)

    def cut(self) -> None:
        """See `Leaver.cut`."""
        self.outflow.cut()

    def handle_parser_exception(self) -> None:
        """What has come is no frame, or too large a message: the connection ends."""
        sent = self.conn.close_sent
        hung_up(TooLarge.code if sent is not None and sent.code == CloseCode.MESSAGE_TOO_BIG else InvalidMessage.code)
        super().handle_parser_exception()

    def handle_close(self, event: Frame) -> None:
        """The client leaves: nothing is pushed behind the answer to its close."""
        self._end()
        super().handle_close(event)

    def shutdown(self) -> None:
        """See `WebSocketsSansIOProtocol.shutdown`."""
        self._end()
        super().shutdown()

    def handle_pong(self, event: Frame) -> None:
        """A sign of life."""
        self._heard = self.outflow.acknowledged()
        super().handle_pong(event)

    def _ping(self, now: float) -> None:
        if self.close_sent or self.transport.is_closing():
            return
        self._ping_at = now + self._patience.ping
        self.ping_sent_at = now
        self.pending_ping_payload = random.randbytes(4)  # noqa: S311  # only to tell its pong from others
        self.conn.send_ping(self.pending_ping_payload)
        self.transport.write(b"".join(self.conn.data_to_send()))

    def _await_pong(self, now: float) -> None:
        """No pong in time: a reader who still has bytes to take, or may have them in its system, has longer."""
        if now - self.ping_sent_at < self._patience.pong:
            return
        self.outflow.see(now)
        behind = min(max(self.outflow.acknowledged() - self._heard, 0), MOST_HELD_BYTES)
        allowed = self._patience.pong
        if not self.outflow.exact:
            allowed += behind / SLOWEST_BYTES_A_SECOND
        if self.outflow.empty() and now - max(self.ping_sent_at, self.outflow.read_at) >= allowed:
            self.keepalive_timeout()

    def look(self, now: float) -> None:
        """Called every now and then: be rid of a client that takes nothing, has left, or gives no sign of life."""
        self.outflow.look(now)
        idle = self.outflow.idle_seconds(now)
        if idle >= self._patience.stall and idle >= self.outflow.patience(self._patience.stall, flooding=self._held):
            self.expel(1013, "no byte taken; reconnect with your cursors")
        elif self._held:
            self._partial.unread(now)
            if self.outflow.other_side_left():
                self.outflow.cut()
        elif not self.close_sent and self._partial.is_late(self._patience, now):
            hung_up(RequestTimeout.code)
            self.expel(1008, "a message that does not go on")
        elif self.pending_ping_payload is not None:
            self._await_pong(now)
        elif now >= self._ping_at:
            self._ping(now)
        elif self.outflow.clear:
            self.rests_until = min(now + self._patience.rest, self._ping_at)

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
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.close_timer = self.loop.call_later(self.close_timeout, self.outflow.cut)


def take_over(http: HttpToolsProtocol, rest: bytes) -> None:
    """Go on as a WebSocket with the request that this connection has parsed.

    :param rest: what came behind it
    """
    http.connections.discard(http)
    socket = WebSocketTransport(config=http.config, server_state=http.server_state, app_state=http.app_state)
    socket.connection_made(http.transport)
    http.transport.set_protocol(socket)
    socket.begin(http.scope["method"], http.url, http.scope["headers"])
    http.parser = None  # type: ignore[assignment]  # it leads back to its connection, in a circle
    if rest:
        socket.data_received(rest)

"""HTTP as uvicorn serves it, within bounds: what it lacks is any limit to what a client may send, and when.

Bytes are given to the parser in slices, and none while a request is being answered: whatever a client sends ahead is
kept up to a bound and then not read. A refusal is a problem document and the end of the connection. Relies on the range
of uvicorn that pyproject.toml pins (tests/push/test_transport.py).
"""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from scanstream.errors import HeadersTooLarge, MalformedRequest, Overloaded, RequestTimeout, ScanstreamError, TooLarge
from scanstream.push.host import origin_form
from scanstream.push.line import Taker
from scanstream.push.problem import problem
from scanstream.push.transport.bounds import (
    HIGH_WATER_BYTES,
    LONGEST_LINE_BYTES,
    MOST_LINGER_BYTES,
    MOST_REFUSED_AT_ONCE,
    MOST_UNREAD_BYTES,
    SLICE_BYTES,
    glance_of,
    patience_of,
    places_of,
)
from scanstream.push.transport.close_delimited import close_delimited
from scanstream.push.transport.exchange import Exchange
from scanstream.push.transport.flow import Flow
from scanstream.push.transport.intake import Intake, Phase
from scanstream.push.transport.outflow import Outflow

MOST_BODIES = 2
"""Times the largest body accepted: what is taken of one, whatever becomes of it. The application refuses one earlier,
in a way that pages of allowed origins may read; this is for paths that read no body, and for what follows an answer."""


class HttpTransport(HttpToolsProtocol):
    """uvicorn's protocol of one HTTP connection."""

    flow: Flow
    rests_until = 0.0
    """Until then (on the loop's clock) there is no need to look at it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._patience = patience_of(self.config)
        self._glance = glance_of(self.config)
        self._intake = Intake(MOST_BODIES * self.config.ws_max_size)
        self._unread = bytearray()
        self._phase = Phase.QUIET
        self._phase_at = self._heard_at = self.loop.time()
        self._answered: RequestResponseCycle | Exchange | None = None
        """The request that is being answered, or was last; `cycle` is the newest, which may wait behind it."""
        self._told = False
        """Whether the request whose head was read is taken already, at a glance."""
        self._greeted = False
        """Whether a request has been answered: an idle connection is kept for the next one."""
        self._owed: ScanstreamError | None = None
        """The refusal of a request behind others that are still to be answered; nothing is taken any more."""
        self._refused_at: float | None = None
        self._lingered, self._most_linger_bytes = 0, MOST_LINGER_BYTES

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """See `asyncio.Protocol.connection_made`."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.flow = Flow(transport)
        self.outflow = Outflow(transport, self.loop.time())
        beyond = len(self.connections) - places_of(self.config)
        if beyond > MOST_REFUSED_AT_ONCE:
            transport.abort()
        elif beyond > 0:
            self.refuse(Overloaded("As many clients are connected as the server takes; try again later", retry_after=5))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell also the request that is being answered while a later one has come."""
        super().connection_lost(exc)
        self._unread.clear()
        if self._answering and self._answered is not None:
            self._answered.disconnected = True
            self._answered.message_event.set()

    # What comes in

    def data_received(self, data: bytes) -> None:
        """Take bytes: into the parser, or to be kept until it is their turn."""
        if self._refused_at is not None or self._owed is not None:
            self._linger(len(data))
            return
        self._unread += data
        if self._phase is Phase.HEAD:
            self._heard_at = self.loop.time()
        self._feed()

    def _feed(self) -> None:
        while (
            self._unread
            and self._owed is None
            and self._refused_at is None
            and not self._busy
            and not self.transport.is_closing()
        ):
            if self._phase is Phase.QUIET and not self._began():
                return
            piece = bytes(self._unread[:SLICE_BYTES])
            del self._unread[:SLICE_BYTES]
            self._parse(piece)
        self.flow.hold(len(self._unread) > MOST_UNREAD_BYTES)
        if self.flow.held:
            self.rests_until = 0.0

    @property
    def _busy(self) -> bool:
        """Whether what comes next has to wait: for the answer, or as several requests wait already."""
        return bool(self.pipeline) or (self._phase is Phase.WHOLE and self._answering)

    @property
    def _answering(self) -> bool:
        return self._answered is not None and not self._answered.response_complete

    def _began(self) -> bool:
        """Whether a request begins: empty lines before one mean nothing (RFC 9112, section 2.2)."""
        first = len(self._unread) - len(self._unread.lstrip(b"\r\n"))
        del self._unread[:first]
        if self._unread:
            self._enter(Phase.HEAD)
        return bool(self._unread)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._phase_at = self._heard_at = self.loop.time()
        self.rests_until = 0.0

    def _parse(self, piece: bytes) -> None:
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(piece[int(upgrade.args[0]) :])
            return
        except httptools.HttpParserError:
            self.refuse(self._intake.refusal or MalformedRequest("This is not a request of HTTP/1.1 (RFC 9112)"))
            return
        self._intake.slice(len(piece))
        if self._intake.refusal is not None:
            self.refuse(self._intake.refusal)

    def _upgrade(self, rest: bytes) -> None:
        """A WebSocket goes on as one, with what came behind its handshake; of another protocol nothing is known."""
        rest += bytes(self._unread)
        self._unread.clear()
        if not self._should_upgrade():
            self._unread += rest
            return
        if any(len(name) + len(value) + 4 > LONGEST_LINE_BYTES for name, value in [(b"GET", self.url), *self.headers]):
            self.refuse(HeadersTooLarge(f"A line of a WebSocket's handshake has over {LONGEST_LINE_BYTES} bytes"))
            return
        self.handle_websocket_upgrade()
        if rest and isinstance(protocol := self.transport.get_protocol(), asyncio.Protocol):
            protocol.data_received(rest)

    # What the parser says

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._intake.begin()
        self._enter(Phase.HEAD)

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        self._intake.add(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, without the blanks around its value (RFC 9110, section 5.5); a trailer is counted and dropped."""
        self._intake.field(name, value)
        if self._phase is Phase.BODY:
            return
        super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        """The request can be answered from here on."""
        self._intake.framing(self.headers, upgrades=self.parser.should_upgrade() and self._should_upgrade())
        self.url = origin_form(self.url, self.headers)
        if self._glance is not None and self._tell(self._glance):
            return
        super().on_headers_complete()
        self._intake.begin()
        self._enter(Phase.BODY)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._heard_at = self.loop.time()
        self._intake.body(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        if self._told:
            self._told = False
            self._enter(Phase.WHOLE if self._answering else Phase.QUIET)
            return
        super().on_message_complete()
        self._intake.pause()
        self._enter(Phase.WHOLE if self._answering or self.pipeline else Phase.QUIET)

    def on_response_complete(self) -> None:
        """The last byte of an answer: what came meanwhile is next."""
        self._greeted = True
        super().on_response_complete()
        self._unset_keepalive_if_required()  # the sweep looks after it: a timer each costs more than what it watches
        if self.transport.is_closing():
            self._unread.clear()
            return
        if self._owed is not None and not self._answering:
            self.refuse(self._owed)
            return
        if self._phase is Phase.WHOLE and not self._answering:
            self._enter(Phase.QUIET)
        self._feed()

    def _tell(self, glance: Taker) -> bool:
        """Answer the request whose head was read at a glance; False where it goes its usual way.

        Never beside an answer that is under way, nor while the client takes none.
        """
        parser = self.parser
        if (
            parser.get_method() != b"GET"
            or parser.get_http_version() != "1.1"
            or parser.should_upgrade()
            or not parser.should_keep_alive()
            or self._answering
            or self.pipeline
            or self.transport.is_closing()
            or self.transport.get_write_buffer_size() > HIGH_WATER_BYTES
        ):
            return False
        asked = glance.question(self.url, self.headers, self.client)
        if asked is None:
            return False
        exchange = Exchange(self)
        told = glance.take(asked, exchange)
        if told is None:
            return False
        if isinstance(told, bytes):
            self.transport.write(told)
            self.server_state.total_requests += 1
        else:
            exchange.waiting = told
            self._answered = exchange
            self.cycle = exchange  # type: ignore[assignment]  # as far as uvicorn looks into it
        self._told = self._greeted = True
        self.scope = self.headers = None  # type: ignore[assignment]  # not needed while the connection waits
        return True

    def _should_upgrade(self) -> bool:
        """HTTP/1.0 cannot be left for another protocol (RFC 9110, section 7.8)."""
        return super()._should_upgrade() and self.parser.get_http_version() != "1.0"

    def resume_writing(self) -> None:
        """See `asyncio.Protocol.resume_writing`."""
        super().resume_writing()
        if isinstance(self._answered, Exchange):
            self._answered.resume()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, close_delimited(cycle, app) if cycle.scope["http_version"] == "1.0" else app)

    # The end

    def look(self, now: float) -> None:
        """Called every now and then: be rid of a client that takes nothing, says nothing, or has left."""
        self.outflow.look(now)
        idle = self.outflow.idle_seconds(now)
        if self._refused_at is not None:
            if now - self._refused_at >= self._patience.linger:
                self.outflow.cut()
        elif idle >= self._patience.stall and idle >= self.outflow.patience(
            self._patience.stall, flooding=self.flow.held
        ):
            self.outflow.cut()
        elif self.flow.read_paused:
            self._heard_at = now
            if self.outflow.other_side_left():
                self.outflow.cut()
        elif self._phase is Phase.WHOLE:
            if self.outflow.clear and not self._unread:
                self.rests_until = now + self._patience.rest
        elif not self.transport.is_closing():
            self._hurry(now)

    def _hurry(self, now: float) -> None:
        """Hold the client to the times that it has for each part of a request."""
        patience, silent = self._patience, now - self._heard_at
        if self._phase is Phase.QUIET and not self._answering:
            if silent >= (self.timeout_keep_alive if self._greeted else patience.silence):
                self.transport.close()
        elif self._phase is Phase.HEAD and (silent >= patience.silence or now - self._phase_at >= patience.head):
            self.refuse(RequestTimeout("The head of the request did not go on; send it again, at once"))
        elif self._phase is Phase.BODY and silent >= patience.body:
            self.refuse(RequestTimeout(f"The request's body did not go on for {patience.body:g} s; send it again"))

    def refuse(self, error: ScanstreamError) -> None:
        """Answer with a problem, once it is this request's turn to be answered, and hang up."""
        if self._phase is Phase.HEAD and (self._answering or self.pipeline):
            self._unread.clear()
            self._owed = self._owed or error
            return
        self._refused_at, self.rests_until = self.loop.time(), 0.0
        if isinstance(error, TooLarge):
            self._most_linger_bytes += MOST_BODIES * self.config.ws_max_size
        self._unread.clear()
        self._unset_keepalive_if_required()
        answering = self._answered if self._answering else None
        own = self._phase is Phase.BODY and answering is self.cycle
        free = answering is None and not (self._phase is Phase.BODY and self.cycle.response_complete)
        if answering is not None:
            answering.disconnected = True
            answering.message_event.set()
        if self.transport.is_closing():
            return
        if not (free or (own and answering is not None and not answering.response_started)):
            self.transport.close()
            return
        self.transport.write(self._answer(error))
        self.flow.hold(False)
        self.transport.write_eof()

    def _answer(self, error: ScanstreamError) -> bytes:
        response = problem(error, {"connection": "close"})
        headers = [*self.server_state.default_headers, *response.raw_headers]
        lines = [STATUS_LINE[response.status_code], *(name + b": " + value + b"\r\n" for name, value in headers)]
        return b"".join([*lines, b"\r\n", bytes(response.body)])

    def _linger(self, size: int) -> None:
        """Throw away what comes behind a refusal, so that the answer is not lost by a reset; not without end."""
        self._lingered += size
        if self._lingered > self._most_linger_bytes:
            self.transport.close()

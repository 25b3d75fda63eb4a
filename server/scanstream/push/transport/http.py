"""HTTP as uvicorn serves it, within bounds: what it lacks is any limit to what a client may send, and when.

Bytes are given to the parser in slices, and none while a request is being answered: whatever a client sends ahead is
kept up to a bound and then not read. A refusal is a problem document and the end of the connection. Relies on the range
of uvicorn that pyproject.toml pins (tests/push/test_transport.py).
"""

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from scanstream.errors import HeadersTooLarge, MalformedRequest, Overloaded
from scanstream.push.host import origin_form
from scanstream.push.line import HOLD, Line, Taker, Waiting
from scanstream.push.question import Order, Question
from scanstream.push.transport.bounds import (
    HIGH_WATER_BYTES,
    LONGEST_LINE_BYTES,
    MOST_UNREAD_BYTES,
    SLICE_BYTES,
    glance_of,
    is_crowded,
    is_strict_here,
)
from scanstream.push.transport.close_delimited import close_delimited
from scanstream.push.transport.exchange import DONE, Exchange, extend
from scanstream.push.transport.flow import Flow
from scanstream.push.transport.intake import Phase
from scanstream.push.transport.outflow import Outflow
from scanstream.push.transport.watched import Watched
from scanstream.push.transport.websocket import take_over
from scanstream.security.seats import RETRY_SECONDS

NONE: tuple[Any, ...] = ()
"""In place of the headers of a request that is answered."""


class HttpTransport(Watched):
    """uvicorn's protocol of one HTTP connection."""

    __slots__ = ("_asked", "_begun", "_body", "_glance", "_head", "_order", "_told", "_whole")

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._glance = glance_of(self.config)
        self._told = False
        """Whether the request whose head was read is taken already, at a glance."""
        self._head = b""
        """The last request, where it was taken at a glance and may come again: `_asked` is what it says."""
        self._asked: Question | None = None
        self._begun = 0
        """How many requests have begun in what came last."""
        self._whole = b""
        """What has just come, where that may be a whole request, and the only one."""
        self._order: Order | None = None
        """What is to be registered as soon as the body is there, which comes into `_body`."""
        self._body = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """See `asyncio.Protocol.connection_made`."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.flow = Flow(transport)
        self.outflow = Outflow(transport, self.loop.time())
        self._take_place()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell also the request that is being answered while a later one has come."""
        super().connection_lost(exc)
        self._unread.clear()
        if self._answering and self._answered is not None:
            self._answered.disconnected = True
            self._answered.message_event.set()
        self.pipeline.clear()
        self.cycle = self._answered  # type: ignore[assignment]
        self._let_go()

    # What comes in

    def data_received(self, data: bytes) -> None:
        """Take bytes: into the parser, or to be kept until it is their turn."""
        if self._refused_at is not None or self._owed is not None:
            self._linger(len(data))
            return
        if self._is_repeated(data):
            return
        alone = self._phase is Phase.QUIET and not self._unread and len(data) <= SLICE_BYTES and data[:1].isalpha()
        self._asked, self._begun = None, 0
        self._unread += data
        if self._phase is Phase.HEAD:
            self._heard_at = self.loop.time()
        self._whole = data if alone else b""
        self._feed()
        self._head, self._whole = data if alone and self._may_come_again() else b"", b""

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

    def _began(self) -> bool:
        """Whether a request begins: empty lines before one mean nothing (RFC 9112, section 2.2)."""
        first = len(self._unread) - len(self._unread.lstrip(b"\r\n"))
        del self._unread[:first]
        if self._unread:
            self._enter(Phase.HEAD)
        return bool(self._unread)

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
        rest, self._unread = rest + bytes(self._unread), bytearray()
        if not self._should_upgrade():
            self._unread += rest
            return
        if self._busy_answering:  # its answer would overtake those of the requests before it
            self._owed = MalformedRequest("A WebSocket's handshake waits until the requests before it are answered")
            return
        if any(len(name) + len(value) + 4 > LONGEST_LINE_BYTES for name, value in [(b"GET", self.url), *self.headers]):
            self.refuse(HeadersTooLarge(f"A line of a WebSocket's handshake has over {LONGEST_LINE_BYTES} bytes"))
        elif is_crowded(self.config):
            self.refuse(
                Overloaded(
                    "As many WebSockets are open as the server takes; try again later", retry_after=RETRY_SECONDS
                )
            )
        else:
            self._crowd.leave(self)
            take_over(self, rest)

    # What the parser says

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._begun += 1
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
        self._intake.framing(self.headers, upgrades=self.parser.should_upgrade() and self._asks_for_socket)
        self.url = origin_form(self.url, self.headers)
        if self._glance is not None and (self._tell(self._glance) or self._takes_order(self._glance)):
            return
        super().on_headers_complete()
        self._intake.begin()
        self._enter(Phase.BODY)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._heard_at = self.loop.time()
        self._intake.body(len(body))
        if self._order is not None:
            self._body += body
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        if self._told:
            self._told = False
            self._enter(Phase.WHOLE if self._answering else Phase.QUIET)
            return
        if self._order is not None and self._glance is not None:
            self._place(self._glance, self._order)
            return
        super().on_message_complete()
        self._intake.pause()
        self._enter(Phase.WHOLE if self._busy_answering else Phase.QUIET)

    def on_response_complete(self) -> None:
        """The last byte of an answer: what came meanwhile is next."""
        self._greeted = True
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._unread.clear()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._answering:
            self._let_go()
        if self._owed is not None and not self._answering:
            self.refuse(self._owed)
            return
        if self._phase is Phase.WHOLE and not self._answering:
            self._enter(Phase.QUIET)
        self._feed()

    def _let_go(self) -> None:
        """Keep nothing of a request that is answered: an idle connection needs none of it."""
        if self.cycle is self._answered:
            self.cycle = self._answered = DONE  # type: ignore[assignment]  # as far as uvicorn looks into it
        if self._phase is not Phase.HEAD:
            self.scope, self.headers = None, NONE  # type: ignore[assignment]

    def _tell(self, glance: Taker) -> bool:
        """Take the request whose head was read at a glance; False where it goes its usual way."""
        asked = glance.question(self.url, self.headers, self.client) if self._is_plain(b"GET") else None
        self._told = asked is not None and self._take(glance, asked)
        return self._told

    def _is_plain(self, method: bytes) -> bool:
        parser = self.parser
        plain = parser.get_method() == method and parser.get_http_version() == "1.1"
        return plain and not parser.should_upgrade() and parser.should_keep_alive()

    def _takes_order(self, glance: Taker) -> bool:
        """Whether the request whose head was read is a discover that has come whole, and alone, and is plain."""
        if not self._whole or not self._is_plain(b"POST") or self._is_held_up:
            return False
        order = glance.order(self.url, self.headers, self.client)
        if order is None or order.size != len(self._whole.partition(b"\r\n\r\n")[2]):
            return False
        self._order = order
        self.cycle = self._answered = Exchange(self, strict=order.strict)  # type: ignore[assignment]
        self.scope, self.headers = None, NONE  # type: ignore[assignment]
        self._intake.begin()
        self._enter(Phase.BODY)
        return True

    def _place(self, glance: Taker, order: Order) -> None:
        body, exchange = self._body, self._answered
        self._order, self._body = None, b""
        self._intake.pause()
        self._enter(Phase.WHOLE)
        if isinstance(exchange, Exchange) and not exchange.disconnected:
            exchange.keep(glance.place(order, body, exchange))

    @property
    def _is_held_up(self) -> bool:
        """Whether nothing is told at a glance: beside an answer that is under way, or while the client takes none."""
        busy = self._busy_answering or self.transport.is_closing()
        return busy or self.transport.get_write_buffer_size() > HIGH_WATER_BYTES

    def _take(self, glance: Taker, asked: Question) -> bool:
        if self._is_held_up:
            return False
        exchange = Exchange(self, strict=asked.strict)
        told = glance.take(asked, exchange)
        if told is None:
            return False
        if isinstance(told, bytes):
            self.transport.write(told)
            self.server_state.total_requests += 1
        else:
            exchange.keep(told)
            self.cycle = self._answered = exchange  # type: ignore[assignment]
        self._greeted, self._asked = True, asked
        self.scope, self.headers = None, NONE  # type: ignore[assignment]
        return True

    def _may_come_again(self) -> bool:
        """Whether what came last was one request, with a head that its caller may repeat."""
        return self._begun == 1 and self._asked is not None and not self._asked.of_the_moment

    def _is_repeated(self, data: bytes) -> bool:
        """Whether these are the bytes of the last request, and nothing else, and it is taken again.

        Who polls sends the same head each time, and to parse it costs more than to answer it. The parser is between two
        requests then, and stays there: equal bytes would take it through equal steps.
        """
        if self._head != data or self._phase is not Phase.QUIET or self._unread or self._glance is None:
            return False
        if self._asked is None or not self._take(self._glance, self._asked):
            return False
        self._enter(Phase.WHOLE if self._answering else Phase.QUIET)
        return True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol.resume_writing`."""
        super().resume_writing()
        if isinstance(self._answered, Exchange):
            self._answered.resume()

    def hold(self, wait: Callable[[Line], Waiting]) -> bool:
        """See `Hold`. Not of one that has left, nor one that has not said all."""
        cycle = self._answered
        if not isinstance(cycle, RequestResponseCycle) or cycle.disconnected or self._phase is Phase.BODY:
            return False
        cycle.disconnected = True  # its task says nothing more
        exchange = Exchange(self, strict=is_strict_here(self.config, cycle.scope["headers"]))
        exchange.keep_alive = cycle.keep_alive
        if not cycle.response_started:
            exchange.scope = cycle.scope
        if self.cycle is cycle:
            self.cycle = exchange  # type: ignore[assignment]
        self._answered = exchange
        if self._phase is Phase.WHOLE:
            self.scope, self.headers = None, NONE  # type: ignore[assignment]
        self.flow.resume_reading()
        try:
            exchange.keep(wait(exchange))
        except BaseException:
            exchange.break_off()
            raise
        return True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        extend(cycle.scope, HOLD, self.hold)
        super()._start_asgi_task(cycle, close_delimited(cycle, app) if cycle.scope["http_version"] == "1.0" else app)

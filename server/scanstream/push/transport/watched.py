"""One HTTP connection as it is watched: how long what may take, what is refused, and how it ends.

The application's tasks know nothing of it; the sweep (push/transport/listener.py) looks at it now and then.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from scanstream.errors import RequestTimeout, ScanstreamError, TooLarge
from scanstream.push.confined import confined_by
from scanstream.push.problem import problem
from scanstream.push.refused import hung_up
from scanstream.push.transport.bounds import (
    MOST_LINGER_BYTES,
    MOST_REFUSED_AT_ONCE,
    crowd_of,
    is_strict_here,
    most_head_bytes_of,
    patience_of,
    places_of,
)
from scanstream.push.transport.crowd import Use, full
from scanstream.push.transport.exchange import Exchange
from scanstream.push.transport.flow import Flow, Pipeline
from scanstream.push.transport.intake import Intake, Phase
from scanstream.push.transport.outflow import Outflow
from scanstream.security.seats import network

MOST_BODIES = 2
"""Times the largest body accepted: what is taken of one, whatever becomes of it. The application refuses one earlier,
in a way that pages of allowed origins may read; this is for paths that read no body, and for what follows an answer."""


class Watched(HttpToolsProtocol):
    """uvicorn's protocol, with what is known of the request that comes and of the answer that leaves."""

    __slots__ = (
        "_answered",
        "_crowd",
        "_greeted",
        "_heard_at",
        "_intake",
        "_lingered",
        "_most_linger_bytes",
        "_owed",
        "_patience",
        "_phase",
        "_phase_at",
        "_refused_at",
        "_unread",
        "network",
        "outflow",
        "rests_until",
    )
    flow: Flow
    outflow: Outflow

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.pipeline = Pipeline()  # type: ignore[assignment]  # as far as it is used
        self._patience = patience_of(self.config)
        self._intake = Intake(MOST_BODIES * self.config.ws_max_size, most_head_bytes_of(self.config))
        self._unread = bytearray()
        self._phase = Phase.QUIET
        self._phase_at = self._heard_at = self.loop.time()
        self._answered: RequestResponseCycle | Exchange | None = None
        """The request that is being answered, or was last; `cycle` is the newest, which may wait behind it."""
        self._greeted = False
        """Whether a request has been answered: an idle connection is kept for the next one."""
        self._owed: ScanstreamError | None = None
        """The refusal of a request behind others that are still to be answered; nothing is taken any more."""
        self._refused_at: float | None = None
        self.rests_until = 0.0
        """Until then (on the loop's clock) there is no need to look at it."""
        self._lingered, self._most_linger_bytes = 0, MOST_LINGER_BYTES
        self._crowd = crowd_of(self.config)
        self.network = ""

    def _take_place(self) -> None:
        """Be one of those who are connected, where there is a place or somebody makes room; else be sent away."""
        self.network = network(self.client)
        self._crowd.join(self)
        most = places_of(self.config)
        if len(self.connections) <= most or self._crowd.makes_room(self):
            return
        if len(self.connections) - most > MOST_REFUSED_AT_ONCE:
            self.transport.abort()
        else:
            self.refuse(full())
        self._crowd.leave(self)  # it has no place that it could make free
        self._crowd.gone(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol.connection_lost`."""
        self._crowd.leave(self)
        self._crowd.gone(self)
        super().connection_lost(exc)

    def cut(self) -> None:
        """See `Leaver.cut`."""
        self.outflow.cut()

    def make_room(self, use: Use) -> bool:
        """See `Guest`. Whoever is in the middle of a request is told so, as far as that can be told at once."""
        if self.transport.is_closing():
            self.cut()
            return True
        if use is Use.BEHIND or not self.outflow.empty():  # what is written would be behind all that is not taken
            return use is Use.BEHIND and self._is_behind()
        if self.pipeline:
            return False
        waits = use is Use.PATIENT and self._is_patient()
        if not waits and self._answering and not (self._phase is Phase.BODY and self._is_unheard()):
            return False
        self._send_away(waits=waits)
        return True

    def _is_behind(self) -> bool:
        """Whether it has not taken all of an answer, and is cut off for that. A stream has a seat."""
        waiting = self._answered.waiting if isinstance(self._answered, Exchange) else None
        if self.outflow.empty() or (waiting is not None and not waiting.patient):
            return False
        self.cut()
        return True

    def _send_away(self, *, waits: bool) -> None:
        error = full()
        if waits and self._answered is not None:
            self._answered.disconnected = True
            self._answered.message_event.set()
            self.transport.write(self._answer(error))
        elif self._phase is Phase.QUIET:
            hung_up(error.code)
        else:
            self.refuse(error)
        self.transport.close()

    def _is_patient(self) -> bool:
        """Whether it waits for news only."""
        waiting = self._answered.waiting if isinstance(self._answered, Exchange) else None
        return self._answering and waiting is not None and waiting.patient

    def _is_unheard(self) -> bool:
        """Whether the request whose body comes is the one that is to be answered, and nothing was said yet."""
        return self._answered is self.cycle and not self._answered.response_started

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._phase_at = self._heard_at = self.loop.time()
        self.rests_until = 0.0

    @property
    def _answering(self) -> bool:
        return self._answered is not None and not self._answered.response_complete

    def _should_upgrade(self) -> bool:
        """What asks about the path is answered as it is anywhere: a HEAD without a body."""
        return self._asks_for_socket and self.parser.get_method() not in (b"HEAD", b"OPTIONS")

    @property
    def _asks_for_socket(self) -> bool:
        """HTTP/1.0 cannot be left for another protocol (RFC 9110, section 7.8)."""
        return super()._should_upgrade() and self.parser.get_http_version() != "1.0"

    @property
    def _busy_answering(self) -> bool:
        return self._answering or bool(self.pipeline)

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
            self._heard_at = self._phase_at = now
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
            kept = self.timeout_keep_alive if self._greeted else patience.silence
            if silent >= kept:
                if not self._greeted:
                    hung_up(RequestTimeout.code)
                self.transport.close()
            elif self.outflow.clear:
                self.rests_until = min(now + patience.rest, self._heard_at + kept)
        elif self._phase is Phase.HEAD and (silent >= patience.silence or now - self._phase_at >= patience.head):
            self.refuse(RequestTimeout("The head of the request did not go on; send it again, at once"))
        elif self._phase is Phase.BODY and silent >= patience.body:
            self.refuse(RequestTimeout(f"The request's body did not go on for {patience.body:g} s; send it again"))
        elif self._phase is Phase.BODY and now - self._phase_at >= patience.whole(self._intake.body_bytes):
            self.refuse(RequestTimeout("The request's body came too slowly; send it again, faster"))

    def refuse(self, error: ScanstreamError) -> None:
        """Answer with a problem, once it is this request's turn to be answered, and hang up."""
        if self._phase is Phase.HEAD and self._busy_answering:
            self._unread.clear()
            self._owed = self._owed or error
            return
        self._refused_at, self.rests_until = self.loop.time(), 0.0
        if not self.transport.is_closing():  # else its place may be given away already
            self._crowd.leave(self)
            self._crowd.dismiss(self)
        if isinstance(error, TooLarge):
            self._most_linger_bytes += MOST_BODIES * self.config.ws_max_size
        self._unread.clear()
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
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:  # TLS says goodbye itself, and throws away what comes until that is answered
            self.transport.close()

    def _answer(self, error: ScanstreamError) -> bytes:
        strict = is_strict_here(self.config, self.headers or ())
        response = problem(error, {"connection": "close", **confined_by(strict=strict)})
        headers = [*self.server_state.default_headers, *response.raw_headers]
        lines = [STATUS_LINE[response.status_code], *(name + b": " + value + b"\r\n" for name, value in headers)]
        return b"".join([*lines, b"\r\n", bytes(response.body)])

    def _linger(self, size: int) -> None:
        """Throw away what comes behind a refusal, so that the answer is not lost by a reset; not without end."""
        self._lingered += size
        if self._lingered > self._most_linger_bytes:
            self.transport.close()

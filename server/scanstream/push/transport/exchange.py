"""A request that is answered without a task: to uvicorn's protocol it is what a cycle is, to a door the line."""

import asyncio
from typing import Any

from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from scanstream.push.confined import confined_lines
from scanstream.push.line import WAITED, Waiting


def extend(scope: HTTPScope, name: str, extension: Any) -> None:
    """Offer the application something of the transport's own (ASGI, section "Extensions")."""
    extensions: dict[str, Any] = scope.setdefault("extensions", {})
    extensions[name] = extension


class Exchange:
    """One request, and what waits for it."""

    __slots__ = ("_connection", "disconnected", "keep_alive", "response_complete", "scope", "strict", "waiting")
    response_started = True
    more_body = False

    def __init__(self, connection: HttpToolsProtocol, *, strict: bool) -> None:
        self._connection = connection
        self.strict = strict
        """Whether the host that was asked for is to be asked by TLS only from now on."""
        self.scope: HTTPScope | None = None
        """Of a request that went through the chain, and may do so again."""
        self.waiting: Waiting | None = None
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        """Whether the connection goes on afterwards; a server that stops takes that back."""

    def keep(self, waiting: Waiting) -> None:
        """This one waits, unless all is said already."""
        if not self.response_complete:
            self.waiting = waiting

    @property
    def message_event(self) -> "Exchange":
        """What uvicorn sets where a cycle has something to look at."""
        return self

    def set(self) -> None:
        """The caller has left, or is not to be answered."""
        if self.disconnected and self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            waiting.leave()

    def resume(self) -> None:
        """The caller takes bytes again."""
        if self.waiting is not None:
            self.waiting.resume()

    def start(self, status: int) -> bytes:
        """See `Line`."""
        always = [name + b": " + value + b"\r\n" for name, value in self._connection.server_state.default_headers]
        return b"".join([STATUS_LINE[status], *always, confined_lines(strict=self.strict)])

    def say(self, data: bytes) -> None:
        """See `Line`."""
        self._connection.transport.write(data)

    def end(self) -> None:
        """See `Line`."""
        self.waiting = None
        self.response_complete = True
        if not self.keep_alive:
            self._connection.transport.close()
        self._connection.on_response_complete()

    def again(self, waited: Waiting) -> None:
        """See `WayBack`: a cycle as uvicorn makes it, of a request that is known already."""
        scope, self.scope, self.waiting = self.scope, None, None
        if scope is None or self.disconnected:
            return
        extend(scope, WAITED, waited)
        connection: Any = self._connection
        cycle = RequestResponseCycle(
            scope=scope,
            transport=connection.transport,
            flow=connection.flow,
            logger=connection.logger,
            access_logger=connection.access_logger,
            access_log=connection.access_log,
            default_headers=connection.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=self.keep_alive,
            on_response=connection.on_response_complete,
        )
        cycle.more_body = False
        if connection.cycle is self:
            connection.cycle = cycle
        connection._start_asgi_task(cycle, connection.app)

    def break_off(self) -> None:
        """See `WayBack`."""
        self.waiting = None
        self._connection.transport.abort()

    @property
    def paused(self) -> bool:
        """See `Line`."""
        return self._connection.flow.write_paused

    @property
    def untaken(self) -> int:
        """See `Line`."""
        return self._connection.transport.get_write_buffer_size()


class Done:
    """Any request that is answered, as far as it is looked at afterwards."""

    response_started = response_complete = True
    disconnected = keep_alive = more_body = False

    @property
    def message_event(self) -> "Done":
        """Nobody waits for it."""
        return self

    def set(self) -> None:
        """Nothing is to be told any more."""


DONE = Done()

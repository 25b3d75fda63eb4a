"""A request that is answered without a task: to uvicorn's protocol it is what a cycle is, to a door the line."""

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from scanstream.push.line import Waiting


class Exchange:
    """One request, and what waits for it."""

    __slots__ = ("_connection", "disconnected", "keep_alive", "response_complete", "waiting")
    response_started = True
    more_body = False

    def __init__(self, connection: HttpToolsProtocol) -> None:
        self._connection = connection
        self.waiting: Waiting | None = None
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        """Whether the connection goes on afterwards; a server that stops takes that back."""

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
        return b"".join([STATUS_LINE[status], *always])

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

    def break_off(self) -> None:
        """See `Line`."""
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

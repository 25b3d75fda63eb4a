"""One link to one of the servers, and to another one when it breaks: the client of nats-py, made patient.

By default it gives up after sixty tries, takes four minutes to see that a server hangs, and closes for good whenever a
server says that it has had enough. This one goes on for ever, and says what happens in one line each.
"""

import logging
import re
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint
from nats.aio.client import Client
from nats.errors import Error as NatsError

from scanstream.engines.nats.options import NatsOptions
from scanstream.errors import EngineUnusable

RECONNECT_SECONDS = 0.2
CONNECT_SECONDS = 2
PING_SECONDS = 2
MOST_PINGS = 2
"""A server that hangs is left when so many pings were not answered."""
PENDING_BYTES = 32 * 1024 * 1024
"""What is written while there is no link, and goes out with the next."""
CLOSE_SECONDS = 2.0
SAID_EACH_SECONDS = 5.0
"""While servers are away there is trouble many times a second; the log hears of it so often."""
MOST_FORBIDDEN = 64
"""Subjects kept in mind that a server has just forbidden: whoever asked looks at once."""
_DENIED = ("authorization", "authentication")
_FORBIDDEN = re.compile(r'permissions violation for \w+ to "([^"]+)"')

logger = logging.getLogger("scanstream")


class Link(Client):
    """A client that comes back whatever happens."""

    def __init__(self, *, secure: bool) -> None:
        """`secure`: nothing, and least of all the login, is told to a server that does not speak TLS."""
        super().__init__()
        self.back: list[Callable[[], None]] = []
        """Called when the link was lost and is back."""
        self.why = ""
        """The last trouble there was."""
        self._forbidden: deque[str] = deque(maxlen=MOST_FORBIDDEN)
        self._secure = secure
        self._denied = anyio.Event()
        self._opened = False
        self._leaving = False
        self._said = float("-inf")

    @property
    def version_told(self) -> str:
        """Of the server, as it says."""
        return str(self._server_info.get("version", "of no known version"))

    def where(self) -> str:
        """The server that it is connected to, without a login."""
        url = self.connected_url
        return "an unknown address" if url is None else f"{url.hostname}:{url.port}"

    async def open(self, options: NatsOptions, patience: float) -> None:
        """Connect, and wait for that as long as it may take.

        :raises EngineUnusable: if no server answers in time, or we are not let in
        """
        try:
            given: dict[str, Any] = {"tls": options.tls()} if self._secure or options.files() else {}
        except (OSError, ssl.SSLError) as error:
            raise EngineUnusable(f"The certificates for NATS cannot be used: {error}") from error
        if options.user:
            given |= {"user": options.user, "password": options.password}
        if options.token:
            given["token"] = options.token
        if options.creds is not None:
            given["user_credentials"] = str(options.creds)
        with anyio.move_on_after(patience):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._end_if_denied, tasks.cancel_scope)
                await self._connect(options, given)
                self._opened = True
                tasks.cancel_scope.cancel()
        if self._denied.is_set():
            raise EngineUnusable(f"NATS does not let us in: {self.why}; give it a valid login or --engine-creds")
        if not self._opened:
            why = self.why or "no answer"
            raise EngineUnusable(f"NATS cannot be reached at {','.join(options.servers)} for {patience:g} s: {why}")

    async def _connect(self, options: NatsOptions, given: dict[str, Any]) -> None:
        try:
            await self.connect(
                servers=list(options.servers),
                name="scanstream",
                error_cb=self._trouble,
                disconnected_cb=self._lost,
                reconnected_cb=self._found,
                max_reconnect_attempts=-1,
                reconnect_time_wait=RECONNECT_SECONDS,  # type: ignore[arg-type]  # it is slept, whatever it is
                connect_timeout=CONNECT_SECONDS,
                ping_interval=PING_SECONDS,
                max_outstanding_pings=MOST_PINGS,
                pending_size=PENDING_BYTES,
                **given,
            )
        except (NatsError, OSError, ValueError) as error:
            raise EngineUnusable(f"The connection to NATS cannot be made: {error}") from error

    async def _end_if_denied(self, scope: anyio.CancelScope) -> None:
        await self._denied.wait()
        scope.cancel()

    async def leave(self) -> None:
        """Close for good."""
        self._leaving = True
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_SECONDS):
            await self.close()
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:  # of a connection that was only half made `close` knows nothing
            writer.transport.abort()
            await cancel_shielded_checkpoint()

    def forbidden(self, subject: str) -> bool:
        """Whether a server has refused it to our login, since this was last asked."""
        try:
            self._forbidden.remove(subject.lower())  # as nats-py tells it
        except ValueError:
            return False
        return True

    async def _trouble(self, error: Exception) -> None:
        self.why = f"{error}".removeprefix("nats: ") or type(error).__name__
        if any(word in self.why.lower() for word in _DENIED) and not self._opened:
            self._denied.set()
        elif time.monotonic() - self._said >= SAID_EACH_SECONDS:
            self._said = time.monotonic()
            logger.warning("NATS: %s%s", self.why, "" if self.is_connected else "; it is tried again")

    async def _lost(self) -> None:
        if not self._leaving:
            logger.warning("NATS: the connection is lost")

    async def _found(self) -> None:
        logger.warning("NATS: connected again, to %s", self.where())
        self.why = ""
        for call in self.back:
            call()

    async def _process_err(self, err_msg: str) -> None:
        """See `Client._process_err`, which closes for good: of one subject's trouble, and of a restart's, too."""
        error = NatsError(f"nats: {err_msg}")
        await self._trouble(error)
        if found := _FORBIDDEN.search(err_msg.lower()):
            self._forbidden.append(found[1])
        elif "permissions violation" not in err_msg.lower():
            await self._process_op_err(error)

    def _connect_command(self) -> bytes:
        """See `Client._connect_command`: the first that we say, and in it is the login."""
        if self._secure and not self._server_info.get("tls_required"):
            raise NatsError("nats: the server does not speak TLS, which --engine-ca, --engine-cert and tls:// demand")
        return super()._connect_command()

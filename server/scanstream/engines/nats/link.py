"""One link to one of the servers, and to another one when it breaks: the client of nats-py, made patient.

By default it gives up after sixty tries, takes four minutes to see that a server hangs, and closes for good whenever a
server says that it has had enough. This one goes on for ever, and says what happens in one line each.
"""

import logging
import re
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from scanstream.engines.nats.credentials import Credentials, read_credentials
from scanstream.engines.nats.options import NatsOptions
from scanstream.errors import EngineUnusable
from scanstream.telling import Telling

RECONNECT_SECONDS = 0.2
CONNECT_SECONDS = 2
PING_SECONDS = 2
MOST_PINGS = 2
"""A server that hangs is left when so many pings were not answered."""
PENDING_BYTES = 32 * 1024 * 1024
"""What is written while there is no link, and goes out with the next."""
CLOSE_SECONDS = 2.0
STEADY_SECONDS = 5.0
"""A link that held for so long is one; that it is lost is told at once."""
MOST_FORBIDDEN = 64
"""Subjects kept in mind that a server has just forbidden: whoever asked looks at once."""
_DENIED = ("authorization", "authentication")
_OURS = re.compile(r"alert (certificate|bad certificate|unknown ca|unsupported certificate)|certificate required", re.I)
"""What a server says of our certificate."""
_FORBIDDEN = re.compile(r'permissions violation for \w+ to "([^"]+)"')

logger = logging.getLogger("scanstream")


Heard = Callable[[str, str, bytes, bytes | None], Awaitable[None]]
"""Given the subject, the address for answers, the body and the headers as they came; must not wait long."""


class Link(Client):
    """A client that comes back whatever happens."""

    def __init__(self, options: NatsOptions) -> None:
        super().__init__()
        self._given = options
        self.back: list[Callable[[], None]] = []
        """Called when the link was lost and is back."""
        self.why = ""
        """The last trouble there was."""
        self._heard: dict[int, Heard] = {}
        """Who takes the messages of a subscription, by its number."""
        self._forbidden: deque[str] = deque(maxlen=MOST_FORBIDDEN)
        self._denied = anyio.Event()
        self._opened = False
        self._leaving = False
        self._telling = Telling()
        self._told = False
        """Whether the log ends with trouble: then it is told that that is over."""
        self._since = float("-inf")
        """When the link was made that there is, or was."""

    @property
    def version_told(self) -> str:
        """Of the server, as it says."""
        return str(self._server_info.get("version", "of no known version"))

    def where(self) -> str:
        """The server that it is connected to, without a login."""
        url = self.connected_url
        return "an unknown address" if url is None else f"{url.hostname}:{url.port}"

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """See `Client.ssl_context`: made of the files as they are now, as certificates are renewed under a node."""
        try:
            return self._given.tls()
        except OSError as error:
            raise NatsError(
                f"nats: our certificates cannot be used: {error}; see --engine-ca, --engine-cert"
            ) from error

    async def open(self, patience: float) -> None:
        """Connect, and wait for that as long as it may take.

        :raises EngineUnusable: if no server answers in time, or we are not let in
        """
        unusable, servers = "", ",".join(self._given.servers)
        with anyio.move_on_after(patience):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._end_if_denied, tasks.cancel_scope)
                unusable = await self._connect()
                self._opened = not unusable
                self._since = time.monotonic()
                tasks.cancel_scope.cancel()
        if self._denied.is_set():
            raise EngineUnusable(
                f"NATS does not let us in: {self.why}; give it a valid login in --engine, or --engine-creds"
            )
        if unusable:
            raise EngineUnusable(f"NATS cannot be used at {servers} (--engine): {unusable}")
        if not self._opened:
            why = self.why or "no answer"
            raise EngineUnusable(f"NATS cannot be reached at {servers} (--engine) for {patience:g} s: {why}")

    async def _connect(self) -> str:
        """Connect, however often that takes. What else is wrong; nothing, if it is done."""
        options = self._given
        given: dict[str, Any] = {}
        if options.user:
            given |= {"user": options.user, "password": options.password}
        if options.token:
            given["token"] = options.token
        if options.creds is not None:
            given |= {"user_jwt_cb": self._jwt, "signature_cb": self._signature}
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
        except Exception as error:  # whatever it is that listens there may say anything
            return _in_words(error)
        return ""

    def _jwt(self) -> bytearray:
        return bytearray(self._credentials().jwt)

    def _signature(self, nonce: str) -> bytes:
        return self._credentials().signed(nonce)

    def _credentials(self) -> Credentials:
        """Who we are, as the file says now."""
        assert self._given.creds is not None
        try:
            return read_credentials(self._given.creds)
        except ValueError as error:
            raise NatsError(f"nats: --engine-creds {self._given.creds}: {error}") from error

    async def _process_connect_init(self) -> None:
        """See `Client._process_connect_init`, which takes a server that hangs up for one that has let us in.

        And of an attempt that comes to nothing it leaves the connection open.
        """
        try:
            await super()._process_connect_init()
            if not self.is_connected:
                for task in (self._reading_task, self._ping_interval_task, self._flusher_task):
                    if task is not None:
                        task.cancel()
                raise NatsError("nats: the server has hung up, and does not say why")
        except BaseException:
            self._hang_up()
            raise

    async def _attempt_reconnect(self) -> None:
        """See `Client._attempt_reconnect`, which ends for good with an error that it does not know."""
        while True:
            self._hang_up()
            try:
                return await super()._attempt_reconnect()
            except Exception as error:
                await self._trouble(error)
                await anyio.sleep(RECONNECT_SECONDS)

    def _hang_up(self) -> None:
        """Without a farewell: with TLS one is waited for, for half a minute where the other side stands still."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()

    async def _end_if_denied(self, scope: anyio.CancelScope) -> None:
        await self._denied.wait()
        scope.cancel()

    async def leave(self) -> None:
        """Close for good."""
        self._leaving = True
        if not self.is_connected:  # `close` would write what waits to a connection that is closed
            self._pending, self._pending_data_size = [], 0
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_SECONDS), suppress(OSError, RuntimeError):
            await self.close()  # the second is what uvloop says where it was closed just now
        self._hang_up()  # of a connection that was only half made `close` knows nothing
        await cancel_shielded_checkpoint()

    @asynccontextmanager
    async def hearing(self, subject: str, heard: Heard) -> AsyncIterator[None]:
        """In here every message is given to `heard` as soon as it is read: no queue of nats-py's that may overflow."""
        subscription = await self.subscribe(subject, cb=_nobody)
        self._heard[subscription._id] = heard
        try:
            yield
        finally:
            del self._heard[subscription._id]
            with anyio.CancelScope(shield=True), suppress(NatsError):
                await subscription.unsubscribe()

    async def headers(self, raw: bytes | None) -> dict[str, str]:
        """What they say, and with `Status` and `Description` what JetStream has to tell."""
        return await self._process_headers(raw) or {}

    def forbidden(self, subject: str) -> bool:
        """Whether a server has refused it to our login, since this was last asked."""
        try:
            self._forbidden.remove(subject.lower())  # as nats-py tells it
        except ValueError:
            return False
        return True

    async def _trouble(self, error: Exception) -> None:
        self.why = _in_words(error)
        denied = any(word in self.why.lower() for word in _DENIED)
        if denied and self._opened:
            self.why = f"it does not let us in any more: {self.why}; see --engine, --engine-creds"
        if denied and not self._opened:
            self._denied.set()
        elif self._telling.due():
            self._told |= self._opened and not self.is_connected
            logger.warning("NATS: %s%s", self.why, "" if self.is_connected else "; it is tried again")

    async def _lost(self) -> None:
        if time.monotonic() - self._since >= STEADY_SECONDS:
            self._telling.anew()
        if not self._leaving and self._telling.due():
            self._told = True
            logger.warning("NATS: the connection is lost")

    async def _found(self) -> None:
        if self._told:
            logger.warning("NATS: connected again, to %s", self.where())
            self._told = False
        self._since = time.monotonic()
        self.why = ""
        for call in self.back:
            call()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        """See `Client._process_msg`."""
        if (heard := self._heard.get(sid)) is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            await heard(subject.decode(), reply.decode(), data, headers)
        except Exception as error:  # else nothing would be read any more
            await self._trouble(error)

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
        if self._given.secure and not self._server_info.get("tls_required"):
            raise NatsError("nats: the server does not speak TLS, which --engine-ca, --engine-cert and tls:// demand")
        return super()._connect_command()


def _in_words(error: Exception) -> str:
    """What went wrong, with the setting that it may hang on."""
    said = f"{error}".removeprefix("nats: ") or type(error).__name__
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not hold: {error.verify_message}; see --engine and --engine-ca"
    if isinstance(error, ssl.SSLError) and _OURS.search(said):
        return f"it does not take our certificate: {said}; see --engine-cert"
    return said


async def _nobody(_: Msg) -> None:
    """All messages are taken before they come here."""

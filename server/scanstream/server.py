"""Puts a core on a socket: listener, uvicorn, and the way out."""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import anyio
import uvicorn
from starlette.types import ASGIApp

from scanstream.collector import Collector
from scanstream.core import Core, open_core
from scanstream.descriptors import places, raise_limit
from scanstream.errors import PortInUse, SettingError
from scanstream.log.refold import Slices
from scanstream.push.transport.bounds import PATIENCE, DoorConfig
from scanstream.push.transport.crowd import Crowd
from scanstream.push.transport.http import HttpTransport
from scanstream.push.transport.listener import keep_watch, listen
from scanstream.push.transport.tls import Accepting
from scanstream.push.transport.websocket import WebSocketTransport
from scanstream.routes import Doors, doors
from scanstream.settings import Settings
from scanstream.tls import renew

logger = logging.getLogger("scanstream")

PING_INTERVAL_SECONDS = 20.0
DRAIN_SECONDS = 4.0
"""What clients have to leave when the server stops; a second more is for the rest of the server."""
CUT_SECONDS = 0.5
"""What their requests have to end once the connections are cut."""
PATIENT = 3
"""Times the silence that a new connection may keep: for a head as a whole, and for a body that does not go on."""
POLL_SECONDS = 0.02
SWITCH_SECONDS = 0.001
"""What the loop waits at most, each time that it comes back from the kernel, for a thread that runs Python: the
interpreter's own 5 ms are all that it may ever be held up."""


@asynccontextmanager
async def serving(settings: Settings, collector: Collector | None = None) -> AsyncIterator[str]:
    """A server on a real socket; gives its address, and drains it at the end.

    :param collector: at work in this process: it is told whether anybody is there
    :raises SetupError: if it cannot be had like this
    """
    settings.check_reach()
    raise_limit()
    sys.setswitchinterval(SWITCH_SECONDS)
    async with open_core(settings) as core:
        with contextlib.closing(_listener(settings)) as listener:
            server = _server(settings, doors(settings, core))
            if settings.tls_cert:
                server.accepting = _by_tls(settings, core, server, listener)
            server.config.crowded = lambda: core.seats.crowded
            port = listener.getsockname()[1]
            if collector is not None:
                collector.anybody = lambda: bool(server.server_state.connections or core.hub.unfinished())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_drained, server, listener)
                tasks.start_soon(keep_watch, server.server_state.connections, server.patience.sweep, core.sight)
                if server.accepting is not None:
                    tasks.start_soon(server.accepting.run)
                try:
                    await server.listening.wait()
                    host = f"[{settings.host}]" if ":" in settings.host else settings.host
                    with _renewing(settings, server.tls):
                        yield f"{'http' if server.tls is None else 'https'}://{host}:{port}"
                finally:
                    await _drain(core, server)
                    tasks.cancel_scope.cancel()


async def _drain(core: Core, server: "_Server") -> None:
    """Accept nobody more, tell those who are connected, give them the time to leave, cut off the others, and stop."""
    with anyio.CancelScope(shield=True):
        for accepting in getattr(server, "servers", ()):  # absent before it listens
            accepting.close()
        with anyio.move_on_after(DRAIN_SECONDS):
            await core.drain.run()
            await server.dismiss()
            await server.deserted()
        await server.cut()
        with anyio.move_on_after(CUT_SECONDS):  # requests whose connection is gone end by themselves
            await server.deserted()
        await core.drain.cut()
        core.attendance.cut()
        server.should_exit = True


@contextmanager
def _renewing(settings: Settings, tls: ssl.SSLContext | None) -> Iterator[None]:
    """With each SIGHUP in here connections that come later see the certificate that is in the files then."""
    if tls is None:
        yield
        return

    def renewed() -> None:
        try:
            renew(tls, settings, settings.naming)
        except SettingError as error:
            logger.error("the certificate stays the old one: %s", error.detail)  # noqa: TRY400  # no defect
        else:
            logger.warning("the certificate was read anew")

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, renewed)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def _until_drained(server: "_Server", listener: socket.socket) -> None:
    """A cancelled uvicorn leaves its sockets behind: it is told to exit instead, and given the time to."""
    with anyio.CancelScope(shield=True):
        await server.serve([listener])


@asynccontextmanager
async def answering(app: ASGIApp, listener: socket.socket, most: int) -> AsyncIterator[None]:
    """A small application answers on a socket in here, beside other work: plain requests, bounded like all others.

    :param most: connections at once
    """
    config = DoorConfig(
        app,
        lifespan="off",
        http=HttpTransport,
        ws="none",
        timeout_graceful_shutdown=1,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    config.crowd = Crowd()
    config.places = lambda: most
    server = _Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_until_drained, server, listener)
        tasks.start_soon(keep_watch, server.server_state.connections, server.patience.sweep)
        try:
            await server.listening.wait()
            yield
        finally:
            server.should_exit = True
            tasks.cancel_scope.cancel()


def _listener(settings: Settings) -> socket.socket:
    try:
        return listen(settings.host, settings.port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"Port {settings.port} on {settings.host} is in use; name another with --port (0 picks a free one)"
            ) from error
        reason = str(error.strerror or error).partition(" (while ")[0]  # the address comes before it
        where = f"--host {settings.host} --port {settings.port}: {reason}"
        raise SettingError(f"{where}. Is that an address of this machine, and may this user take it?") from error


def _server(settings: Settings, doors: Doors) -> "_Server":
    config = DoorConfig(
        doors.app,
        lifespan="off",
        http=HttpTransport,
        ws=WebSocketTransport,
        ws_max_size=settings.max_message,
        ws_per_message_deflate=settings.compression == "deflate",
        ws_ping_interval=None,  # the sweep sends them
        timeout_keep_alive=settings.keep_alive,  # type: ignore[arg-type]  # it is handed to `call_later`
        timeout_graceful_shutdown=1,  # what is left then was cut before
        log_config=None,
        access_log=False,
        proxy_headers=False,  # push/forwarded.py reads them, from those whom the operator trusts
        server_header=False,
    )
    config.glance = doors.glance
    config.crowd = Crowd()
    config.places = partial(places, settings.workers)
    config.patience = PATIENCE._replace(
        stall=settings.stall,
        ping=PING_INTERVAL_SECONDS,
        pong=max(settings.stall, PING_INTERVAL_SECONDS),
        silence=settings.silence,
        head=PATIENT * settings.silence,
        body=PATIENT * settings.silence,
    )
    config.most_head_bytes = settings.max_head
    config.strict = bool(settings.tls_cert)
    return _Server(config)


def _by_tls(settings: Settings, core: Core, server: "_Server", listener: socket.socket) -> Accepting:
    """Who lets in those who connect, in place of the loop's own."""
    protocol = partial(HttpTransport, config=server.config, server_state=server.server_state, app_state={})
    server.tls = settings.tls_context(settings.naming)
    connections = server.server_state.connections
    return Accepting(listener, server.tls, protocol, core.handshakes, connections, server.patience)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: whoever opened the server decides when it ends."""

    config: DoorConfig

    def __init__(self, config: DoorConfig) -> None:
        super().__init__(config)
        self.patience = config.patience
        self.tls: ssl.SSLContext | None = None
        self.accepting: Accepting | None = None
        """Lets in who comes by TLS; None where uvicorn does, without."""
        self.listening = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell whoever waits for it."""
        if self.accepting is None:
            await super().startup(sockets)
        else:
            self.servers = [self.accepting]  # type: ignore[list-item]  # has what uvicorn asks of a server
            self.started = True
        self.listening.set()

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]  # same use
        return contextlib.nullcontext()

    async def dismiss(self) -> None:
        """Hang up on those who are idle; whoever is being answered goes with the answer."""
        slices, connected = Slices(), list(self.server_state.connections)
        while connected:  # let go of one after the other: all at once takes as long as to make them
            connection = connected.pop()
            if connection in self.server_state.connections:
                connection.shutdown()
            await slices.turn()

    async def deserted(self) -> None:
        """Wait until nobody is connected and nothing is being answered."""
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110  # uvicorn tells nobody
            await anyio.sleep(POLL_SECONDS)

    async def cut(self) -> None:
        """Be rid of everybody, whatever they have not taken."""
        slices, connected = Slices(), list(self.server_state.connections)
        while connected:
            connected.pop().transport.abort()
            await slices.turn()

"""scanstream within somebody's own application: an ASGI application to be mounted, and the lifespan that it lives in.

    scans = Scanstream(data="scans", workers=2)
    app = FastAPI(lifespan=scans.lifespan)      # or Starlette(…)
    app.mount("/scans", scans)

docs/embedding.md says more.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack

import anyio
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from scanstream.core import Core, open_core
from scanstream.departure import hearing
from scanstream.errors import Restarting, SettingError, SetupError
from scanstream.push.problem import refuse
from scanstream.routes import application
from scanstream.settings import Settings
from scanstream.siblings import alone

__all__ = ["Core", "Options", "Scanstream", "open_core"]

LEAVE_SECONDS = 4.0
"""What clients have to leave, where the server has not made them leave before."""
TELL_SECONDS = 1.0
"""What they have at most before the server hears that it is to stop."""
HOSTS_OWN = frozenset(
    {
        *("host", "port", "health_port", "insecure", "stall", "keep_alive", "compression", "max_head", "silence"),
        "log_format",
        *("tls_cert", "tls_key", "tls_key_password_file", "max_own_handshakes"),
    }
)
"""Settings of a server's socket and log, which are not ours here."""

SEVERAL = frozenset({"allow_origin", "allow_host", "trusted_proxy", "notify", "notify_private"})
"""Settings that hold any number of texts."""

PATHS = frozenset({"data", "keys", "jwt_secret_file", "jwt_keys"})
"""Settings that may be given as paths."""

_FLAG = re.compile(r"--([a-z]+(?:-[a-z]+)*) ?")
_VARIABLE = re.compile(r" \(SCANSTREAM_[A-Z_]+\)")


class Options(TypedDict, total=False):
    """The settings, as docs/settings.md explains them: flags with `_` for `-`, without those of the socket."""

    data: str | Path
    market: str
    refresh: float
    live_symbols: str
    live_timeframe: str
    live_bars: int
    engine: str
    engine_creds: str
    engine_ca: str
    engine_cert: str
    engine_key: str
    lease: float
    replicas: int | None
    namespace: str
    workers: int
    worker_priority: str
    max_running: int
    max_in_loop: int
    max_in_loop_per_scan: int
    max_scans: int
    max_own_scans: int | None
    max_discovers: int | None
    max_sockets: int | None
    max_own_sockets: int | None
    max_subscriptions: int
    max_messages: int
    budget: float
    retention: float
    fresh: float | None
    tick: float
    max_message: int
    allow_origin: str | Sequence[str]
    allow_host: str | Sequence[str]
    root_path: str
    trusted_proxy: str | Sequence[str]
    notify: str | Sequence[str]
    notify_private: str | Sequence[str]
    auth: str
    keys: str | Path
    jwt_secret: str
    jwt_secret_file: str | Path
    jwt_keys: str | Path
    jwt_issuer: str
    jwt_audience: str
    jwt_algorithms: str


class _Running(NamedTuple):
    """What is there between start and stop."""

    core: Core
    app: ASGIApp
    loop: asyncio.AbstractEventLoop


class Scanstream:
    """All that `scanstream serve` answers, below a path of somebody's own application.

    It runs from the start of its `lifespan` to its end: in one process, in one event loop, once at a time.

    :raises SettingError: if a setting is not one, or not as it must be
    """

    def __init__(self, **options: Unpack[Options]) -> None:
        with _in_arguments():
            self._settings = _settings(dict(options))
        self._running: _Running | None = None
        self._has_run = False
        self._by_itself = Router(lifespan=self.lifespan)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Start, and stop at the end: the `lifespan` of the host, or an `async with` within it.

        :param app: the host, as Starlette and FastAPI hand it over; it is not looked at
        :raises SetupError: if it cannot run like this
        """
        loop = _event_loop()
        if self._running is not None:
            raise SettingError("This Scanstream runs already: make one for each application that is started")
        try:
            with alone(), _in_arguments():
                async with open_core(self._settings) as core:
                    self._running, self._has_run = _Running(core, application(self._settings, core), loop), True
                    with hearing(lambda go_on: loop.call_soon_threadsafe(_dismiss, core, go_on)):
                        try:
                            yield
                        finally:
                            await _let_go(core)
        except BaseExceptionGroup as group:
            raise _only(group) from None
        finally:
            self._running = None

    async def drain(self) -> None:
        """Tell everybody who is connected that the server is about to stop, and wait until they have left.

        It is done by itself when a signal says so. A host that is stopped in another way calls it before it waits for
        its connections; how long it waits is its own matter.
        """
        if self._running is not None:
            await self._running.core.drain.run()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what comes below the path that it is mounted at; or be the whole application, with its lifespan.

        :raises RuntimeError: if it was never started, or in another event loop
        """
        running = self._running
        if scope["type"] == "lifespan":
            await self._by_itself.lifespan(scope, receive, send)
        elif running is not None and running.loop is not asyncio.get_running_loop():
            raise RuntimeError("This Scanstream was started in another event loop: an application has one")
        elif running is not None:
            await running.app(scope, receive, send)
        elif self._has_run:
            await refuse(Restarting("Scans have stopped here; the server's log says why"), scope, receive, send)
        else:
            raise RuntimeError(
                "This Scanstream was not started: hand its lifespan to the application that it is mounted in, as in"
                " FastAPI(lifespan=scans.lifespan); lifespans of applications that are mounted are not run"
            )


def _settings(options: dict[str, Any]) -> Settings:
    for name in sorted(options):
        if name in HOSTS_OWN:
            raise SettingError(f"{name}= is a matter of the server that runs your application")
        if name not in Options.__annotations__:
            raise SettingError(f"There is no setting {name}=; docs/settings.md has them all")
    for name in SEVERAL & options.keys():
        options[name] = (options[name],) if isinstance(options[name], str) else tuple(options[name])
    for name in PATHS & options.keys():
        options[name] = str(options[name])
    return Settings(**options)


def _event_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise SettingError("scanstream runs in event loops of asyncio, and uvloop; this is another one") from None


def _dismiss(core: Core, go_on: Callable[[], object]) -> None:
    """The server is about to stop: those who listen are told, so that it need not wait for them, nor cut them off."""
    if core.drain.begun:
        go_on()
    else:
        core.attendance.start(partial(_tell, core, go_on))


async def _tell(core: Core, go_on: Callable[[], object]) -> None:
    try:
        with anyio.move_on_after(TELL_SECONDS):
            await core.drain.run()
    finally:
        go_on()


async def _let_go(core: Core) -> None:
    """Be rid of everybody who is still connected."""
    with anyio.CancelScope(shield=True):
        with anyio.move_on_after(LEAVE_SECONDS):
            await core.drain.run()
        await core.drain.cut()
        core.attendance.cut()


def _only(error: BaseException) -> BaseException:
    """What is in a group, and in a group in that, if it is the only one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


@contextmanager
def _in_arguments() -> Iterator[None]:
    """What cannot work is told in arguments, not in flags."""
    try:
        yield
    except SetupError as error:
        told = _FLAG.sub(lambda flag: flag[1].replace("-", "_") + "=", _VARIABLE.sub("", error.detail))
        raise type(error)(told) from None

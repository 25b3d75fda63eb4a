"""The composition root of the server: settings → store → hub → desk → doors. Only here concrete names are known."""

import contextlib
import errno
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from scanstream.engines.sqlite import SqliteStore, open_store
from scanstream.errors import Internal, PortInUse, ScanstreamError, SettingError
from scanstream.log.hub import Hub
from scanstream.market.panels import Panels, open_panels
from scanstream.metrics import MEDIA_TYPE, Metrics
from scanstream.model import ANYONE
from scanstream.push.contract import asyncapi, openapi
from scanstream.push.drain import Drain
from scanstream.push.fanout import Fanout
from scanstream.push.http import HttpDoor
from scanstream.push.origin import LOOPBACK, OriginCheck
from scanstream.push.poll import PollDoor
from scanstream.push.problem import PROBLEM_TYPE, json_response, problem
from scanstream.push.sse import EventsDoor
from scanstream.push.transport import HttpTransport, WebSocketTransport, listen
from scanstream.push.websocket import Connection, Limits
from scanstream.scans.desk import Limits as DeskLimits
from scanstream.scans.desk import ScanDesk
from scanstream.scans.local import LocalJobs
from scanstream.scans.planner import Planner
from scanstream.scans.runner import Runner
from scanstream.scans.sweeper import Sweeper
from scanstream.scans.waiting import Lanes
from scanstream.settings import Settings
from scanstream.strategies.strategy import registry

PING_INTERVAL_SECONDS = 20.0
DRAIN_SECONDS = 5
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Core:
    """Everything of a server that is no socket: the store, the hub, and the rooms that work on them."""

    def __init__(self, settings: Settings, store: SqliteStore, panels: Panels, directory: Path) -> None:
        self.store = store
        self.panels = panels
        self._refresh = settings.refresh
        self.hub = Hub(store)
        self.drain = Drain()
        computing, waiting = LocalJobs(), LocalJobs()
        jobs = Lanes(computing, waiting)
        self.planner = Planner(store, self.hub, jobs, panels.of, max_running=settings.max_running)
        self.runner = (
            Runner(store, self.hub, jobs, directory, workers=settings.workers, idle=settings.worker_priority == "idle")
            if settings.workers
            else None
        )
        self.desk = ScanDesk(
            store,
            self.hub,
            lambda: panels.current,
            registry(),
            self.planner.rank,
            DeskLimits(
                budget=settings.budget,
                retention=settings.retention,
                fresh=settings.fresh_seconds,
                max_scans=settings.max_scans,
            ),
        )
        self.sweeper = Sweeper(store, self.hub, self.desk.release)
        self.fanout = Fanout(self.hub)
        self.metrics = Metrics(
            {
                "scans_unfinished": ("Scans that have not ended", self.hub.unfinished),
                "scans_queued": ("Scans that wait for a free place", self.planner.waiting),
                "shards_waiting": ("Shards that wait for their turn", lambda: computing.depth() + waiting.depth()),
                "shards_running": ("Shards that run", self.runner.running if self.runner else lambda: 0),
                "readers": ("Scans followed, over all connections", self.fanout.readers),
                "connections": ("WebSockets, event streams and long polls", lambda: len(self.drain)),
            }
        )

    def _needed(self) -> set[str]:
        """The market data that unfinished scans stand on."""
        return {log.folded.registered.digest for log in self.hub.live()}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Replay what the store holds, then take up unfinished scans; on the way out let go of everything."""
        async with anyio.create_task_group() as tasks:
            with self.hub.watching_all(self.sweeper.notice), self.hub.watching_all(self.metrics.notice):
                tasks.start_soon(self.hub.run)
                await self.store.barrier()
                self.panels.forget(self._needed())
                tasks.start_soon(self.panels.keep_fresh, self._refresh, self._needed)
                for part in (self.desk, self.planner, self.sweeper, self.runner):
                    if part is not None:
                        tasks.start_soon(part.run)
                try:
                    yield
                finally:
                    tasks.cancel_scope.cancel()


@asynccontextmanager
async def open_core(settings: Settings) -> AsyncIterator[Core]:
    """The core of a server with these settings, running.

    :raises SetupError: if the data directory, the market or a setting is not as it must be
    """
    for name in BLAS_THREADS:  # inherited by the workers: one thread each, as they share the cores
        os.environ.setdefault(name, "1")
    market = settings.open_market()
    async with open_store(settings.directory) as store:
        with _panel_directory(settings.directory) as directory:
            core = Core(settings, store, await open_panels(market, directory), directory)
            async with core.running():
                yield core


@contextmanager
def _panel_directory(data: Path | None) -> Iterator[Path]:
    if data is not None:
        yield data / "market"
    else:
        with tempfile.TemporaryDirectory(prefix="scanstream-") as scratch:
            yield Path(scratch)


def application(settings: Settings, core: Core) -> ASGIApp:
    """The ASGI application over a running core."""
    fanout = core.fanout
    limits = Limits(stall_seconds=settings.stall)
    poll = PollDoor(core.desk, fanout, core.drain)
    events = EventsDoor(core.desk, fanout, core.drain, stall_seconds=settings.stall)
    door = HttpDoor(core.desk, poll, lambda: core.panels.current, catalogue, most_bytes=settings.max_message)
    static = static_files()

    async def websocket(connection: WebSocket) -> None:
        await Connection(connection, ANYONE, core.desk, fanout, core.drain, limits).serve()

    async def page(_: Request) -> Response:
        return FileResponse(static / "index.html", headers={"cache-control": "no-cache"})

    async def alive(_: Request) -> Response:
        return json_response({"status": "ok"})

    async def ready(_: Request) -> Response:
        await core.store.barrier()
        return json_response({"status": "ready"})

    async def metrics(_: Request) -> Response:
        return Response(core.metrics.text(), media_type=MEDIA_TYPE)

    app = Starlette(
        routes=[
            *door.routes(),
            Route("/opportunities/events/{scan_id}", events.events),
            WebSocketRoute("/ws", websocket),
            Route("/healthz", alive),
            Route("/readyz", ready),
            Route("/metrics", metrics),
            Route("/openapi.json", contract_of(openapi)),
            Route("/asyncapi.json", contract_of(asyncapi)),
            Route("/", page),
            Mount("/static", StaticFiles(directory=static)),
        ],
        exception_handlers={ScanstreamError: _refusal, HTTPException: _http_refusal, Exception: _defect},
    )
    return OriginCheck(app, allowed=settings.allow_origin, loopback=settings.host in LOOPBACK)


def contract_of(document: Callable[[], dict[str, Any]]) -> Callable[[Request], Awaitable[Response]]:
    """A route that answers with a contract."""

    async def answer(_: Request) -> Response:
        return json_response(document())

    return answer


async def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, ScanstreamError)
    return problem(error)


async def _http_refusal(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    body = {
        "type": f"{PROBLEM_TYPE}no_such_route",
        "title": error.detail,
        "status": error.status_code,
        "detail": f"{error.detail}: {request.method} {request.url.path}",
        "code": "no_such_route",
    }
    return json_response(
        body, status=error.status_code, headers=dict(error.headers or {}), media_type="application/problem+json"
    )


async def _defect(_: Request, __: Exception) -> Response:
    return problem(Internal("The server failed on this request; its log says why"))


def catalogue() -> list[Mapping[str, Any]]:
    """The installed strategies, as `/opportunities/strategies` lists them."""
    return [
        {
            "id": strategy.id,
            "name": strategy.name,
            "opportunity_type": strategy.opportunity_type,
            "description": strategy.description,
            "source": strategy.source,
            "parameters": strategy.schema(),
        }
        for strategy in registry().values()
    ]


def static_files() -> Path:
    """Where the page is: inside the installed package, or beside `server/` in a checkout.

    :raises SettingError: if it is in neither
    """
    package = Path(__file__).parent
    for candidate in (package / "static", package.parent.parent / "static"):
        if (candidate / "index.html").is_file():
            return candidate
    raise SettingError("The page's files are missing from this installation; install scanstream again")


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[str]:
    """A server on a real socket; gives its address, and drains it at the end.

    :raises SetupError: if it cannot be had like this
    """
    async with open_core(settings) as core:
        with contextlib.closing(_listener(settings)) as listener:
            server = _server(settings, application(settings, core))
            port = listener.getsockname()[1]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_drained, server, listener)
                await server.listening.wait()
                try:
                    yield f"http://{f'[{settings.host}]' if ':' in settings.host else settings.host}:{port}"
                finally:
                    await _drain(core, server)


async def _drain(core: Core, server: "_Server") -> None:
    """Accept nobody more, tell those who are connected, give them the time to leave, and stop."""
    with anyio.CancelScope(shield=True):
        for accepting in server.servers:
            accepting.close()
        await core.drain.run(DRAIN_SECONDS)
        server.should_exit = True


async def _until_drained(server: "_Server", listener: socket.socket) -> None:
    """A cancelled uvicorn leaves its sockets behind: it is told to exit instead, and given the time to."""
    with anyio.CancelScope(shield=True):
        await server.serve([listener])


def _listener(settings: Settings) -> socket.socket:
    try:
        return listen(settings.host, settings.port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"Port {settings.port} on {settings.host} is in use; name another with --port (0 picks a free one)"
            ) from error
        raise SettingError(f"--host {settings.host} --port {settings.port}: {error.strerror or error}") from error


def _server(settings: Settings, app: ASGIApp) -> "_Server":
    config = uvicorn.Config(
        app,
        lifespan="off",
        http=HttpTransport,
        ws=WebSocketTransport,
        ws_max_size=settings.max_message,
        ws_per_message_deflate=False,
        ws_ping_interval=PING_INTERVAL_SECONDS,
        ws_ping_timeout=max(settings.stall, PING_INTERVAL_SECONDS),
        timeout_graceful_shutdown=DRAIN_SECONDS,
        log_config=None,
        access_log=False,
        server_header=False,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: whoever opened the server decides when it ends."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell whoever waits for it."""
        await super().startup(sockets)
        self.listening.set()

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]  # same use
        return contextlib.nullcontext()

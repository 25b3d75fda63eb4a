"""The ASGI application over a running core: which door answers which path, and what a refusal looks like."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from scanstream.app import Core
from scanstream.errors import Internal, ScanstreamError, SettingError
from scanstream.metrics import MEDIA_TYPE
from scanstream.model import ANYONE
from scanstream.push.contract import asyncapi, openapi
from scanstream.push.http import HttpDoor
from scanstream.push.origin import LOOPBACK, OriginCheck
from scanstream.push.poll import PollDoor
from scanstream.push.problem import PROBLEM_TYPE, json_response, problem
from scanstream.push.sse import EventsDoor
from scanstream.push.websocket import Connection, Limits
from scanstream.settings import Settings
from scanstream.strategies.strategy import registry


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

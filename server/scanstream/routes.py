"""The ASGI application over a running core: which door answers which path, and what a refusal looks like."""

from pathlib import Path
from typing import NamedTuple

from msgspec import UNSET
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp

from scanstream.core import Core
from scanstream.errors import SettingError
from scanstream.metrics import MEDIA_TYPE
from scanstream.push.bodies import CatalogueEntry
from scanstream.push.callers import CallerRule, caller_of
from scanstream.push.candles import CandlesDoor
from scanstream.push.contract.documents import asyncapi, openapi
from scanstream.push.deadlines import Deadlines
from scanstream.push.drain import DrainRule
from scanstream.push.entrance import Entrance
from scanstream.push.events import EventsDoor
from scanstream.push.explain import ExplainDoor
from scanstream.push.follow import FollowDoor
from scanstream.push.forwarded import Forwarded, prefix_here
from scanstream.push.glance import Glance
from scanstream.push.head import HeadRule
from scanstream.push.http import HttpDoor
from scanstream.push.manners import Bounds
from scanstream.push.notify import NotifyDoor
from scanstream.push.orders import Orders
from scanstream.push.origin import OriginCheck
from scanstream.push.page import PageDoor
from scanstream.push.poll import PollDoor
from scanstream.push.problem import json_response
from scanstream.push.refusals import ANY_PATH, REFUSALS, CacheRule, ShortageRule, no_such_socket, upgrade_required
from scanstream.push.share import ShareDoor
from scanstream.push.sockets import SocketDoor, SocketsFirst
from scanstream.push.stream import Streams
from scanstream.push.waiter import Room
from scanstream.push.websocket import Common
from scanstream.scans.selection import named_symbol
from scanstream.settings import Settings
from scanstream.strategies.installed import registry


class Doors(NamedTuple):
    """What a transport is given."""

    app: ASGIApp
    """Answers everything."""
    glance: Glance
    """Answers some of it, where that can be had for less."""


def application(settings: Settings, core: Core) -> ASGIApp:
    """The ASGI application over a running core, for any ASGI server."""
    return doors(settings, core).app


def doors(settings: Settings, core: Core) -> Doors:
    """The ASGI application over a running core, and the short way beside it."""
    for contract in (openapi, asyncapi):  # kept from now on: they take longer to make than the loop has
        contract()
    room = Room(core.fanout, core.drain, Deadlines(), core.vigil, core.seats)
    streams = Streams(room)
    app = Starlette(
        routes=[*_of_scans(settings, core, room, streams), *_of_the_server(core)],
        middleware=[Middleware(CallerRule, guard=core.guard)],
        exception_handlers=REFUSALS,
    )
    app.router.redirect_slashes = False  # its Location is absolute, and would lead out of a proxy's path
    strict = bool(settings.tls_cert)
    names = None if core.guard.required else settings.host_names
    sockets = SocketsFirst(ShortageRule(app), _sockets(settings, core))
    checked = OriginCheck(sockets, origins=settings.origins, names=names)
    placed = Forwarded(checked, prefix=settings.prefix, trusted=settings.proxies)
    orders = Orders(core.desk, core.guard, core.attendance.start)
    glance = Glance(core.desk, room, core.answers, streams, orders, Entrance(placed, checked, strict=strict))
    whole = CacheRule(placed, strict=strict)
    return Doors(DrainRule(HeadRule(whole), core.drain), glance)


def _of_scans(settings: Settings, core: Core, room: Room, streams: Streams) -> list[Route]:
    """What scans are asked for, in plain requests."""
    desk, guard, most_bytes = core.desk, core.guard, settings.max_message
    poll = PollDoor(desk, room, core.answers)
    events = EventsDoor(desk, streams)
    follow = FollowDoor(desk, room, core.attendance, most_bytes=most_bytes)
    return [
        *HttpDoor(desk, guard, poll, core.panels.shown, catalogue(), most_bytes=most_bytes).routes(),
        *CandlesDoor(core.panels.shown, named_symbol).routes(),
        Route("/opportunities/events/{scan_id}", events.events),
        Route("/opportunities/follow", follow.follow, methods=["POST"]),
        *ShareDoor(desk, guard, most_bytes=most_bytes).routes(),
        *NotifyDoor(desk, core.notices, most_bytes=most_bytes).routes(),
        *ExplainDoor(desk, core.explainer.explain).routes(),
    ]


def _sockets(settings: Settings, core: Core) -> SocketDoor:
    bounds = Bounds(settings.max_subscriptions, settings.message_rate)
    common = Common(core.desk, core.fanout, core.drain, core.guard, core.vigil, core.seats, bounds)
    return SocketDoor(common, core.attendance.start)


def _of_the_server(core: Core) -> list[BaseRoute]:
    """How it is, what it promises, its page; and what is said where nothing is."""
    page = PageDoor(static_files(), lambda: core.panels.current.market, asks=core.guard.required)

    async def alive(_: Request) -> Response:
        return json_response({"status": "ok"})

    async def ready(_: Request) -> Response:
        await core.readiness.require()
        return json_response({"status": "ready"})

    async def metrics(request: Request) -> Response:
        caller_of(request).operates()
        return Response(await core.metrics.text(), media_type=MEDIA_TYPE)

    return [
        Route("/ws", upgrade_required),
        WebSocketRoute(ANY_PATH, no_such_socket),
        Route("/healthz", alive),
        Route("/readyz", ready),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi_here),
        Route("/asyncapi.json", asyncapi_here),
        Route("/", page.page),
        Route("/docs", page.reference),
        Mount("/static", page.files),
    ]


async def openapi_here(request: Request) -> Response:
    """The contract of the plain requests; below a path, says which."""
    prefix = prefix_here(request.scope)
    return json_response({**openapi(), **({"servers": [{"url": prefix}]} if prefix else {})})


async def asyncapi_here(request: Request) -> Response:
    """The WebSocket's contract; below a path, says where."""
    url, prefix = request.url, prefix_here(request.scope)
    here = {"host": url.netloc, "protocol": "wss" if url.is_secure else "ws", "pathname": prefix}
    return json_response({**asyncapi(), **({"servers": {"here": here}} if prefix else {})})


def catalogue() -> list[CatalogueEntry]:
    """The installed strategies, as `/opportunities/strategies` lists them."""
    return [
        CatalogueEntry(
            id=strategy.id,
            name=strategy.name,
            opportunity_type=strategy.opportunity_type,
            opportunity_types=list(strategy.types) if len(strategy.types) > 1 else UNSET,
            description=strategy.description,
            source=strategy.source,
            parameters=strategy.schema,
        )
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

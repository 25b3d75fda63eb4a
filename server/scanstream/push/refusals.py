"""What is refused before a door is reached, or by none: every such answer is a problem, too."""

import logging
from contextlib import suppress

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from scanstream.about import mention
from scanstream.errors import Internal, MethodNotAllowed, NoSuchRoute, ScanstreamError, Shortage, UpgradeRequired
from scanstream.push.confined import confined, is_strict
from scanstream.push.problem import problem, refuse
from scanstream.shortage import shortage

logger = logging.getLogger("scanstream")

ANY_PATH = "/{path:path}"


class CacheRule:
    """ASGI middleware: every answer is whole, confined, and says how it may be cached (RFC 9111, section 5.2.2).

    What changes is to be asked for again, what is absent or refused is not to be kept; an answer that says so itself
    is left as it is. A range of anything here helps nobody, and a server may pass it over (RFC 9110, section 14.2).
    """

    def __init__(self, app: ASGIApp, *, strict: bool = False) -> None:
        """:param strict: TLS ends here, so this server may say that it is to be asked by nothing else"""
        self.inner = app
        self._strict = strict

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and complete the head of the answer."""

        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=confined(message.get("headers", ()), strict=strict))
                headers.setdefault("cache-control", "no-store" if message["status"] >= 400 else "no-cache")
                del headers["accept-ranges"]
                message = {**message, "headers": headers.raw}
            await send(message)

        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        mention(scope["path"])
        strict = self._strict and scope.get("scheme") == "https" and is_strict(scope["headers"])
        asked = [header for header in scope["headers"] if header[0] != b"range"]
        with suppress(ClientDisconnect):  # the other side has left: nobody is there to be told
            await self.inner({**scope, "headers": asked}, receive, completed)


class ShortageRule:
    """ASGI middleware: that the machine was out of something is no defect, and no place for a trace."""

    def __init__(self, app: ASGIApp) -> None:
        self.inner = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; the refusal was sent further in."""
        try:
            await self.inner(scope, receive, send)
        except Exception as error:
            if not (lacking := shortage(error)):
                raise
            logger.warning("out of %s: a request was refused", lacking)


async def upgrade_required(_: Request) -> Response:
    """The WebSocket's path without a WebSocket (RFC 9110, section 15.5.22)."""
    error = UpgradeRequired("This is a WebSocket: connect to it as one, with ws:// or wss://")
    return problem(error, {"upgrade": "websocket", "connection": "Upgrade"})


async def no_such_socket(websocket: WebSocket) -> None:
    """A WebSocket where none is."""
    error = NoSuchRoute(f"There is no WebSocket at {websocket.url.path}; it is at /ws")
    await refuse(error, websocket.scope, websocket.receive, websocket.send)


async def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, ScanstreamError)
    return problem(error)


async def _http_refusal(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: no such path, no such method. OPTIONS is answered (RFC 9110, section 9.3.7)."""
    assert isinstance(error, HTTPException)
    told = f"{request.method} {request.url.path}"
    if error.status_code == 404:
        return problem(NoSuchRoute(f"There is nothing at this path: {told}"))
    if error.status_code == 405:
        taken = {method for method in (error.headers or {}).get("Allow", "").split(", ") if method}
        allow = {"allow": ", ".join(sorted(taken | {"OPTIONS"}))}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=allow)
        return problem(MethodNotAllowed(f"This path takes {allow['allow']}, and this was {told}"), allow)
    return problem(Internal(f"The server failed on this request: {error.detail}"))


async def _defect(_: Request, error: Exception) -> Response:
    if isinstance(error, ClientDisconnect):  # as above; nothing is wrong, and nothing was refused
        return Response(status_code=400)
    return defect(error)


def defect(error: Exception) -> Response:
    """What is said of what was not foreseen."""
    if lacking := shortage(error):  # nothing is wrong with the request, nor with us
        return problem(Shortage(f"The server is out of {lacking} for the moment; try again later", lacking=lacking))
    return problem(Internal("The server failed on this request; its log says why"))


REFUSALS: dict[object, ExceptionHandler] = {
    ScanstreamError: _refusal,
    HTTPException: _http_refusal,
    Exception: _defect,
}
"""Starlette's exception handlers."""

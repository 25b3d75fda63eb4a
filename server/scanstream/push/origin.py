"""Who may come in by a browser: pages of this server, and of origins that the operator names.

A page from elsewhere can open WebSockets and send POSTs to a server on this machine, and its browser says so in
`Origin`; one whose host name was made to point here (DNS rebinding) shows the wrong `Host`. Programs that are no
browsers send no `Origin` and pass.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from scanstream.errors import Forbidden, ScanstreamError
from scanstream.push.problem import problem

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class OriginCheck:
    """ASGI middleware: refuses foreign origins with 403 before anything else happens."""

    def __init__(self, app: ASGIApp, *, allowed: Sequence[str], loopback: bool) -> None:
        self.inner = app
        self._allowed = frozenset(allowed)
        self._loopback = loopback
        """Whether the server listens on loopback only, so that only loopback names can be right."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] in ("http", "websocket"):
            refusal = self._refusal(scope)
            if refusal is not None:
                await _refuse(refusal, scope, receive, send)
                return
        await self.inner(scope, receive, send)

    def _refusal(self, scope: Scope) -> ScanstreamError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._loopback and urlsplit(f"//{host}").hostname not in LOOPBACK:
            return Forbidden(f"The host {host!r} is not this server; it listens on loopback only")
        origin = headers.get("origin")
        reads_only = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if origin is None or reads_only or origin in self._allowed or urlsplit(origin).netloc == host:
            return None
        return Forbidden(f"Pages from {origin} may not use this server; allow them with --allow-origin {origin}")


async def _refuse(refusal: ScanstreamError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":  # before the accept a close is an HTTP 403
        await send({"type": "websocket.close", "code": refusal.row.close, "reason": "origin"})
    else:
        await problem(refusal)(scope, receive, send)

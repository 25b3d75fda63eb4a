"""Who may come in by a browser: pages of this server, and of origins that the operator names.

A page from elsewhere can open WebSockets and send POSTs to a server on this machine, and its browser says so in
`Origin`; one whose host name was made to point here (DNS rebinding) shows the wrong `Host`. Programs that are no
browsers send no `Origin` and pass. Pages of allowed origins may read the answers, too (CORS: WHATWG Fetch, section
3.2).
"""

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scanstream.errors import Forbidden, InvalidAddress, ScanstreamError
from scanstream.legible import legible
from scanstream.model import EVENTS_PATH
from scanstream.push.forwarded import ASKED_HOST, route_path
from scanstream.push.host import Host, HostNames, host_of, in_ascii
from scanstream.push.problem import problem, refuse

METHODS = ("GET", "HEAD", "POST")
REQUEST_HEADERS = ("Content-Type", "Idempotency-Key", "Authorization", "If-None-Match", "Last-Event-ID", "Prefer")
ANSWER_HEADERS = ("ETag", "Location", "Retry-After")
DEFAULT_PORTS = {"http": 80, "https": 443}
HEALTH = ("/healthz", "/readyz")
"""These have no secrets, and balancers ask for them without a `Host`, or with the name of a group of servers."""
READS = ("GET", "HEAD")
"""What these ask for is answered to any page, though it cannot read it; but following is not for strangers."""
VARIES = {"vary": "Origin"}
LONGEST_TOLD = 100
"""Characters of a wrong header that its refusal repeats."""

_ORIGIN = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>[^/\s]+)/?")


class Origin(NamedTuple):
    """A web origin (RFC 6454), so written that equal ones are equal."""

    scheme: str
    name: str
    port: int | None


def origin_of(text: str) -> Origin | None:
    """The origin that a header or a setting names; None for `null` and for what is none."""
    match = _ORIGIN.fullmatch(text)
    try:
        host = None if match is None else host_of(in_ascii(match["host"]))
    except ValueError:
        return None
    if match is None or host is None:
        return None
    scheme = match["scheme"].lower()
    return Origin(scheme, host.name, DEFAULT_PORTS.get(scheme) if host.port is None else host.port)


class OriginCheck:
    """ASGI middleware: refuses foreign hosts and origins before anything else happens, and speaks CORS."""

    def __init__(self, app: ASGIApp, *, origins: Collection[Origin], names: HostNames | None) -> None:
        """:param names: the host's; None where any will do, as who asks has to say who they are"""
        self.inner = app
        self._origins = frozenset(origins)
        self._names = names
        self._cors = _Cors(self._checked, self._origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS" and (refusal := self.refusal(scope)):
            await problem(refusal, VARIES)(scope, receive, send)  # before CORS answers a preflight
        elif scope["type"] == "http" and not any(name == b"origin" for name, _ in scope["headers"]):
            await self._checked(scope, receive, _varied(send))  # as CORS has it, and with less ado
        elif scope["type"] in ("http", "websocket"):
            await self._cors(scope, receive, send)
        else:
            await self.inner(scope, receive, send)

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self.refusal(scope)
        if refusal is not None:
            await refuse(refusal, scope, receive, send)
        else:
            await self.inner(scope, receive, send)

    def refusal(self, scope: Scope) -> ScanstreamError | None:
        """Why this request may not come in; None where it may."""
        headers = Headers(scope=scope)
        try:
            host = _host(headers.getlist("host"), scope)
        except InvalidAddress as error:
            return error
        path = route_path(scope)
        if path not in HEALTH and (foreign := self._foreign(host, host_of(scope.get(ASKED_HOST, "")))):
            return Forbidden(
                f"This server does not answer to the name {foreign.name!r};"
                f" its operator allows it with --allow-host {foreign.name}"
            )
        origins = headers.getlist("origin")
        reads_only = scope["type"] == "http" and scope["method"] in READS and not path.startswith(EVENTS_PATH)
        if not origins or reads_only or all(self._welcome(origin, host) for origin in origins):
            return None
        origin = ", ".join(origins)
        return Forbidden(f"Pages from {origin} may not use this server; allow them with --allow-origin {origin}")

    def _foreign(self, *hosts: Host | None) -> Host | None:
        """The first that is none of ours. A page cannot choose the `Host` that its browser sends, but may well say
        `X-Forwarded-Host`: from the machine of a proxy that is trusted it would count.
        """
        if self._names is None:
            return None
        return next((host for host in hosts if host is not None and not self._names.have(host)), None)

    def _welcome(self, text: str, host: Host | None) -> bool:
        """Whether the origin is our own, or one that is allowed.

        Its scheme is not compared with ours: behind a proxy that ends TLS the page's is another.
        """
        origin = origin_of(text)
        if origin is None or origin in self._origins:
            return origin is not None
        if host is None or origin.scheme not in DEFAULT_PORTS or origin.name != host.name:
            return False
        return origin.port == (DEFAULT_PORTS[origin.scheme] if host.port is None else host.port)


def _varied(send: Send) -> Send:
    """Say that the answer to a page of another origin is another one (WHATWG Fetch, section 3.2.5)."""

    async def varied(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            headers["vary"] = ", ".join([*headers.getlist("vary"), "Origin"])
            message = {**message, "headers": headers.raw}
        await send(message)

    return varied


def _host(named: list[str], scope: Scope) -> Host | None:
    """The host that a request is for; None where it need not say so (RFC 9112, section 3.2).

    :raises InvalidAddress: if that is none, or there are several
    """
    if len(named) > 1:
        raise InvalidAddress("The request has more than one Host header; send one")
    if not named or not named[0]:
        if scope.get("http_version") == "1.0" or route_path(scope) in HEALTH:
            return None
        raise InvalidAddress("The request names no host; HTTP/1.1 wants a Host header")
    host = host_of(named[0])
    if host is None:
        raise InvalidAddress(
            f"Host: {legible(named[0], LONGEST_TOLD)!r} is no host; send a name or an address, and maybe a port"
        )
    return host


class _Cors(CORSMiddleware):
    """Starlette's, with origins compared as origins, and refusals that look like all others."""

    def __init__(self, app: ASGIApp, origins: Iterable[Origin]) -> None:
        super().__init__(
            app,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=ANSWER_HEADERS,
            allow_private_network=True,
        )
        self._origins = frozenset(origins)

    def is_allowed_origin(self, origin: str) -> bool:
        """See `CORSMiddleware.is_allowed_origin`."""
        return origin_of(origin) in self._origins

    def preflight_response(self, request_headers: Headers) -> Response:
        """See `CORSMiddleware.preflight_response`."""
        response = super().preflight_response(request_headers)
        if response.status_code != 200:
            said = bytes(response.body).decode()
            allowed = f"allowed are {', '.join(METHODS)} with {', '.join(REQUEST_HEADERS)}"
            return problem(Forbidden(f"{said}; {allowed}"), VARIES)
        response.headers["cache-control"] = "no-store"
        return response

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        """See `CORSMiddleware.send`; an origin that is not allowed learns nothing from the headers."""
        origin = request_headers.get("origin")
        known = origin is not None and self.is_allowed_origin(origin)
        await super().send(message, send, request_headers if known else Headers())

"""Where the server stands: below which path, and what proxies in front of it say of the request that came to them.

What is in `X-Forwarded-…` counts from trusted proxies only; anybody else could write it. A proxy may strip the path
that the server stands below, or leave it: both become the same scope, with the path in `root_path` (ASGI) and in front
of `path`.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import TypeAlias, cast
from urllib.parse import quote

from msgspec.structs import replace
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn._types import ASGI3Application
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from scanstream.errors import InvalidAddress
from scanstream.message import AckBody
from scanstream.model import EVENTS_PATH, RESULTS_PATH, STATUS_PATH
from scanstream.push.problem import refuse

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

ASKED_HOST = "scanstream.asked_host"
"""In the scope, where a proxy says another: the host that the request itself names."""
LONGEST_PREFIX = 255
MAPPED_BITS = 96
"""In front of an address of IPv4 that is written as one of IPv6."""
OWN = ("opportunities", "ws", "static", "docs", "healthz", "readyz", "metrics", "openapi.json", "asyncapi.json")
"""What the server's own paths begin with: below such a path it could not tell whether a proxy has stripped it."""

_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")


def prefix_of(text: str) -> str:
    """A path that a server stands below: `/tools/scan`, or nothing. A slash at its end does not count.

    :raises ValueError: saying why it is none
    """
    path = text.rstrip("/")
    if len(path) > LONGEST_PREFIX or not _PREFIX.fullmatch(path):
        raise ValueError("write a path of letters, digits and -._~, as in /tools/scan")
    if path.split("/")[1:2] and path.split("/")[1] in OWN:
        raise ValueError("the server has this path itself; choose another one")
    return path


def network_of(text: str) -> Network:
    """A proxy's address, or a network of them.

    :raises ValueError: if it is neither
    """
    return ipaddress.ip_network(text, strict=False)


def _written(network: Network) -> list[str]:
    """A network in all ways in which proxies write its addresses: of IPv4 also within IPv6 (RFC 4291, 2.5.5.2)."""
    if isinstance(network, ipaddress.IPv6Network):
        return [str(network)]
    return [str(network), f"::ffff:{network.network_address}/{MAPPED_BITS + network.prefixlen}"]


def route_path(scope: Scope) -> str:
    """The request's path as the server's own routes have it: without the path that the server stands below."""
    path: str = scope["path"]
    return _stripped(path, scope.get("root_path", ""))


def prefix_here(scope: Scope) -> str:
    """The path that the server stands below for the caller, as addresses have it."""
    return quote(scope.get("root_path", ""))


def below(prefix: str, ack: AckBody) -> AckBody:
    """The ack with addresses for a caller who has the server below this path.

    The state's are those of whoever registered the scan, so that the state is the same for all.
    """
    addresses = {"poll_url": STATUS_PATH, "results_url": RESULTS_PATH, "events_url": EVENTS_PATH}
    return replace(ack, **{name: f"{prefix}{path}{ack.scan_id}" for name, path in addresses.items()})


def _stripped(path: str, prefix: str) -> str:
    below = prefix != "" and (path == prefix or path.startswith(f"{prefix}/"))
    return path[len(prefix) :] if below else path


class Forwarded:
    """ASGI middleware: puts into the scope where the server stands, and what trusted proxies say."""

    def __init__(self, app: ASGIApp, *, prefix: str, trusted: Sequence[Network]) -> None:
        self.inner = app
        self._prefix = prefix
        self._trusted = trusted
        named = [text for network in trusted for text in _written(network)]
        self._told = cast(ASGIApp, ProxyHeadersMiddleware(cast(ASGI3Application, self._place), named))
        """uvicorn's, for `X-Forwarded-For` and `X-Forwarded-Proto`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, as the browser asked for it."""
        if scope["type"] not in ("http", "websocket"):
            await self.inner(scope, receive, send)
            return
        scope = dict(scope)
        scope["headers"] = list(scope["headers"])
        try:
            trusted = self.stand(scope)
        except ValueError as error:
            await refuse(InvalidAddress(f"X-Forwarded-Prefix: {error}"), scope, receive, send)
            return
        await (self._told if trusted else self._place)(scope, receive, send)

    @property
    def trusts(self) -> bool:
        """Whether there are proxies that may say anything."""
        return bool(self._trusted)

    def stand(self, scope: Scope) -> bool:
        """Put into a scope of one's own below which path, and for which host, it is; whether a trusted proxy asks.

        :raises ValueError: if the path that such a proxy names is none
        """
        mounted: str = scope.get("root_path", "")
        scope["root_path"] = self._prefix
        trusted = self._is_trusted(scope)
        if trusted:
            _take(scope)
        if mounted:
            _mount(scope, mounted)
        return trusted

    async def _place(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The paths of ASGI: `path` begins with `root_path`, whether a proxy has stripped it or not."""
        prefix = scope["root_path"]
        path = _stripped(scope["path"], prefix)
        scope["path"] = prefix + path
        if path == "" and scope["type"] == "http":  # /tools/scan: the page's relative addresses begin behind a slash
            query = scope["query_string"].decode("latin-1")
            there = RedirectResponse(f"{prefix}/{f'?{query}' if query else ''}", headers={"cache-control": "no-store"})
            await there(scope, receive, send)
        else:
            await self.inner(scope, receive, send)

    def _is_trusted(self, scope: Scope) -> bool:
        """Whether a trusted proxy asks. Its address may come as one of IPv6 (`::ffff:10.0.0.1`)."""
        if not self._trusted or not scope.get("client"):
            return False
        try:
            address = ipaddress.ip_address(scope["client"][0])
        except ValueError:
            return False
        plain = (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address
        scope["client"] = (str(plain), scope["client"][1])
        return any(plain in network for network in self._trusted)


def _mount(scope: Scope, mounted: str) -> None:
    """Within another application: below what that says, which may be below what its proxies say, or say that, too.

    The path may have come to it with all of this in front, with its own part, or with the mount's alone (Starlette's
    `app_root_path` is what was in front of the mount).
    """
    outside = scope["root_path"]
    inside = mounted.removeprefix(scope.get("app_root_path", ""))
    below = mounted == outside or mounted.startswith(f"{outside}/")
    scope["root_path"] = mounted if below else outside + mounted
    for front in (scope["root_path"], mounted, inside):
        if (path := _stripped(scope["path"], front)) != scope["path"]:
            scope["path"] = scope["root_path"] + path
            return


def _take(scope: Scope) -> None:
    """Host, port and path as the browser has them. Of several values the last is the one of our own proxy.

    :raises ValueError: if the path is none
    """
    headers = Headers(scope=scope)
    prefix, host, port = (_last(headers, f"x-forwarded-{name}") for name in ("prefix", "host", "port"))
    if prefix is not None:
        scope["root_path"] = prefix_of(prefix)
    named = host or headers.get("host", "")
    if port and port.isdecimal() and not re.search(r":\d*$", named):
        default = "443" if _last(headers, "x-forwarded-proto") in ("https", "wss") else "80"
        named = named if port == default else f"{named}:{port}"
    if named and (host or port):
        scope[ASKED_HOST] = headers.get("host", "")
        MutableHeaders(scope=scope)["host"] = named


def _last(headers: Headers, name: str) -> str | None:
    values = ",".join(headers.getlist(name))
    return values.rpartition(",")[2].strip() if values else None

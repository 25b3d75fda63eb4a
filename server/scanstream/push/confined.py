"""Headers that every answer has: what a browser must not make of it, whatever is in it.

An answer that is no page loads nothing, is in no frame, and is never taken for another type than it says. The page has
more to say (push/page.py).
"""

from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import Scope

from scanstream.push.host import host_of, is_loopback

CONFINED = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}
"""Content Security Policy (W3C, level 3), WHATWG Fetch ("X-Content-Type-Options"), W3C Referrer Policy; RFC 7034."""
CONFINED_LINES = b"".join(f"{name}: {value}\r\n".encode() for name, value in CONFINED.items())
_RAW = tuple((name.encode(), value.encode()) for name, value in CONFINED.items())
STRICT = "max-age=31536000"
"""Of `Strict-Transport-Security` (RFC 6797): a year. Nothing is said of names below this one: they may be others'."""


def confined(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, as ASGI has them, with those of these that it does not have its own way."""
    own = list(headers)
    named = {name for name, _ in own}
    return [*(pair for pair in _RAW if pair[0] not in named), *own]


def is_strict(scope: Scope) -> bool:
    """Whether this host is to be asked by TLS only from now on: it was just now, by a name that is not this machine's.

    A browser heeds that for no address (RFC 6797, section 8.1.1), and for `localhost` it would cost other servers.
    """
    if scope.get("scheme") != "https":
        return False
    host = host_of(Headers(scope=scope).get("host", ""))
    return host is not None and not host.is_address and not is_loopback(host.name)

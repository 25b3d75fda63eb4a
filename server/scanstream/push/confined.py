"""Headers that every answer has: what a browser must not make of it, whatever is in it.

An answer that is no page loads nothing, is in no frame, and is never taken for another type than it says. The page has
more to say (push/page.py).
"""

from collections.abc import Iterable

from scanstream.push.host import host_of, is_loopback

CONFINED = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}
"""Content Security Policy (W3C, level 3), WHATWG Fetch ("X-Content-Type-Options"), W3C Referrer Policy; RFC 7034."""
STRICTLY_CONFINED = {**CONFINED, "strict-transport-security": "max-age=31536000"}
"""Where TLS ends here, and a name was asked for that `is_strict` (RFC 6797): a year. Nothing is said of names below
this one: they may be others'."""
_LINES, _STRICT_LINES = (
    b"".join(f"{name}: {value}\r\n".encode() for name, value in these.items())
    for these in (CONFINED, STRICTLY_CONFINED)
)
_RAW, _STRICT_RAW = (
    tuple((name.encode(), value.encode()) for name, value in these.items()) for these in (CONFINED, STRICTLY_CONFINED)
)


def confined(headers: Iterable[tuple[bytes, bytes]], *, strict: bool = False) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, as ASGI has them, with those of these that it does not have its own way."""
    own = list(headers)
    named = {name for name, _ in own}
    return [*(pair for pair in (_STRICT_RAW if strict else _RAW) if pair[0] not in named), *own]


def confined_lines(*, strict: bool) -> bytes:
    """The same as they go over the wire, for answers that have none of these their own way."""
    return _STRICT_LINES if strict else _LINES


def confined_by(*, strict: bool) -> dict[str, str]:
    """The same, to be looked up."""
    return STRICTLY_CONFINED if strict else CONFINED


def is_strict(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the host of a request that came by TLS is to be asked by that only from now on: it is no machine's own.

    A browser heeds that for no address (RFC 6797, section 8.1.1), and for `localhost` it would cost other servers.

    :param headers: of the request, the names in lower case
    """
    named = next((value for name, value in headers if name == b"host"), b"")
    host = host_of(named.decode("latin-1"))
    return host is not None and not host.is_address and not is_loopback(host.name)

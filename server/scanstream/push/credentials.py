"""What of a request says who asks: one credential, in one of the ways of docs/protocol.md, section 8.

What is malformed is refused like what is unknown, and so is more than one: nobody guesses which of them is meant.
"""

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Iterator
from urllib.parse import parse_qsl

from starlette.types import Scope

from scanstream.errors import Unauthorized
from scanstream.model import EVENTS_PATH, RESULTS_PATH, STATUS_PATH
from scanstream.push.forwarded import route_path

HEADER = b"authorization"
BEARER_PROTOCOL = "scanstream.bearer."
"""What a subprotocol begins with that is a credential: pages cannot give a WebSocket headers."""
SCAN_PREFIX = "sst_"
PARAMETER = "token"
"""Of a query. It may be a scan token, on the routes of its scan; keys and JWTs never stand in an address."""
MOST_PARAMETERS = 100
"""In a query in which there may be one."""
FOLLOW_PATH = "/opportunities/follow"
WITH_PARAMETER = (STATUS_PATH, RESULTS_PATH, EVENTS_PATH, "/opportunities/cancel/")
"""What the paths begin with that take it, beside that one."""

_SIGNS = r"[A-Za-z0-9._~+/-]+=*"
_HEADER = re.compile(rf"[Bb][Ee][Aa][Rr][Ee][Rr] +({_SIGNS})")
_CREDENTIAL = re.compile(_SIGNS)
_CODED = re.compile(r"[A-Za-z0-9_-]+")


class Stranger(Unauthorized):
    """Nothing was shown that says who asks."""

    challenge = "Bearer"


def unauthorized() -> Unauthorized:
    """The refusal of whatever is no good: unknown, run out, revoked, or none at all."""
    return Unauthorized("What was shown is no credential of this server, or no longer one; get another")


def stranger() -> Stranger:
    """The refusal of those who have shown nothing."""
    return Stranger("This server wants to know who is asking: send Authorization: Bearer and a key or token")


def credential_of(text: str) -> str:
    """The text, if it can be a credential (RFC 6750, section 2.1).

    :raises Unauthorized: if it cannot
    """
    if not _CREDENTIAL.fullmatch(text):
        raise unauthorized()
    return text


def in_fields(fields: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The credential in the headers of a request that has none in another place.

    :raises Unauthorized: if there is one that cannot be any, or more than one
    """
    return _only(_in_headers(fields))


def shown(scope: Scope) -> str | None:
    """The credential of a request, or of a WebSocket's handshake.

    :raises Unauthorized: if there is one that cannot be any, or more than one
    """
    return _only([*_in_headers(scope["headers"]), *_in_query(scope), *_in_subprotocols(scope)])


def in_address(scope: Scope) -> bool:
    """Whether a request has, or may have, a token in its address."""
    return b"token" in scope.get("query_string", b"") or b"%" in scope.get("query_string", b"")


def _only(given: Iterable[str]) -> str | None:
    found = [*given]
    if len(found) > 1:
        raise unauthorized()
    return found[0] if found else None


def _in_headers(fields: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
    for name, value in fields:
        if name == HEADER:
            match = _HEADER.fullmatch(value.decode("latin-1"))
            if match is None:
                raise unauthorized()
            yield match[1]


def _in_subprotocols(scope: Scope) -> Iterator[str]:
    for protocol in scope.get("subprotocols", ()):
        if protocol.startswith(BEARER_PROTOCOL):
            coded = protocol.removeprefix(BEARER_PROTOCOL)
            if not _CODED.fullmatch(coded):
                raise unauthorized()
            try:
                text = urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode("ascii")
            except ValueError:
                raise unauthorized() from None
            yield credential_of(text)


def _in_query(scope: Scope) -> Iterator[str]:
    for token in _parameters(scope):
        if not token.startswith(SCAN_PREFIX) or not _takes_parameter(scope):
            raise unauthorized()
        yield credential_of(token)


def _takes_parameter(scope: Scope) -> bool:
    path = route_path(scope)
    return scope["type"] == "http" and (path == FOLLOW_PATH or path.startswith(WITH_PARAMETER))


def _parameters(scope: Scope) -> list[str]:
    query: bytes = scope.get("query_string", b"")
    if b"token" not in query and b"%" not in query:
        return []
    if query.count(b"&") >= MOST_PARAMETERS:  # nobody who means well; a stranger is not to cost so much
        raise unauthorized()
    return [value for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if name == PARAMETER]

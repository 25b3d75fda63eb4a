"""A signed JWT taken apart: head, payload, signature, within bounds. Nothing of it is believed here (RFC 7515)."""

import base64
import json
import re
from typing import Any, NamedTuple, NoReturn

LONGEST_HEAD = 2048
"""Characters of a head: an algorithm and the name of a key."""
LONGEST_KID = 256

_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
"""Without a signature it is none, and whatever its head says of that (RFC 8725, section 3.2)."""
_TYPES = ("jwt", "at+jwt", "application/at+jwt")
"""Of other types are those that say something else: that somebody has logged out, for one (RFC 8725, section 3.11)."""


class Signed(NamedTuple):
    """What a JWT is made of."""

    algorithm: str
    kid: str | None
    """By which key it says that it is signed."""
    text: bytes
    """What is signed."""
    signature: bytes
    payload: bytes


def taken_apart(token: str) -> Signed:
    """What a token is made of.

    :raises ValueError: if it is none, or wants something understood that is not; says what, and nothing of the token
    """
    match = _TOKEN.fullmatch(token)
    if match is None or len(match[1]) > LONGEST_HEAD:
        raise ValueError("it is no JWT")
    head = plain_object(_decoded(match[1]))
    algorithm, kid, kind = head.get("alg"), head.get("kid"), head.get("typ", "JWT")
    if "crit" in head or "b64" in head or "zip" in head:
        raise ValueError("its head asks for an extension that is not known here")
    if not isinstance(algorithm, str) or not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise ValueError("its head is of another kind of token")
    if kid is not None and (not isinstance(kid, str) or len(kid) > LONGEST_KID):
        raise ValueError("its head names a key as no key is named")
    text = token[: match.end(2)].encode()
    return Signed(algorithm, kid, text, _decoded(match[3]), _decoded(match[2]))


def _decoded(text: str) -> bytes:
    """base64url without padding, in the one way in which it can be written."""
    try:
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise ValueError("it is not base64url") from None
    if base64.urlsafe_b64encode(content).rstrip(b"=") != text.encode():
        raise ValueError("it is not base64url as it is written")
    return content


def plain_object(content: bytes) -> dict[str, Any]:
    """A JSON object: each name once, no number that JSON has not.

    :raises ValueError: if it is none
    """
    try:
        found = json.loads(content.decode(), object_pairs_hook=_each_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON object that says each thing once") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004  # see above
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _no_number(_: str) -> NoReturn:
    raise ValueError("not a number")

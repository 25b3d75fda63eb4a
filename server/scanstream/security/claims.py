"""What a JWT says of who shows it, judged (RFC 7519, section 4.1). It was signed by somebody who is trusted."""

from dataclasses import dataclass
from typing import Any

from scanstream.model import Milliseconds, Principal
from scanstream.security.caller import Right
from scanstream.security.keyfile import OF_KEYS
from scanstream.security.names import principal_of

LEEWAY_SECONDS = 30
"""By how much the clock of who signs may be ahead of ours. An end is an end."""
LAST_SECOND = 253_402_300_799
"""Of the year 9999. What is later is no time."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What JWTs must say to be for us."""

    issuer: str = ""
    """`iss`; empty: whatever it says."""
    audience: str = ""
    """One of `aud`; empty: none may be said, as it would be another's (RFC 7519, section 4.1.3)."""


@dataclass(frozen=True)
class Claims:
    """Who it is about, and what they may, until when."""

    principal: Principal
    rights: frozenset[Right]
    expires_at: Milliseconds


def judged(said: dict[str, Any], expected: Expected, at: Milliseconds) -> Claims:
    """What a JWT says, if that holds now.

    :raises ValueError: if it does not; says why, with no word of the JWT
    """
    end = _time(said, "exp")
    if end is None:
        raise ValueError("it has no exp")
    if end * 1000 <= at:
        raise ValueError("its exp is over")
    for name in ("nbf", "iat"):
        begin = _time(said, name)
        if begin is not None and (begin - LEEWAY_SECONDS) * 1000 > at:
            raise ValueError(f"its {name} is still to come")
    if expected.issuer and said.get("iss") != expected.issuer:
        raise ValueError("its iss is not --jwt-issuer")
    _check_audience(said, expected.audience)
    try:
        principal = principal_of(said.get("sub"))
    except ValueError:
        raise ValueError("its sub can be no principal") from None
    return Claims(principal, _rights(said.get("scope", said.get("scp"))), int(end * 1000))


def _time(said: dict[str, Any], name: str) -> float | None:
    """A NumericDate: seconds since 1970."""
    value = said.get(name)
    if name not in said:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST_SECOND:
        raise ValueError(f"its {name} is no time")
    return value


def _check_audience(said: dict[str, Any], wanted: str) -> None:
    if "aud" not in said and not wanted:
        return
    audience = said.get("aud")
    if not wanted:
        raise ValueError("it has an aud, and --jwt-audience does not say which is ours")
    if wanted not in (audience if isinstance(audience, list) else [audience]):
        raise ValueError("its aud is not --jwt-audience")


def _rights(scope: object) -> frozenset[Right]:
    """Those of the words that are rights; whatever else is in it is meant for others (RFC 8693, section 4.2).

    Entra and Okta call it `scp`.
    """
    words = scope.split(" ") if isinstance(scope, str) else scope if isinstance(scope, list) else []
    return frozenset(right for right in OF_KEYS if any(word == right.value for word in words))

"""The caller's credential: a text, or a function that is asked for it, and again when it runs out."""

import math
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeAlias

import msgspec
from websockets.typing import Subprotocol

from scanstream.client.failures import Lost
from scanstream.errors import ScanstreamError, Unauthorized
from scanstream.undecodable import UNDECODABLE

Secret: TypeAlias = str | Callable[[], str | Awaitable[str]] | None

_SIGNS = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750, section 2.1."""
EARLY_SECONDS = 30.0
"""So long before it expires a token is renewed; one that lives for less than twice that, at half of what is left."""


class Token:
    """What goes along with each question; nothing where there is none."""

    def __init__(self, secret: Secret) -> None:
        """:raises TypeError, ValueError: if it can be none; without a word of it"""
        self._secret = secret if callable(secret) else text_of(secret)
        self._known: str | None = self._secret if isinstance(self._secret, str) else None
        self._renew_at = math.inf
        """By the wall clock; infinite where nothing is said of its end."""

    def __bool__(self) -> bool:
        """Whether there is one."""
        return self._secret is not None

    @property
    def renew_in(self) -> float:
        """Seconds until another one is to be asked for."""
        return self._renew_at - time.time()

    def refused(self, sent: str | None) -> bool:
        """The server takes this one no more: whether another can be asked for."""
        if not callable(self._secret):
            return False
        if self._known == sent:
            self._known = None
        return True

    async def now(self) -> str | None:
        """The text, asked for where it is not known, or is about to expire.

        :raises Lost: if it cannot be had now
        """
        if callable(self._secret) and (self._known is None or self.renew_in <= 0):
            try:
                said = self._secret()
                self._known = text_of(await said if isawaitable(said) else said)
            except Exception as error:
                raise Lost(f"there is no token to be had ({error!r})") from error
            left = expiry(self._known) - time.time()
            self._renew_at = time.time() + max(left - EARLY_SECONDS, left / 2)
        return self._known


class Renewal:
    """What becomes of a connection whose token is taken no more: another one is asked for, once until one has brought a
    frame."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._renewed = False

    def judged(self, error: Lost | ScanstreamError, sent: str | None, *, brought: bool) -> Lost | ScanstreamError:
        """The same error, or a loss where another token can be asked for.

        :param brought: whether the connection has brought a frame
        """
        if not isinstance(error, Unauthorized):
            return error
        again = (brought or not self._renewed) and self._token.refused(sent)
        self._renewed = again
        return Lost(error.detail) if again else error


def text_of(given: object) -> str | None:
    """A credential as it is sent; None for an empty one, as of a variable that is not set.

    A file has a newline at its end. What no header can have is refused here: below, its error would have the whole of
    it.

    :raises TypeError, ValueError: if it can be none; without a word of it
    """
    if given is None:
        return None
    if not isinstance(given, str):
        raise TypeError(f"a token is a text, or a function that gives one, and not of the type {type(given).__name__}")
    text = given.strip()
    if text and not _SIGNS.fullmatch(text):
        raise ValueError("the token has signs that no key and no token has")
    return text or None


def expiry(token: str | None) -> float:
    """What a JSON Web Token says of its end (RFC 7519, section 4.1.4), in seconds since 1970; infinite if none."""
    try:
        _, claims, _ = (token or "").split(".")
        told = msgspec.json.decode(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        at = told["exp"]
        return float(at) if isinstance(at, int | float) and not isinstance(at, bool) else math.inf
    except (*UNDECODABLE, ValueError, KeyError, TypeError, OverflowError):
        return math.inf


def headers(token: str | None) -> dict[str, str]:
    """As HTTP has it (docs/protocol.md, section 8)."""
    return {} if token is None else {"authorization": f"Bearer {token}"}


def subprotocols(first: Subprotocol, token: str | None) -> list[Subprotocol]:
    """As a WebSocket's handshake has it: the server answers with the first."""
    if token is None:
        return [first]
    return [first, Subprotocol("scanstream.bearer." + urlsafe_b64encode(token.encode()).decode().rstrip("="))]

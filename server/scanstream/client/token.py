"""The caller's credential: a text, or a function that is asked for it, and again when the server takes it no more."""

from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeAlias

from websockets.typing import Subprotocol

from scanstream.client.failures import Lost

Secret: TypeAlias = str | Callable[[], str | Awaitable[str]] | None


class Token:
    """What goes along with each question; nothing where there is none."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret or None  # an empty one, as of a variable that is not set, is none
        self._known: str | None = secret if isinstance(secret, str) and secret else None

    def __bool__(self) -> bool:
        """Whether there is one."""
        return self._secret is not None

    def refused(self, sent: str | None) -> bool:
        """The server takes this one no more: whether another can be asked for."""
        if not callable(self._secret):
            return False
        if self._known == sent:
            self._known = None
        return True

    async def now(self) -> str | None:
        """The text, asked for where it is not known.

        :raises Lost: if it cannot be had now
        """
        if self._known is None and callable(self._secret):
            try:
                said = self._secret()
                self._known = await said if isawaitable(said) else said
            except Exception as error:
                raise Lost(f"there is no token to be had ({error!r})") from error
        return self._known


def headers(token: str | None) -> dict[str, str]:
    """As HTTP has it (docs/protocol.md, section 8)."""
    return {} if token is None else {"authorization": f"Bearer {token}"}


def subprotocols(first: Subprotocol, token: str | None) -> list[Subprotocol]:
    """As a WebSocket's handshake has it: the server answers with the first."""
    if token is None:
        return [first]
    return [first, Subprotocol("scanstream.bearer." + urlsafe_b64encode(token.encode()).decode().rstrip("="))]

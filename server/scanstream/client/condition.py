"""How a client's connection is, as its user may see it."""

import time
from typing import Literal, TypeAlias

from scanstream.client.feeds import Bell
from scanstream.client.ladder import Transport

Condition: TypeAlias = Literal["connecting", "live", "waiting", "closed"]


class Connection:
    """The way to the server, always as of now."""

    def __init__(self) -> None:
        self.state: Condition = "connecting"
        """`connecting`: nothing has come yet; `live`: something has; `waiting`: for the next attempt; `closed`: there
        will be nothing more. (`paused` is of web pages: hidden ones.)"""
        self.transport: Transport | None = None
        """What brought the last frame."""
        self.attempts = 0
        """Since the last frame."""
        self.retry_at: float | None = None
        """When the next attempt is, in seconds since 1970, while it is waited for."""
        self.lag: float | None = None
        """Seconds that the server took to answer, as last measured."""
        self.reason = ""
        """Why there is no connection, or not over the best transport, in words; else empty."""
        self._below = ""
        """Why the last rung was left."""
        self._bell = Bell()

    def __repr__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        return f"<Connection: {self.state}, {self.transport or 'nothing heard yet'}{reason}>"

    async def changed(self) -> None:
        """Wait for its next change."""
        await self._bell.rung()

    def measured(self, seconds: float) -> None:
        """The server took so long to answer."""
        self.lag = seconds

    def attempt(self, attempts: int) -> None:
        """One begins."""
        self.state, self.attempts, self.retry_at = "connecting", attempts, None
        self._bell.ring()

    def live(self, transport: Transport, *, best: bool) -> None:
        """A frame came; over the best transport or another."""
        self._tell(transport, 0, "" if best else self._below)

    def alive(self, transport: Transport, *, best: bool) -> None:
        """Something came that is no frame: enough where the last frame came over this transport, too."""
        if transport == self.transport:
            self._tell(transport, self.attempts, "" if best else self._below)

    def _tell(self, transport: Transport, attempts: int, reason: str) -> None:
        """There is a connection: state and transport change together."""
        told = self.state, self.transport, self.attempts, self.reason
        self.state, self.transport, self.attempts, self.reason = "live", transport, attempts, reason
        self.retry_at = None
        if told != ("live", transport, attempts, reason):
            self._bell.ring()

    def wait(self, reason: str, seconds: float, *, left: bool = False) -> None:
        """It is lost, and the next attempt comes after so long.

        :param left: whether for a worse transport
        """
        self.state, self.reason = "waiting", reason
        self.retry_at = time.time() + max(0.0, seconds)
        if left:
            self._below = reason
        self._bell.ring()

    def close(self) -> None:
        """There will be nothing more."""
        self.state, self.attempts, self.retry_at, self.reason = "closed", 0, None, ""
        self._bell.ring()

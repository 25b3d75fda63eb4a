"""How a client's connection is, as its user may see it."""

import time
from typing import Literal, TypeAlias

import anyio

from scanstream.client.feeds import Bell
from scanstream.client.ladder import Transport

Condition: TypeAlias = Literal["connecting", "live", "waiting", "paused", "closed"]


class Connection:
    """The way to the server, always as of now."""

    def __init__(self) -> None:
        self.state: Condition = "connecting"
        """`connecting`: nothing has come yet; `live`: something has; `waiting`: for the next attempt; `paused`: for a
        scan to follow, where none has been for a while; `closed`: there will be nothing more."""
        self.transport: Transport | None = None
        """What brought the last frame."""
        self.attempts = 0
        """Since the last frame."""
        self.retry_at: float | None = None
        """When the next attempt is, in seconds since 1970, while it is waited for."""
        self.lag: float | None = None
        """Seconds that the server took to answer, as last measured."""
        self.reason = ""
        """Why there is no connection, in words; empty while there is one."""
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

    def live(self, transport: Transport) -> None:
        """A frame came."""
        before = (self.state, self.transport)
        self.state, self.transport, self.attempts, self.retry_at, self.reason = "live", transport, 0, None, ""
        if before != (self.state, self.transport):
            self._bell.ring()

    def wait(self, reason: str, until: float) -> None:
        """It is lost, and the next attempt comes at a time on the loop's clock."""
        self.state, self.reason = "waiting", reason
        self.retry_at = time.time() + max(0.0, until - anyio.current_time())
        self._bell.ring()

    def pause(self) -> None:
        """Nothing is followed."""
        self.state, self.attempts, self.retry_at, self.reason = "paused", 0, None, ""
        self._bell.ring()

    def close(self) -> None:
        """There will be nothing more."""
        self.state, self.attempts, self.retry_at, self.reason = "closed", 0, None, ""
        self._bell.ring()

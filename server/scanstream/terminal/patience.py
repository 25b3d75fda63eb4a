"""How long a server that went away is waited for, and what is said meanwhile."""

import random
from typing import Protocol

import anyio

from scanstream.client.addresses import shown
from scanstream.client.backoff import pause
from scanstream.client.condition import Connection
from scanstream.client.failures import Lost, Unreachable

LEAST_SECONDS = 1.0
FIRST_SECONDS = 4.0
"""So long at most somebody is waited for who is not there at first: it may be restarting, or nobody ever be there."""
UNSAID_SECONDS = 0.5
"""Where a first transport does not get through, and another one does so soon, nothing was lost."""


class Tell(Protocol):
    """Who hears of it."""

    def __call__(self, words: str, lost: bool) -> None:
        """Words for people, and whether the connection is lost now."""


class Gone(Unreachable):
    """The server went away and did not come back in time; the scan may well run on."""


class Nobody(Unreachable):
    """The address exists, and nobody listens there now."""


class Patience:
    """So many seconds for a server each time it goes away.

    :param reached: whether the server has been talked to; where it never was, an address where nobody listens is tried
        for `FIRST_SECONDS`, and one that leads to no server in another way is told at once
    """

    def __init__(self, url: str, seconds: float, *, tell: Tell, reached: bool = False) -> None:
        self._url = url
        self._seconds = seconds
        self._tell = tell
        self._reached = reached
        self._failures = 0
        self._deadline = 0.0
        self._nobody = False
        """Whether nobody has been there yet."""
        self.connected = reached
        """Whether the server is there, as far as is known."""

    @property
    def seconds(self) -> float:
        """How long a server is waited for; some time for an answer is everybody's."""
        return max(self._seconds, LEAST_SECONDS)

    def back(self) -> None:
        """The server answers."""
        if self._failures:
            self._tell("Connected" if self._nobody else "Connected again", lost=False)
        self._reached, self._failures, self._nobody, self.connected = True, 0, False, True

    async def wait(self, error: Lost | Unreachable) -> None:
        """A pause before a question is asked again.

        :raises Unreachable: if there never was a server
        :raises Gone: if it did not come back in time
        """
        nobody = not self._reached and isinstance(error, Unreachable)
        if nobody and not (isinstance(error, Nobody) and self._seconds):
            raise error
        now = anyio.current_time()
        if self._failures == 0 or nobody != self._nobody:
            self._begin(error, now, nobody=nobody)
        self._failures += 1
        if now >= self._deadline:
            raise error if nobody else self._gone() from error
        wished = pause(self._failures, random.random, error.retry_after or 0.0)
        await anyio.sleep(min(wished, self._deadline - now))

    def _begin(self, error: Lost | Unreachable, now: float, *, nobody: bool) -> None:
        """From now on somebody is waited for."""
        self._reached, self._nobody, self.connected = not nobody, nobody, False
        seconds = min(self._seconds, FIRST_SECONDS) if nobody else self._seconds
        self._deadline = now + seconds
        if nobody:
            self._tell(f"{error}; trying for {seconds:g} s", lost=True)
        else:
            self._say_lost(str(error))

    async def attend(self, connection: Connection) -> None:
        """Look on while a connection comes and goes, and say so; until cancelled.

        :raises Gone: if it did not come back in time
        """
        while True:
            await self._until(connection, "waiting")
            begun = connection.transport is not None
            with anyio.move_on_after(self._seconds) as given:
                with anyio.move_on_after(0 if begun else UNSAID_SECONDS) as unsaid:
                    await self._until(connection, "live")
                if unsaid.cancelled_caught:
                    self._say_lost(connection.reason)
                    await self._until(connection, "live")
                    self._tell("Connected again", lost=False)
            if given.cancelled_caught:
                raise self._gone()

    async def _until(self, connection: Connection, state: str) -> None:
        while connection.state != state:
            await connection.changed()
            if connection.state in ("live", "waiting"):
                self.connected = connection.state == "live"

    def _say_lost(self, why: str) -> None:
        self._tell(f"Connection lost ({why}); trying again for {self._seconds:g} s", lost=True)

    def _gone(self) -> Gone:
        return Gone(f"The server at {shown(self._url)} did not come back within {self._seconds:g} s")

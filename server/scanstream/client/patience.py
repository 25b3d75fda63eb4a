"""How long a server that went away is waited for, and how often it is tried."""

from collections.abc import Callable

import anyio

from scanstream.client.addresses import shown
from scanstream.client.connection import Lost, Unreachable

SHORTEST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 3.0
LEAST_SECONDS = 1.0


class Gone(Unreachable):
    """The server went away and did not come back in time; the scan may well run on."""


def nobody_listens(words: str, lost: bool) -> None:
    """For those who need not know."""


class Patience:
    """The pauses between tries, longer each time, until the server is back or the time is over.

    :param reached: whether the server has been talked to; where it never was, an address without one is told at once
    :param tell: called with words for people, and whether the connection is lost now
    """

    def __init__(
        self, url: str, seconds: float, *, reached: bool = False, tell: Callable[[str, bool], None] = nobody_listens
    ) -> None:
        self._url = url
        self._seconds = seconds
        self._tell = tell
        self._deadline: float | None = None
        self._lost = False
        self._pause = SHORTEST_PAUSE_SECONDS
        self._reached = reached

    @property
    def seconds(self) -> float:
        """How long a server is waited for; some time for an answer is everybody's."""
        return max(self._seconds, LEAST_SECONDS)

    def back(self) -> None:
        """The server answers."""
        self._reached, self._deadline = True, None
        if self._lost:
            self._lost = False
            self._tell("Connected again", False)

    def renew(self) -> None:
        """Count anew from the next try on."""
        self._deadline = None

    async def wait(self, error: Lost | Unreachable) -> None:
        """A pause before the next try.

        :raises Unreachable: if there never was a server
        :raises Gone: if it did not come back in time
        """
        if not self._reached and isinstance(error, Unreachable):
            raise error
        self._reached = True
        now = anyio.current_time()
        if self._deadline is None:
            self._lost, self._deadline = True, now + self._seconds
            self._pause = SHORTEST_PAUSE_SECONDS
            self._tell(f"Connection lost ({error}); trying again for {self._seconds:g} s", True)
        else:
            self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        if now >= self._deadline:
            raise Gone(f"The server at {shown(self._url)} did not come back within {self._seconds:g} s") from error
        wished = error.retry_after if isinstance(error, Lost) else 0.0
        await anyio.sleep(min(max(self._pause, wished), self._deadline - now))

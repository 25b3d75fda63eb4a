"""What the other side of a WebSocket is held to (messages of this protocol, not too many at a time), and its end."""

from time import monotonic
from typing import NamedTuple

from scanstream.errors import (
    Forbidden,
    InvalidJson,
    InvalidMessage,
    RateLimited,
    Restarting,
    ScanstreamError,
    Unauthorized,
)
from scanstream.message import MOST_FOLLOWED
from scanstream.security.allowance import Bucket, Rate

MOST_MALFORMED = 10
"""Messages in a row that are none: then the other side does not speak this protocol."""
MOST_HASTY = 1000
"""Messages that came too fast, less those that did not: then it does not heed what it is told."""

NOT_ALLOWED = 4403
"""Closes a WebSocket whose caller may do nothing here."""


class Bounds(NamedTuple):
    """What one connection may have."""

    followed: int = MOST_FOLLOWED
    """Scans."""
    messages: Rate | None = None
    """How fast it may send them; None: as it likes."""


class Manners:
    """Those of one connection."""

    __slots__ = ("_bucket", "_hasty", "_malformed", "_rate")

    def __init__(self, rate: Rate | None) -> None:
        self._rate = rate
        self._bucket = None if rate is None else Bucket(rate, monotonic())
        self._hasty = self._malformed = 0

    def speak(self) -> None:
        """A message has come.

        :raises RateLimited: if that was too soon: nobody looks at it
        """
        if self._rate is None or self._bucket is None:
            return
        seconds = self._bucket.take(self._rate, monotonic())
        self._hasty = self._hasty + 1 if seconds else max(0, self._hasty - 1)
        if seconds:
            detail = f"At most {self._rate.most} messages a second are taken; this one was not looked at"
            raise RateLimited(detail, retry_after=seconds)

    def read(self) -> None:
        """It was one of this protocol."""
        self._malformed = 0

    def refused(self, error: ScanstreamError) -> None:
        """It was answered with this."""
        self._malformed += isinstance(error, InvalidJson | InvalidMessage)

    @property
    def fault(self) -> str:
        """Why the connection is to end; empty where it is not."""
        if self._malformed >= MOST_MALFORMED:
            return f"{MOST_MALFORMED} malformed messages in a row"
        return f"{MOST_HASTY} messages that came too fast" if self._hasty >= MOST_HASTY else ""


def farewell(error: ScanstreamError) -> tuple[int, str]:
    """Code and reason of the close that an error of a whole connection ends in."""
    match error:
        case Restarting():
            return 1012, "restart; reconnect with your cursors"
        case Unauthorized():
            return 4401, "no credential, or one that has run out; come back with another"
        case Forbidden():
            return NOT_ALLOWED, "this credential lacks the right scan"
        case _:
            return error.row.close or 1013, "try again later"

"""How long a server that is busy is waited for: it says when to come back, and no run waits for ever."""

import time
from collections.abc import Mapping
from typing import Any

import anyio

from scanstream.conformance.promise import Broken, NotTried

BUSY = (429, 503)
BUSY_CODES = ("rate_limited", "too_many_scans", "overloaded")
LEAST_SECONDS = 0.25
"""Between two questions, also where it says that there is no need to wait."""


class Patience:
    """What a run has of it: so many seconds for each check, and none any more where they brought no scan at all."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._left = seconds
        self._until = 0.0
        """When whoever waits longest by now asks again: who waits beside them costs no time."""
        self._taken = 0
        self._scope: anyio.CancelScope | None = None
        self.refused = ""
        """What the server said last, since it was waited for in vain; empty where it takes new scans."""

    def begins(self, scope: anyio.CancelScope) -> None:
        """A check, in this scope: what the server wants to be left alone for does not count as its time."""
        self._scope = scope
        self._left = 0.0 if self.refused else self._seconds
        self._taken = 0

    def longer(self, seconds: float) -> None:
        """The check that is made has to wait for so long by itself."""
        if self._scope is not None:
            self._scope.deadline += seconds

    def taken(self) -> None:
        """A new scan was."""
        self._taken += 1
        if self.refused:
            self.refused, self._left = "", self._seconds

    async def left_alone(self, wanted: object, said: str) -> None:
        """A limit is no broken promise: the server is asked again when it says.

        :param wanted: what it says, in seconds
        :param said: how it refuses, for people
        :raises Broken: if these are no seconds
        :raises NotTried: if it has been waited for as long as may be
        """
        seconds = max(LEAST_SECONDS, seconds_of(wanted))
        now = time.monotonic()
        more = max(0.0, now + seconds - max(now, self._until))
        if more > self._left:
            raise self._used_up(said)
        self._until = max(self._until, now + seconds)
        self._left -= more
        self.longer(more)
        await anyio.sleep(seconds)

    def _used_up(self, said: str) -> NotTried:
        """A server that takes scans at a pace of its own is waited for anew in the next check."""
        if self._taken:
            return NotTried(f"the server took {self._taken} of the scans for it, and no more in time ({said})")
        self.refused = said
        return NotTried(f"the server takes no new scan ({said}): try again when less is going on there")


def seconds_of(wanted: object) -> float:
    """What `Retry-After` or `retry_after` says.

    :raises Broken: if these are no seconds
    """
    if isinstance(wanted, str) and wanted.isascii() and wanted.isdigit():
        return float(wanted)
    if isinstance(wanted, int | float) and not isinstance(wanted, bool) and wanted >= 0:
        return float(wanted)
    raise Broken("a time to come back, in seconds", wanted)


def refusal(told: Mapping[str, Any] | None, status: int | None = None) -> str:
    """An answer that refuses, in words: its code, and what it says of it."""
    said = told or {}
    words = [str(part) for part in (status, said.get("code"), said.get("detail")) if part]
    return ", ".join(words)[:300]

"""What the machine lacks for the moment, or that the store is away: running scans wait, and new ones are refused.

Everybody who meets the lack waits on their own, longer each time; one line in the log says when it begins, and one when
it is over.
"""

import logging

import anyio

from scanstream.errors import Shortage
from scanstream.scans.budget import Budgets, Seconds

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
HELD_SECONDS: Seconds = 3 * LONGEST_PAUSE_SECONDS
"""A lack that nobody has met for so long is over: whoever waited for it is gone."""

STORE = "the store"
"""In place of what the machine lacks: whether it is full, or away, its own words say."""

logger = logging.getLogger("scanstream")


class Pause:
    """The time until the next try: longer each time."""

    def __init__(self) -> None:
        self._seconds = FIRST_PAUSE_SECONDS

    def next(self) -> Seconds:
        """Seconds to wait now."""
        seconds = self._seconds
        self._seconds = min(2 * seconds, LONGEST_PAUSE_SECONDS)
        return seconds


class Shortages:
    """What is lacking, as those have found who needed it."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._met: dict[str, Seconds] = {}
        """What is lacking → when somebody met that last."""
        self._ended = anyio.Event()

    def current(self) -> list[str]:
        """What is lacking now."""
        since = self._budgets.clock.now() - HELD_SECONDS
        for lacking in [lacking for lacking, at in self._met.items() if at < since]:
            self.over(lacking)
        return list(self._met)

    def refuse(self) -> None:
        """Let nothing new begin while the machine lacks what it would need.

        :raises Shortage: naming it
        """
        if lacking := self.current():
            detail = f"The server is out of {' and '.join(lacking)} for the moment; try again later"
            raise Shortage(detail, lacking=lacking[0], retry_after=LONGEST_PAUSE_SECONDS)

    async def wait(self, lacking: str, detail: str, pause: Pause) -> None:
        """Until the next try: the pause, or less if somebody finds that the lack is over."""
        if lacking not in self._met:
            if lacking == STORE:
                logger.warning("running scans wait for the store: %s", detail)
            else:
                logger.warning("out of %s: running scans wait, new ones are refused (%s)", lacking, detail)
        self._met[lacking] = self._budgets.clock.now()
        with self._budgets.hindered(), anyio.move_on_after(pause.next()):
            await self._ended.wait()

    def over(self, *lacking: str) -> None:
        """Somebody had what was lacking (without a name: all of it)."""
        for name in lacking or tuple(self._met):
            if self._met.pop(name, None) is not None:
                words = "the store is back" if name == STORE else f"no longer out of {name}"
                logger.warning("%s: scans go on", words)
                ended, self._ended = self._ended, anyio.Event()
                ended.set()

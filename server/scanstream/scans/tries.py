"""What is tried again, because the machine lacked something and not because anything was wrong."""

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from scanstream.errors import Shortage
from scanstream.scans.shortages import Pause, Shortages
from scanstream.shortage import shortage

logger = logging.getLogger("scanstream")


class Answer(Protocol):
    """What comes out of a worker process, or of the loop."""

    @property
    def lacking(self) -> str:
        """What the machine lacked; empty if nothing: only then the rest says anything."""
        ...

    @property
    def begun(self) -> bool:
        """Whether the strategy was at it already: then the lack may be its own doing, and is its outcome."""
        ...

    @property
    def unmapped(self) -> bool:
        """Whether the saved market data could not be read."""
        ...


A = TypeVar("A", bound=Answer)


class Tries:
    """Tries work until the machine allows it."""

    def __init__(self, machine: Shortages, restore: Callable[[str], Awaitable[bool]]) -> None:
        """`restore` saves the market data of this digest anew, if it can be had; on a cluster it waits for that."""
        self._machine = machine
        self._restore = restore
        self._lost = ""
        """The market data that was said to be lost last: each of its shards finds that out."""

    async def until_possible(self, attempt: Callable[[], Awaitable[A]], digest: str) -> A:
        """What the attempt gives, as soon as the machine does not lack what it needs.

        :raises Exception: what the attempt raises, unless it comes from a shortage
        """
        pause: Pause | None = None
        restored = False
        while True:
            try:
                answer = await attempt()
                if answer.unmapped and not restored:
                    whole = await self._restore(digest)
                    restored = True
                    if whole:
                        continue
                    self._say_lost(digest)
                lacking, detail = "" if answer.begun else answer.lacking, "in a worker process"
            except Shortage as error:
                lacking, detail = error.lacking, error.detail
            except Exception as error:
                lacking, detail = shortage(error), str(error)
                if not lacking:
                    raise
            if not lacking:
                break
            pause = pause or Pause()
            await self._machine.wait(lacking, detail, pause)
        if pause is not None:
            self._machine.over()
        return answer

    def _say_lost(self, digest: str) -> None:
        """Here, as what a worker process writes goes nowhere."""
        if digest != self._lost:
            self._lost = digest
            logger.error(
                "the saved market data %s is gone or damaged, and is not the current one: its scans fail", digest
            )

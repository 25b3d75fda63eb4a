"""What is tried again, because the machine lacked something and not because anything was wrong."""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import anyio

from scanstream.errors import Shortage
from scanstream.scans.returns import NotHere
from scanstream.scans.shortages import Pause, Shortages
from scanstream.shortage import shortage

PATIENCE_SECONDS = 3.0
"""How long a node of several lacks what work needs before another is to have it. Not less: where there is no other it
comes back at once, and only what is waited for here does not count as the scan's time."""

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

    def __init__(self, machine: Shortages, restore: Callable[[str], Awaitable[bool]], *, shared: bool = False) -> None:
        """`restore` saves the market data of this digest anew, if it can be had; on a cluster it waits for that.

        :param shared: whether other nodes may do the same work
        """
        self._machine = machine
        self._restore = restore
        self._shared = shared
        self._lost = ""
        """The market data that was said to be lost last: each of its shards finds that out."""

    async def until_possible(self, attempt: Callable[[], Awaitable[A]], digest: str) -> A:
        """What the attempt gives, as soon as the machine does not lack what it needs.

        :raises NotHere: if that lasts, and there are other nodes, which may not lack it
        :raises Exception: what the attempt raises, unless it comes from a shortage
        """
        pause: Pause | None = None
        until = anyio.current_time() + (PATIENCE_SECONDS if self._shared else math.inf)
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
            if anyio.current_time() >= until:
                raise NotHere
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

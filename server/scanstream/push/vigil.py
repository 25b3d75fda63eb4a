"""The vigil: a connection that stays open is as good as what its caller has shown, and ends with that.

One look a second at all of them. Where nobody is asked who they are there is no vigil, and nobody keeps one.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeAlias

import anyio

from scanstream.log.refold import Slices
from scanstream.security.caller import Caller
from scanstream.security.guard import Guard

SWEEP_SECONDS = 1.0

logger = logging.getLogger("scanstream")

Expel: TypeAlias = Callable[[], None]
"""Ends a connection, and says why."""


class Vigil:
    """Who is connected, and as whom."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._watched: dict[Expel, Caller] = {}

    def attend(self, expel: Expel, caller: Caller) -> None:
        """A connection: `expel` is called once when its caller's credential is no good any more. Again: as another."""
        self._watched[expel] = caller

    def depart(self, expel: Expel) -> None:
        """It has ended."""
        self._watched.pop(expel, None)

    @contextmanager
    def attending(self, expel: Expel, caller: Caller) -> Iterator[None]:
        """A connection, as long as the block lasts: see `attend`."""
        self.attend(expel, caller)
        try:
            yield
        finally:
            self.depart(expel)

    def good(self, caller: Caller) -> bool:
        """Whether what this caller has shown is still good."""
        return self.guard.good(caller)

    async def run(self) -> None:
        """Look at all of them, again and again."""
        while True:
            await anyio.sleep(SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> None:
        """Expel those whose credential is no good any more."""
        slices = Slices()
        for expel, caller in list(self._watched.items()):
            if self._watched.get(expel) is caller and not self.good(caller):  # who may have left meanwhile
                self.depart(expel)
                try:
                    expel()
                except Exception:
                    logger.exception("a defect in ending a connection whose credential has ended")
            await slices.turn()

    def __len__(self) -> int:
        """How many are connected."""
        return len(self._watched)


def watched(vigil: Vigil | None, wake: Expel, caller: Caller) -> AbstractContextManager[None]:
    """A connection that looks by itself whether its caller is good, and is woken to do so."""
    return nullcontext() if vigil is None else vigil.attending(wake, caller)


def is_over(vigil: Vigil | None, caller: Caller) -> bool:
    """Whether what this caller has shown is no good any more."""
    return vigil is not None and not vigil.good(caller)

"""What is due later, by the tenth of a second: one timer for all that comes due together, and not one each."""

import asyncio
from collections.abc import Callable
from math import ceil
from typing import TypeAlias

GRAINS_A_SECOND = 10
CALLS_IN_TURN = 100
"""Of what is due together; then others have a turn, too."""

Call: TypeAlias = Callable[[], None]


class Deadlines:
    """Calls that are due."""

    def __init__(self) -> None:
        self._due: dict[int, set[Call]] = {}

    def add(self, call: Call, seconds: float) -> int:
        """Have this called once so many seconds are over, at most a tenth later; the grain that it is in."""
        loop = asyncio.get_running_loop()
        grain = ceil((loop.time() + seconds) * GRAINS_A_SECOND)
        if (together := self._due.get(grain)) is None:
            together = self._due[grain] = set()
            loop.call_at(grain / GRAINS_A_SECOND, self._ripen, grain)
        together.add(call)
        return grain

    def discard(self, call: Call, grain: int) -> None:
        """It is not to be called any more."""
        if together := self._due.get(grain):
            together.discard(call)

    def waiting(self) -> int:
        """How many calls are due."""
        return sum(map(len, self._due.values()))

    def _ripen(self, grain: int) -> None:
        together = self._due[grain]
        for _ in range(min(CALLS_IN_TURN, len(together))):
            if together:  # one may have discarded others
                together.pop()()
        if together:
            asyncio.get_running_loop().call_soon(self._ripen, grain)
        else:
            del self._due[grain]

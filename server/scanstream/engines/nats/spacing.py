"""What one principal puts into a queue that has one order, spaced: so whoever comes finds few of theirs before.

A stream gives what is in it in its order, and its consumer cannot be asked for somebody's. But what is not due yet is
passed over, many at a time. So of what one principal puts at once some are due, and the others a little later each: as
often as a node can try them, and no oftener (GCRA, ITU-T I.371).
"""

import time
from collections.abc import Callable

from scanstream.model import Principal

AT_ONCE = 64
"""Due at once."""
SPACING_SECONDS = 0.002
"""Between two of the others: some five hundred a second, of each principal and node."""
MOST_KNOWN = 1000
"""Beyond so many principals those are forgotten who put nothing just now."""


class Spacing:
    """One node's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next: dict[Principal, float] = {}
        """When the next one of a principal would be due, if they were spaced from the first on."""

    def seconds(self, principal: Principal) -> float:
        """After how many the one is due that this principal puts now."""
        now = self._clock()
        if len(self._next) >= MOST_KNOWN:
            self._next = {who: at for who, at in self._next.items() if at > now}
        at = max(now, self._next.get(principal, now))
        self._next[principal] = at + SPACING_SECONDS
        return max(0.0, at - now - (AT_ONCE - 1) * SPACING_SECONDS)

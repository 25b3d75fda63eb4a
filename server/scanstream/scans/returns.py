"""What this node hands back to the others though it lives, so that it counts as no attempt.

What it cannot run (skills.py); and a last try while it has another one: whose node died twice may be why. If two of
them were together at the third death, nobody could say which it was, and both would have failed.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

import anyio

MOST_DEATHS = 3
"""Nodes that die with a shard, or as they plan a scan, until that is its outcome."""
LOST = "each of {} nodes that {} it died, or gave no sign of life for a whole lease (--lease)"
"""What is told then: how many, and what they did."""
AGAIN_SECONDS = 2.0
"""What comes back in this time is on its way round: then this node is not asked again at once …"""
PAUSE_SECONDS = 0.5
"""… but after so long, and another may be asked meanwhile."""
MOST_REMEMBERED = 1000


class NotHere(Exception):
    """Another node is to have it."""


class Returns:
    """What was handed back a moment ago."""

    def __init__(self) -> None:
        self._at: OrderedDict[Hashable, float] = OrderedDict()

    def pause(self, what: Hashable) -> float:
        """For how many seconds nothing more is taken, after this was handed back."""
        at = anyio.current_time()
        before = self._at.pop(what, None)
        self._at[what] = at
        if len(self._at) > MOST_REMEMBERED:
            self._at.popitem(last=False)
        return PAUSE_SECONDS if before is not None and at - before < AGAIN_SECONDS else 0.0


class LastTry:
    """The one thing on this node that has no try left, if there is one."""

    def __init__(self) -> None:
        self._under_way = False

    @contextmanager
    def after(self, deaths: int) -> Iterator[None]:
        """Something is tried in here that so many nodes have died with.

        :raises NotHere: if it is its last try, and this node has another
        """
        if deaths < MOST_DEATHS - 1:
            yield
            return
        if self._under_way:
            raise NotHere
        self._under_way = True
        try:
            yield
        finally:
            self._under_way = False

"""How long ago a scan ended: by a clock that nobody sets, for all that ended while this process runs.

Nodes that share a store have its time, which nobody of them sets either: so the age is the same on each of them, and
that of one which hears of the end late, too.
"""

import math
from collections import OrderedDict
from collections.abc import Callable

from scanstream.log.scanlog import ScanLog
from scanstream.model import Milliseconds, ScanId, now, uptime
from scanstream.scans.budget import Seconds

FORGOTTEN_AT_ONCE = 8
"""Of those that ended long ago, for each that ends: after a crowd of them nobody forgets all at once."""


class Ages:
    """When scans ended, as long as that matters to anybody."""

    def __init__(
        self,
        matters: Seconds,
        clock: Callable[[], Seconds] = uptime,
        common: Callable[[], Milliseconds] | None = None,
    ) -> None:
        """:param matters: ages beyond this are all the same
        :param common: the time of a store that others share, and by which they say when scans ended
        """
        self._matters = matters
        self._clock = clock
        self._common = common
        self._ended: OrderedDict[ScanId, Seconds] = OrderedDict()
        """The oldest first."""

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans: remembers those that end."""
        if log.ended and self._common is None:
            at = self._clock()
            self._ended.setdefault(log.scan_id, at)
            for _ in range(FORGOTTEN_AT_ONCE):
                if at - next(iter(self._ended.values())) <= self._matters:
                    break
                self._ended.popitem(last=False)

    def of(self, log: ScanLog) -> Seconds:
        """How long ago an ended scan ended. Of one that ended before this process the wall clock has to tell.

        What it says of the future tells nothing; such a scan is of no age that anybody would want.
        """
        ended = self._ended.get(log.scan_id)
        if ended is not None:
            return self._clock() - ended
        age = ((self._common or now)() - log.folded.at) / 1000
        if self._common is not None:  # what another node has just said may be a moment ahead
            return max(0.0, age)
        return age if age >= 0 else math.inf

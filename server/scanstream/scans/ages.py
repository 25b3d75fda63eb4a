"""How long ago a scan ended: by a clock that nobody sets, for all that ended while this process runs."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from scanstream.log.scanlog import ScanLog
from scanstream.model import ScanId, now
from scanstream.scans.budget import Seconds

FORGOTTEN_AT_ONCE = 8
"""Of those that ended long ago, for each that ends: after a crowd of them nobody forgets all at once."""


def uptime() -> Seconds:
    """Seconds since the machine started, those in which it slept among them (where the kernel counts them)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Ages:
    """When scans ended, as long as that matters to anybody."""

    def __init__(self, matters: Seconds, clock: Callable[[], Seconds] = uptime) -> None:
        """`matters`: ages beyond this are all the same."""
        self._matters = matters
        self._clock = clock
        self._ended: OrderedDict[ScanId, Seconds] = OrderedDict()
        """The oldest first."""

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans: remembers those that end."""
        if log.ended:
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
        age = (now() - log.folded.at) / 1000
        return age if age >= 0 else math.inf

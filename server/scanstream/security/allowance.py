"""So much in a time for each: buckets that fill up evenly, so that who waits as long as they are told gets on."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

MOST_REMEMBERED = 100_000
"""Of those who have had something lately; of more the ones are forgotten who have waited for longest."""


NOTHING = 1e-9
"""What is less is an error of rounding."""


class Rate(NamedTuple):
    """At most so much at once, and as much again within so many seconds."""

    most: int
    seconds: float


class Bucket:
    """What one of them may have now."""

    __slots__ = ("_at", "_left")

    def __init__(self, rate: Rate, now: float) -> None:
        self._left = float(rate.most)
        self._at = now

    def lacks(self, rate: Rate, now: float, beside: int = 0) -> float:
        """Seconds until there is one, beside so many others that are spoken for; 0: there is."""
        self._fill(rate, now)
        missing = 1 + beside - self._left
        return missing * rate.seconds / rate.most if missing > NOTHING else 0.0

    def take(self, rate: Rate, now: float) -> float:
        """Take one: 0. Where there is none: seconds until there is."""
        seconds = self.lacks(rate, now)
        if not seconds:
            self._left -= 1
        return seconds

    def _fill(self, rate: Rate, now: float) -> None:
        self._left = min(float(rate.most), self._left + max(0.0, now - self._at) * rate.most / rate.seconds)
        self._at = now


K = TypeVar("K", bound=Hashable)


class Allowance(Generic[K]):
    """One rate for many, each by themselves. Remembered are those who took something while their bucket fills up."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._buckets: OrderedDict[K, tuple[float, Bucket]] = OrderedDict()
        """When each was touched last, and the bucket; in this order."""

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, who: K) -> float:
        """Take one: 0. Where they have none left: whole seconds until there is one."""
        now = self._clock()
        self._forget(now)
        _, bucket = self._buckets.pop(who, (now, None))
        bucket = bucket or Bucket(self.rate, now)
        self._buckets[who] = (now, bucket)
        return math.ceil(bucket.take(self.rate, now))

    def lacks(self, who: K, beside: int) -> float:
        """Whole seconds until they can take one, beside so many others that they are about to; 0: they can."""
        _, bucket = self._buckets.get(who, (0.0, None))
        now = self._clock()
        return math.ceil((bucket or Bucket(self.rate, now)).lacks(self.rate, now, beside))

    def _forget(self, now: float) -> None:
        """Those whose bucket is full by now are like those who never came."""
        while self._buckets:
            at, _ = next(iter(self._buckets.values()))
            if now - at < self.rate.seconds and len(self._buckets) < MOST_REMEMBERED:
                return
            self._buckets.popitem(last=False)

"""How far a run is: what it has done, and how long the rest will take, by what each part takes elsewhere."""

import time

from instrument.machine import progress

LEAST_SECONDS = 20.0
"""Of parts that must be done before their pace says something about the rest."""


class Clock:
    """Of one run."""

    def __init__(self, estimates: dict[str, float]) -> None:
        """Seconds of each part that will be run, in their order."""
        self._estimates = estimates
        self._began = time.monotonic()
        self._done = 0.0
        self._number = 0
        self._name = ""

    def begins(self, name: str) -> None:
        """Say which part it is, and how long all will still take."""
        self._end_last()
        self._name = name
        self._number += 1
        gone = time.monotonic() - self._began
        text = f"{name} ({self._number} of {len(self._estimates)})"
        progress(f"{text}: after {minutes(gone)}, some {minutes(self.left(gone))} left …")

    def left(self, gone: float) -> float:
        """Seconds, at the pace of what is done."""
        pace = gone / self._done if self._done >= LEAST_SECONDS else 1.0
        return pace * (sum(self._estimates.values()) - self._done)

    def _end_last(self) -> None:
        self._done += self._estimates.get(self._name, 0.0)


def minutes(seconds: float) -> str:
    """As in 12:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02} min"

"""Figures: what was measured, how often, and what the issue asks of it."""

import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from instrument.machine import progress


class Figure(NamedTuple):
    """One measure of one server in one case, once a repetition."""

    workload: str
    server: str
    case: str
    """As in `1,000 readers`."""
    unit: str
    values: list[float]

    @property
    def median(self) -> float:
        """Of the repetitions."""
        return statistics.median(self.values)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {**self._asdict(), "median": self.median, "least": min(self.values), "most": max(self.values)}


def shown(value: float) -> str:
    """Three digits, or all there are before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


class Verdict(NamedTuple):
    """One line of what it must show."""

    what: str
    bound: str
    measured: str
    passed: bool | None
    """None: it was not measured, as the machine lacks what it needs or it was not asked for."""


class Result(NamedTuple):
    """Of one workload."""

    figures: list[Figure]
    verdicts: list[Verdict] = []  # noqa: RUF012  # never added to

    def write(self, file: Path) -> None:
        """As JSON, for `read`."""
        plain = {
            "figures": [figure.plain() for figure in self.figures],
            "verdicts": [verdict._asdict() for verdict in self.verdicts],
        }
        file.write_text(json.dumps(plain, indent=1) + "\n")

    @classmethod
    def read(cls, file: Path) -> "Result":
        """What `write` has written."""
        plain = json.loads(file.read_text())
        figures = [Figure(**{name: one[name] for name in Figure._fields}) for one in plain["figures"]]
        return cls(figures, [Verdict(**verdict) for verdict in plain["verdicts"]])


class Cost(NamedTuple):
    """Seconds that a workload takes on the machine of docs/performance.md, so that a run can say how long it will."""

    once: float
    repetition: float

    def of(self, repetitions: int) -> float:
        """All of it."""
        return self.once + repetitions * self.repetition


class Sheet:
    """The figures of a workload while it runs."""

    def __init__(self, workload: str, unit: str) -> None:
        self._workload = workload
        self._unit = unit
        self._values: dict[tuple[str, str, str], list[float]] = {}

    def note(self, server: str, case: str, value: float, unit: str | None = None) -> None:
        """One repetition's value."""
        self._values.setdefault((server, case, unit or self._unit), []).append(value)

    def figures(self) -> list[Figure]:
        """All of them."""
        return [
            Figure(self._workload, server, case, unit, values) for (server, case, unit), values in self._values.items()
        ]

    def ratios(self, server: str, other: str, case: str, other_case: str | None = None) -> list[float]:
        """One server's value over another's, repetition by repetition; empty where one of them was not measured."""
        mine, theirs = self.values(server, case), self.values(other, other_case or case)
        return [mine / their for mine, their in zip(mine, theirs, strict=False)]

    def values(self, server: str, case: str) -> list[float]:
        """Repetition by repetition."""
        return next((values for (a, b, _), values in self._values.items() if (a, b) == (server, case)), [])


def at_most(what: str, bound: float, values: list[float], unit: str = " ×") -> list[Verdict]:
    """The median must not be above the bound."""
    return _judged(what, f"≤ {shown(bound)}{unit}", values, unit, lambda median: median <= bound)


def at_least(what: str, bound: float, values: list[float], unit: str = " ×") -> list[Verdict]:
    """The median must not be below the bound."""
    return _judged(what, f"≥ {shown(bound)}{unit}", values, unit, lambda median: median >= bound)


def _judged(what: str, bound: str, values: list[float], unit: str, holds: Callable[[float], bool]) -> list[Verdict]:
    if not values:
        return [Verdict(what, bound, "not measured", None)]
    median = statistics.median(values)
    measured = f"{shown(median)}{unit} ({shown(min(values))} to {shown(max(values))})"
    return [Verdict(what, bound, measured, holds(median))]


def repetitions(workload: str, count: int) -> Iterable[int]:
    """Count them aloud, and say how long those that are left will take."""
    began = time.monotonic()
    for number in range(1, count + 1):
        each = (time.monotonic() - began) / (number - 1) if number > 1 else 0
        left = f", some {(count - number + 1) * each:.0f} s left" if each else ""
        progress(f"  {workload}: repetition {number} of {count}{left}")
        yield number

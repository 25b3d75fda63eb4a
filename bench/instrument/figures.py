"""Figures: what was measured, how often, and what the issue asks of it."""

import statistics
from collections.abc import Callable, Iterable
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
    passed: bool


class Result(NamedTuple):
    """Of one workload."""

    figures: list[Figure]
    verdicts: list[Verdict] = []  # noqa: RUF012  # never added to


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
        mine, theirs = self._found(server, case), self._found(other, other_case or case)
        return [mine / their for mine, their in zip(mine, theirs, strict=False)]

    def _found(self, server: str, case: str) -> list[float]:
        return next((values for (a, b, _), values in self._values.items() if (a, b) == (server, case)), [])


def at_most(what: str, bound: float, ratios: list[float], unit: str = " ×") -> list[Verdict]:
    """The median must not be above the bound; no verdict where nothing was measured."""
    return _judged(what, f"≤ {bound:.3g}{unit}", ratios, unit, lambda median: median <= bound)


def at_least(what: str, bound: float, ratios: list[float], unit: str = " ×") -> list[Verdict]:
    """The median must not be below the bound."""
    return _judged(what, f"≥ {bound:.3g}{unit}", ratios, unit, lambda median: median >= bound)


def _judged(what: str, bound: str, values: list[float], unit: str, holds: Callable[[float], bool]) -> list[Verdict]:
    if not values:
        return []
    median = statistics.median(values)
    measured = f"{shown(median)}{unit} ({shown(min(values))} to {shown(max(values))})"
    return [Verdict(what, bound, measured, holds(median))]


def repetitions(workload: str, count: int) -> Iterable[int]:
    """Count them aloud."""
    for number in range(1, count + 1):
        progress(f"  {workload}: repetition {number} of {count}")
        yield number

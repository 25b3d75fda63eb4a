"""What a run leaves behind: every figure as JSON, and tables that people read as Markdown."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from instrument.figures import Figure, Verdict, shown
from instrument.servers import BATCHING_FLOOR, FLOOR

AGAINST = {"fanout": FLOOR, "latency": FLOOR, "batches": BATCHING_FLOOR}
"""The workloads whose figures are told as multiples of the lower bound, too."""


class Part(NamedTuple):
    """One workload of a run."""

    name: str
    about: str
    meaning: str
    """What the figures are of, in some sentences."""
    seconds: float
    """It took so long."""
    figures: list[Figure]
    verdicts: list[Verdict]
    failure: str = ""
    """Why it has no figures."""


class Run(NamedTuple):
    """All of them."""

    facts: dict[str, str]
    repetitions: int
    parts: list[Part]

    @property
    def verdicts(self) -> list[Verdict]:
        """Of all workloads."""
        return [verdict for part in self.parts for verdict in part.verdicts]

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "machine": self.facts,
            "repetitions": self.repetitions,
            "figures": [figure.plain() for part in self.parts for figure in part.figures],
            "verdicts": [verdict._asdict() for verdict in self.verdicts],
            "failures": {part.name: part.failure for part in self.parts if part.failure},
            "seconds": {part.name: round(part.seconds) for part in self.parts},
        }

    def write(self, directory: Path) -> None:
        """As results.json and results.md."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "results.json").write_text(json.dumps(self.plain(), indent=1) + "\n")
        (directory / "results.md").write_text("\n".join(self.markdown()) + "\n")

    def markdown(self) -> Iterator[str]:
        """The whole page."""
        yield "# What was measured"
        yield ""
        yield "Written by `make bench`. " + "; ".join(f"{name}: {fact}" for name, fact in self.facts.items()) + "."
        yield (
            f"Medians of {self.repetitions} interleaved repetitions, least and most in parentheses; "
            "the server on one core, the load on another."
        )
        yield from table(JUDGED, judged(self.verdicts))
        yield from (tally(self.verdicts), "")
        for part in self.parts:
            if part.figures or part.failure:
                yield from (f"## {part.name}: {part.about}", "")
                yield f"**No figures: {part.failure}**" if part.failure else part.meaning
                yield from of_part(part) if part.figures else ("",)
        yield "## How long it took"
        yield from table(("workload", "seconds"), ((part.name, f"{part.seconds:.0f}") for part in self.parts))


JUDGED = ("what it must show", "bound", "measured: median (least to most)", "")
MARKS = {True: "PASS", False: "**FAIL**", None: "–"}


def judged(verdicts: Iterable[Verdict]) -> Iterator[tuple[str, ...]]:
    """Rows of verdicts."""
    for verdict in verdicts:
        yield verdict.what, verdict.bound, verdict.measured, MARKS[verdict.passed]


def tally(verdicts: list[Verdict]) -> str:
    """All of them in one line."""
    passed = [verdict.passed for verdict in verdicts]
    text = f"{passed.count(True)} of {len(passed)} bounds hold, {passed.count(False)} do not"
    return text + (f", {passed.count(None)} were not measured." if None in passed else ".")


def of_part(part: Part) -> Iterator[str]:
    """A row for each server, a column for each case."""
    cases = list(dict.fromkeys(figure.case for figure in part.figures))
    servers = list(dict.fromkeys(figure.server for figure in part.figures))
    found = {(figure.server, figure.case): figure for figure in part.figures}
    if len(servers) == 1:
        yield from table(("case", servers[0]), ((case, cell(part, found, servers[0], case)) for case in cases))
        return
    rows = ((server, *(cell(part, found, server, case) for case in cases)) for server in servers)
    yield from table(("", *cases), rows)


def cell(part: Part, found: dict[tuple[str, str], Figure], server: str, case: str) -> str:
    """Median, unit, spread, and the ratio to the lower bound where there is one."""
    figure = found.get((server, case))
    if figure is None:
        return ""
    text = f"{shown(figure.median)} {figure.unit} ({shown(min(figure.values))} to {shown(max(figure.values))})"
    floor = found.get((AGAINST.get(part.name, ""), case))
    return text if floor is None or floor is figure else f"{text}, {shown(figure.median / floor.median)} ×"


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """In Markdown, with an empty line before and after."""
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""

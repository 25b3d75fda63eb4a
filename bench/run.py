"""The bench: scanstream beside its peers, in one run. See bench/README.md.

    python bench/run.py                                          everything
    python bench/run.py fanout --readers 1000 --repetitions 3    one workload

Prints tables, and progress on standard error. Exit code 1 where a bound of issue 9 does not hold.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

from instrument import machine, plot
from instrument.built import BENCH, NoCompiler
from instrument.crowd import Wrong
from instrument.figures import Result, Verdict
from instrument.report import Part, Run, judged, of_part, table
from workloads import (
    acks,
    batches,
    connecting,
    fanout,
    growth,
    latency,
    longpolls,
    manyscans,
    ping,
    polling,
    slow,
    storm,
)

WORKLOADS: tuple[ModuleType, ...] = (
    fanout,
    batches,
    latency,
    connecting,
    storm,
    acks,
    polling,
    longpolls,
    manyscans,
    slow,
    growth,
    ping,
)
PROGRAMS = ("group_commit.py", "discover.py", "work.py", "loop_lag.py")
"""Benches of single parts: each prints what it has found and judges it by its exit code."""
PROGRAM_SECONDS = 900
RESULTS = BENCH / "results"
REPETITIONS = 5


def main() -> int:
    """Measure, print, judge; the exit code."""
    asked = parsed()
    try:
        parts = [one(name, asked) for name in ([asked.workload] if asked.workload else every_name())]
    except (NoCompiler, Wrong, TimeoutError) as error:
        machine.progress(f"bench: {error}")
        return 1
    run = Run(machine.facts(), asked.repetitions, parts)
    if asked.results or not asked.workload:
        directory: Path = asked.results or RESULTS
        run.write(directory)
        drawn = plot.draw([figure for part in parts for figure in part.figures], directory / "results.svg")
        machine.progress(f"written to {directory}" + ("" if drawn else ", without a plot"))
    print("\n".join(table(("what it must show", "bound", "measured", ""), judged(run.verdicts))))
    return 0 if all(verdict.passed for verdict in run.verdicts) else 1


def parsed() -> argparse.Namespace:
    """What was asked for."""
    every = argparse.ArgumentParser(add_help=False)
    every.add_argument("--repetitions", type=int, default=REPETITIONS, help=f"interleaved, default {REPETITIONS}")
    every.add_argument("--results", type=Path, metavar="DIR", help="where to write tables, JSON and a plot")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], parents=[every])
    parser.epilog = f"Without a workload all are run, some 25 minutes, and written to {RESULTS.name}/."
    commands = parser.add_subparsers(dest="workload", metavar="WORKLOAD")
    for workload in WORKLOADS:
        workload.flags(commands.add_parser(workload.NAME, help=workload.ABOUT, parents=[every]))
    for name in programs():
        commands.add_parser(name, help=f"bench/{name}", parents=[every])
    asked = parser.parse_args()
    if asked.repetitions < 1:
        parser.error("--repetitions: at least 1")
    return asked


def programs() -> list[str]:
    """Those that there are."""
    return [name for name in PROGRAMS if (BENCH / name).exists()]


def every_name() -> list[str]:
    """In the order in which they are run."""
    return [*(workload.NAME for workload in WORKLOADS), *programs()]


def one(name: str, asked: argparse.Namespace) -> Part:
    """Run one, and print its table."""
    machine.progress(f"{name} …")
    began = time.monotonic()
    workload = next((workload for workload in WORKLOADS if name == workload.NAME), None)
    result = program(name) if workload is None else workload.measure(with_defaults(workload, asked))
    part = Part(name, workload.ABOUT if workload else "", time.monotonic() - began, result.figures, result.verdicts)
    if part.figures:
        print(f"{part.name}: {part.about}", *of_part(part), sep="\n", flush=True)
    machine.progress(f"{name}: {part.seconds:.0f} s")
    return part


def with_defaults(workload: ModuleType, asked: argparse.Namespace) -> argparse.Namespace:
    """In a run of everything each workload has what it would have alone."""
    if asked.workload:
        return asked
    parser = argparse.ArgumentParser()
    workload.flags(parser)
    return parser.parse_args([], argparse.Namespace(repetitions=asked.repetitions))


def program(name: str) -> Result:
    """A bench of its own: its output is shown, its last line is what it says of itself."""
    command = [sys.executable, str(BENCH / name)]
    try:
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=PROGRAM_SECONDS)
    except subprocess.TimeoutExpired:
        return Result([], [Verdict(f"bench/{name}", "its own", f"not done within {PROGRAM_SECONDS} s", False)])
    print(ran.stdout, flush=True)
    said = ran.stdout.strip().rpartition("\n")[2] or "it said nothing"
    return Result([], [Verdict(f"bench/{name}", "its own", said, ran.returncode == 0)])


if __name__ == "__main__":
    sys.exit(main())

"""The bench: scanstream beside its peers, in one run. See bench/README.md.

    python bench/run.py                                          everything
    python bench/run.py fanout --readers 1000 --repetitions 3    one workload

Prints tables, and progress on standard error. A bound that does not hold is told, and no failure: a busy machine is
enough for it. With --strict the exit code is 1 then; it is 1 always where a workload could not be measured.
"""

import argparse
import ast
import inspect
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import ModuleType

from instrument import built, machine, plot
from instrument.built import BENCH, NoCompiler
from instrument.clock import Clock, minutes
from instrument.figures import Cost, Result, Verdict
from instrument.report import JUDGED, Part, Run, judged, of_part, table, tally
from workloads import (
    acks,
    batches,
    connecting,
    fanout,
    growth,
    idle,
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
    acks,
    polling,
    manyscans,
    slow,
    ping,
    storm,
    longpolls,
    growth,
    idle,
)
"""In the order of the issue's table, then those without a bound."""
PROGRAMS = {
    "group_commit.py": Cost(6, 0),
    "discover.py": Cost(20, 0),
    "work.py": Cost(60, 0),
    "core.py": Cost(60, 0),
    "loop_lag.py": Cost(240, 0),
}
"""Benches of single parts: each prints what it has found and judges it by its exit code."""
WRITING = ("group_commit.py", "work.py", "core.py")
"""Those whose `--json FILE` is for `Result.read`."""
PROGRAM_SECONDS = 900
RESULTS = BENCH / "results"
REPETITIONS = 5


def main() -> int:
    """Measure, print, judge; the exit code."""
    asked = parsed()
    try:
        built.load(), built.floor()
    except NoCompiler as error:
        machine.progress(f"bench: {error}")
        return 1
    run = Run(machine.facts(), asked.repetitions, [])
    directory: Path | None = asked.results or (None if asked.workload else RESULTS)
    names = [asked.workload] if asked.workload else every_name()
    began, clock = time.monotonic(), Clock({name: cost_of(name).of(asked.repetitions) for name in names})
    for name in names:
        clock.begins(name)
        run.parts.append(one(name, asked))
        if directory:  # each time: whoever stops a run keeps what it has found
            run.write(directory)
            drawn = plot.draw([figure for part in run.parts for figure in part.figures], directory / "results.svg")
    if directory:
        machine.progress(f"written to {directory}" + ("" if drawn else ", without a plot"))
    if run.verdicts:
        print("\n".join(table(JUDGED, judged(run.verdicts))), tally(run.verdicts), sep="\n")
    machine.progress(f"done after {minutes(time.monotonic() - began)}")
    missed = asked.strict and any(verdict.passed is False for verdict in run.verdicts)
    return 1 if missed or any(part.failure for part in run.parts) else 0


def parsed() -> argparse.Namespace:
    """What was asked for."""
    every = argparse.ArgumentParser(
        add_help=False, argument_default=argparse.SUPPRESS
    )  # before a workload, or after it
    every.add_argument("--repetitions", type=int, help=f"interleaved, default {REPETITIONS}")
    every.add_argument("--results", type=Path, metavar="DIR", help="where to write tables, JSON and a plot")
    every.add_argument("--strict", action="store_true", help="exit with 1 where a bound does not hold")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], parents=[every])
    seconds = sum(cost_of(name).of(REPETITIONS) for name in every_name())
    parser.epilog = f"Without a workload all are run, some {seconds / 60:.0f} minutes, and written to {RESULTS.name}/."
    commands = parser.add_subparsers(dest="workload", metavar="WORKLOAD")
    for workload in WORKLOADS:
        workload.flags(commands.add_parser(workload.NAME, help=workload.ABOUT, parents=[every]))
    for name in programs():
        commands.add_parser(name, help=f"bench/{name}", parents=[every])
    asked = parser.parse_args(None, argparse.Namespace(repetitions=REPETITIONS, results=None, strict=False))
    if asked.repetitions < 1:
        parser.error("--repetitions: at least 1")
    return asked


def programs() -> list[str]:
    """Those that there are."""
    return [name for name in PROGRAMS if (BENCH / name).exists()]


def every_name() -> list[str]:
    """What a run of everything runs, in order."""
    return [*(workload.NAME for workload in WORKLOADS), *programs()]


def workload_of(name: str) -> ModuleType | None:
    """None: it is a program of its own."""
    return next((workload for workload in WORKLOADS if name == workload.NAME), None)


def cost_of(name: str) -> Cost:
    """How long it takes."""
    workload = workload_of(name)
    cost: Cost = workload.COST if workload else PROGRAMS[name]
    return cost


def one(name: str, asked: argparse.Namespace) -> Part:
    """Run one, and print its table. One that goes wrong has no figures, and takes no other's with it."""
    began = time.monotonic()
    workload = workload_of(name)
    about, meaning = described(name)
    result, failure = Result([]), ""
    try:
        result = workload.measure(with_defaults(workload, asked)) if workload else program(name)
    except Exception as error:  # whatever it is, it is told
        traceback.print_exc()
        failure = f"{type(error).__name__}: {error}"
        result = Result([], [Verdict(f"{name}: {about}", "is measured", failure, False)])
    part = Part(name, about, meaning, time.monotonic() - began, *result, failure)
    if part.figures:
        print(f"{part.name}: {part.about}", *of_part(part), sep="\n", flush=True)
    machine.progress(f"{name}: {part.seconds:.0f} s")
    return part


def described(name: str) -> tuple[str, str]:
    """What it measures, in one line, and in all the lines that it has for it."""
    if workload := workload_of(name):
        return workload.ABOUT, inspect.cleandoc(workload.__doc__ or "")
    words = ast.get_docstring(ast.parse((BENCH / name).read_text())) or name
    line, _, rest = words.partition("\n")
    return line.rstrip("."), rest.strip("\n")


def with_defaults(workload: ModuleType, asked: argparse.Namespace) -> argparse.Namespace:
    """In a run of everything each workload has what it would have alone."""
    if asked.workload:
        return asked
    parser = argparse.ArgumentParser()
    workload.flags(parser)
    return parser.parse_args([], argparse.Namespace(repetitions=asked.repetitions))


def program(name: str) -> Result:
    """A bench of its own: its output is shown, its last line is what it says of itself."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        file = Path(scratch) / "result.json"
        command = [sys.executable, str(BENCH / name), *(("--json", str(file)) if name in WRITING else ())]
        code, output = ended(command)
        print(output, flush=True)
        if file.exists():
            return Result.read(file)
    said = output.strip().rpartition("\n")[2]
    if not said or code not in (0, 1):
        raise RuntimeError(f"bench/{name} has ended with {code}: {said or 'it said nothing'}")
    return Result([], [Verdict(f"bench/{name}", "its own", said, code == 0)])


def ended(command: list[str]) -> tuple[int, str]:
    """Its exit code and what it has printed; where it takes too long, it ends with all that it has started."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=PROGRAM_SECONDS)
        except BaseException:  # whoever stops the bench stops it, too
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, output


if __name__ == "__main__":
    sys.exit(main())

"""A run of the bench tells what it has found, what did not hold, and what could not be measured."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from instrument import built
from instrument.clock import Clock
from instrument.figures import Result, Sheet, at_least, at_most
from instrument.report import Part, Run
from instrument.servers import FLOOR, SCANSTREAM
from run import described

pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="the load generator is in C: needs gcc"),
    pytest.mark.skipif(sys.platform != "linux", reason="the load generator needs epoll"),
]


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of the bench keep their files below the current directory."""
    monkeypatch.chdir(tmp_path)


def test_a_median_beyond_its_bound_fails_and_the_report_says_so(tmp_path: Path) -> None:
    sheet = Sheet("fanout", "µs")
    for ours, bound in ((2.0, 1.0), (1.0, 1.0), (3.0, 1.0)):
        sheet.note(SCANSTREAM, "1,000 readers", ours)
        sheet.note(FLOOR, "1,000 readers", bound)
    ratios = sheet.ratios(SCANSTREAM, FLOOR, "1,000 readers")
    verdicts = [*at_most("a", 1.6, ratios), *at_least("b", 1.6, ratios), *at_most("not measured", 1, [])]
    run = Run({"cores": "2"}, 3, [Part("fanout", "about", "meaning", 1.0, sheet.figures(), verdicts)])
    run.write(tmp_path / "results")

    assert [verdict.passed for verdict in verdicts] == [False, True, None]
    page = (tmp_path / "results" / "results.md").read_text()
    assert "| a | ≤ 1.6 × | 2 × (1 to 3) | **FAIL** |" in page
    assert "| not measured | ≤ 1 × | not measured | – |" in page
    assert "1 of 3 bounds hold, 1 do not, 1 were not measured." in page
    assert "meaning" in page
    assert "| scanstream | 2 µs (1 to 3), 2 × |" in page
    assert json.loads((tmp_path / "results" / "results.json").read_text())["figures"][0]["median"] == 2.0


def test_what_goes_wrong_takes_no_other_figures_with_it(tmp_path: Path) -> None:
    ran = bench_of(TWO, "(Broken, Right)", tmp_path)

    assert ran.returncode == 1
    assert "broken (1 of 2): after 0:00 min, some 0:03 min left" in ran.stderr
    page = (tmp_path / "results" / "results.md").read_text()
    assert "| broken: it breaks | is measured | Wrong: a message was lost | **FAIL** |" in page
    assert "**No figures: Wrong: a message was lost**" in page
    assert "| one | 1 µs (1 to 1) |" in page


def bench_of(definitions: str, workloads: str, scratch: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    """A run of everything, where that is these workloads."""
    script = f"import run, sys\n{definitions}\nrun.WORKLOADS = {workloads}\nrun.PROGRAMS = {{}}\nsys.exit(run.main())"
    paths = os.pathsep.join([str(built.BENCH), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", script, "--results", str(scratch / "results"), *flags]
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)


TWO = """
import types
from instrument.crowd import Wrong
from instrument.figures import Cost, Result, Sheet, at_most

def flags(parser): pass

def breaks(asked): raise Wrong("a message was lost")

def measures(asked):
    sheet = Sheet("right", "µs")
    sheet.note("scanstream", "one", 1.0)
    return Result(sheet.figures())

Broken = types.SimpleNamespace(NAME="broken", ABOUT="it breaks", COST=Cost(1, 0), flags=flags, measure=breaks)
Right = types.SimpleNamespace(NAME="right", ABOUT="it is right", COST=Cost(2, 0), flags=flags, measure=measures)
"""


@pytest.mark.parametrize(("flags", "code"), [((), 0), (("--strict",), 1)], ids=["told", "strict"])
def test_a_bound_that_does_not_hold_is_told_and_fails_only_where_that_is_asked_for(
    flags: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    missed = TWO.replace("Result(sheet.figures())", "Result(sheet.figures(), at_most('a', 0.5, [1.0]))")
    ran = bench_of(missed, "(Right,)", tmp_path, *flags)

    assert ran.returncode == code, ran.stderr
    assert "| a | ≤ 0.5 × | 1 × (1 to 1) | **FAIL** |" in ran.stdout
    assert "0 of 1 bounds hold, 1 do not." in ran.stdout


def test_one_workload_is_run_judged_and_written_down(tmp_path: Path) -> None:
    command = [sys.executable, str(built.BENCH / "run.py"), "fanout", "--readers", "20", "--updates", "10"]
    command += ["--repetitions", "2", "--servers", "C", "scanstream", "--results", str(tmp_path / "results")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert ran.returncode == 0, ran.stderr
    assert "| scanstream |" in ran.stdout
    assert "repetition 2 of 2" in ran.stderr
    figures = json.loads((tmp_path / "results" / "results.json").read_text())["figures"]
    assert [(figure["server"], len(figure["values"])) for figure in figures] == [("C", 2), ("scanstream", 2)]


def test_what_a_program_writes_is_what_a_run_reads(tmp_path: Path) -> None:
    sheet = Sheet("group_commit.py", "ms")
    for value in (30.0, 40.0):
        sheet.note("group commit", "1,000 registrations", value)
    written = Result(sheet.figures(), [*at_most("a", 35.0, [30.0, 40.0], " ms"), *at_least("b", 1.0, [])])
    written.write(tmp_path / "result.json")

    assert Result.read(tmp_path / "result.json") == written
    assert written.verdicts[1].passed is None


@pytest.mark.parametrize("name", ["group_commit.py", "storm"])
def test_a_part_says_what_it_measures(name: str) -> None:
    about, meaning = described(name)

    assert about
    assert "\n" not in about
    assert len(meaning) > 200


def test_how_long_a_run_will_take_is_told_by_how_long_it_has_taken() -> None:
    clock = Clock({"one": 100.0, "two": 50.0})
    clock.begins("one")
    assert clock.left(gone=10.0) == 150.0
    clock.begins("two")
    assert clock.left(gone=200.0) == 100.0, "all takes twice as long here"

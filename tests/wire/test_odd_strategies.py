"""Strategies that give anything but what they should: each is its own outcome, and nobody else's."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio import to_thread

from scanstream.engines.schema import DATABASE
from support.installing import plug_in, serving_with
from support.wire import discover, status, until_terminal

pytestmark = pytest.mark.anyio

UNITS: dict[str, tuple[str, str, str]] = {
    # name: (what units() does, the strategy's status, words of its error)
    "Numpy": ("return numpy.int64(2)", "complete", ""),
    "Small": ("return numpy.uint8(1)", "complete", ""),
    "Nothing": ("raise NothingToScan('has \\ud800 nothing')", "complete", ""),
    "Fraction": ("return 2.0", "failed", "units() must be a whole number, and is 2.0 (float)"),
    "Negative": ("return -1", "failed", "units() must be from 0"),
    "Truth": ("return True", "failed", "must be a whole number"),
    "Absent": ("return None", "failed", "must be a whole number"),
    "Endless": ("return 10**30", "failed", "units() must be from 0"),
    "Longest": ("return 10**100000", "failed", "units() must be from 0"),
    "Many": ("return 2**52", "failed", "at most 4,096 are run"),
    "Word": ("return '2'", "failed", "must be a whole number"),
    "Leaving": ("raise SystemExit(3)", "failed", "SystemExit: 3"),
    "Interrupting": ("raise KeyboardInterrupt", "failed", "KeyboardInterrupt"),
    "Closing": ("raise GeneratorExit", "failed", "GeneratorExit"),
    "Base": ("raise BaseException('no Exception')", "failed", "BaseException: no Exception"),
    "Surrogate": ("raise ValueError('\\ud800' * 3)", "failed", "ValueError: ???"),
    "Speechless": ("raise NoWords", "failed", "NoWords: its text cannot be had"),
    "Endlessly": ("raise ValueError('x' * 5_000_000)", "failed", "xxx …"),
    "Dying": ("os._exit(1)", "failed", "died 3 times as it was planned"),
    "Hanging": ("threading.Event().wait()", "timed_out", "units() took longer than 1 s"),
}

SOURCE = """
import os, threading
import numpy
from scanstream.strategies.strategy import AsyncStrategy, NothingToScan, Strategy

class NoWords(Exception):
    def __str__(self):
        raise SystemExit
"""

ONE = """
class {name}({base}):
    id, name, opportunity_type, description, source = "{id}", "Odd", "odd", "Gives what it should not.", "a test"
    budget_seconds, chunk = {budget}, 1

    def units(self, panel, parameters):
        {units}

    {scan}
"""


ODD_BUDGET = """
from scanstream.strategies.strategy import Strategy

class Odd(Strategy):
    id, name, opportunity_type, description, source = "odd", "Odd", "odd", "Odd.", "a test"
    budget_seconds = {budget}

    def scan(self, panel, units, parameters):
        return []
"""


def odd() -> str:
    """A module with a strategy for each of `UNITS`, half of them of those that wait."""
    classes = []
    for number, (name, (units, _, _)) in enumerate(UNITS.items()):
        base, scan = [
            ("Strategy", "def scan(self, panel, units, parameters): return []"),
            ("AsyncStrategy", "async def scan(self, panel, units, parameters):\n        return\n        yield"),
        ][number % 2]
        budget = 1.0 if name == "Hanging" else 60.0
        classes.append(ONE.format(name=name, id=name.lower(), base=base, units=units, scan=scan, budget=budget))
    return SOURCE + "".join(classes)


async def test_what_units_gives_is_its_own_strategys_outcome_and_a_restart_survives_it(tmp_path: Path) -> None:
    target = plug_in(tmp_path / "installed", "odd", odd(), *UNITS)
    names = [name.lower() for name in UNITS]
    async with serving_with(target, data=tmp_path / "data") as server:
        scan_id = (await discover(server.url, {"strategy_ids": [*names, "donchian"]})).json()["scan_id"]
        state = await until_terminal(server.url, scan_id)
        assert await to_thread.run_sync(server.stop) == 0
    async with serving_with(target, data=tmp_path / "data") as server:
        assert await until_terminal(server.url, scan_id) == {**state}

    assert state["status"] == "complete"
    assert state["strategies"].pop("donchian")["status"] == "complete"
    for name, (_, outcome, words) in UNITS.items():
        strategy = state["strategies"][name.lower()]
        assert strategy["status"] == outcome, (name, strategy)
        assert words in strategy.get("error", {"detail": ""})["detail"], (name, strategy)
        assert len(strategy.get("error", {"detail": ""})["detail"].encode()) <= 4096


JUDGING = """
import os, threading
from scanstream.strategies.strategy import Parameters, Strategy

class Asked(Parameters, frozen=True, kw_only=True):
    mode: str = ""
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self):
        if self.mode == "hang":
            threading.Event().wait()
        if self.mode == "exit":
            raise SystemExit(3)
        if self.mode == "die":
            os._exit(1)
        if self.low > self.high:
            raise ValueError("low must not be above high")

class Judging(Strategy):
    id, name, opportunity_type, description, source = "judging", "Judging", "odd", "Looks at parameters.", "a test"
    parameters = Asked

    def scan(self, panel, units, parameters):
        return []
"""


async def test_a_plug_in_that_looks_at_parameters_holds_up_nobody_but_that_request(tmp_path: Path) -> None:
    target = plug_in(tmp_path / "installed", "judging_own", JUDGING, "Judging")

    def wanted(**values: object) -> dict[str, object]:
        return {"strategy_ids": ["judging"], "parameters": {"judging": values}}

    async with serving_with(target) as server:
        refused = {
            "exit": "SystemExit: 3",
            "die": "ended its process",
            "hang": "did not say within 5 s whether they are valid",
        }
        async with anyio.create_task_group() as asking:

            async def ask(mode: str, words: str) -> None:
                answer = await discover(server.url, wanted(mode=mode))
                assert answer.status == 422, answer
                [error] = answer.json()["errors"]
                assert error["field"].startswith("parameters.judging")
                assert words in error["reason"]

            for mode, words in refused.items():
                asking.start_soon(ask, mode, words)
            assert (await discover(server.url)).status == 202
        answer = await discover(server.url, wanted(low=2.0, high=1.5))
        assert "low must not be above high" in answer.json()["errors"][0]["reason"]
        ids = [(await discover(server.url, wanted(low=low, high=3.0))).json()["scan_id"] for low in (2, 2.0)]
        assert ids[0] == ids[1], "2 and 2.0 are one request"
        state = await until_terminal(server.url, ids[0])
        assert (state["status"], state["filters"]["parameters"]["judging"]) == ("complete", {"high": 3.0, "low": 2.0})


async def test_a_scan_of_a_version_that_took_anything_is_survived(tmp_path: Path) -> None:
    """A budget without end is null in its log, its plan has shards below nothing, its request no bounds."""
    async with serving_with(tmp_path, "--workers", "0", data=tmp_path / "data") as server:
        wanted = {"strategy_ids": ["donchian", "meanrev", "tsmom"]}
        scan_id = (await discover(server.url, wanted)).json()["scan_id"]
        with anyio.fail_after(30):
            while (await status(server.url, scan_id)).json()["phase"] != "running":  # noqa: ASYNC110  # another process
                await anyio.sleep(0.05)
        server.kill()
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / DATABASE)) as database, database:
        for seq, body in database.execute("SELECT seq, body FROM entries WHERE scan_id = ?", (scan_id,)).fetchall():
            entry = msgspec.json.decode(body)
            if "budgets" in entry:
                entry["budgets"] |= {"donchian": None, "tsmom": -5.0}
                hours = [f"{number}h" for number in range(1, 95_001)]
                entry["request"] |= {"preferred_timeframes": hours, "capital_usd": 1e30}
            if "cuts" in entry:
                entry["cuts"]["meanrev"] = {"units": -100, "chunk": 8}
            arguments = (msgspec.json.encode(entry), scan_id, seq)
            database.execute("UPDATE entries SET body = ? WHERE scan_id = ? AND seq = ?", arguments)

    async with serving_with(tmp_path, data=tmp_path / "data") as server:
        with anyio.fail_after(60):
            state = await until_terminal(server.url, scan_id)
            assert (await until_terminal(server.url, (await discover(server.url)).json()["scan_id"]))["success"]
    outcomes = {name: one["status"] for name, one in state["strategies"].items()}
    assert outcomes == {"donchian": "complete", "meanrev": "complete", "tsmom": "timed_out"}


async def test_a_plug_in_that_is_gone_after_a_restart_costs_its_own_strategy(tmp_path: Path) -> None:
    target = plug_in(tmp_path / "installed", "odd", odd(), "Small")
    async with serving_with(target, "--workers", "0", data=tmp_path / "data") as server:
        scan_id = (await discover(server.url, {"strategy_ids": ["small", "donchian"]})).json()["scan_id"]
        server.kill()
    async with serving_with(tmp_path / "empty", data=tmp_path / "data") as server:
        with anyio.fail_after(60):
            state = await until_terminal(server.url, scan_id)
    assert state["status"] == "complete"
    assert state["strategies"]["donchian"]["status"] == "complete"
    assert "it is not installed any more" in state["strategies"]["small"]["error"]["detail"].lower()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import sys\nsys.exit('bye')", "SystemExit: bye"),
        (ODD_BUDGET.format(budget="float('inf')"), "budget_seconds must be finite"),
        (ODD_BUDGET.format(budget="float('nan')"), "budget_seconds must be finite"),
    ],
    ids=["exits as it is imported", "endless budget", "budget that is no number"],
)
def test_what_can_be_judged_at_the_start_is_refused_there_in_one_line(tmp_path: Path, source: str, words: str) -> None:
    target = plug_in(tmp_path / "installed", "odd", source, "Odd")
    path = os.pathsep.join([str(target), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    ended = subprocess.run(
        [sys.executable, "-m", "scanstream", "serve", "--port", "0", "--data", ":memory:"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert line.startswith("scanstream: The strategy odd (odd:Odd) cannot be used: ")
    assert words in line

"""Strategies that give anything but what they should: each is its own outcome, and nobody else's."""

from pathlib import Path

import pytest
from anyio import to_thread

from support.installing import plug_in, serving_with
from support.wire import discover, until_terminal

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
    for name, (_, status, words) in UNITS.items():
        strategy = state["strategies"][name.lower()]
        assert strategy["status"] == status, (name, strategy)
        assert words in strategy.get("error", {"detail": ""})["detail"], (name, strategy)
        assert len(strategy.get("error", {"detail": ""})["detail"].encode()) <= 4096

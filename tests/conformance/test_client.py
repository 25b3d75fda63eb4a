"""`scanstream conformance client`: ours in both languages keep all promises; clients with bad habits do not."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from click.testing import CliRunner, Result

from conformance.bad_habits import HABITS
from conformance.judged import told_of
from conftest import ROOT
from docs.pages import code, table
from scanstream.cli import main
from scanstream.conformance.stage.playing import Played, play, play_all
from scanstream.conformance.stage.scripts import SCRIPTS

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent
PYTHON = [sys.executable, str(HERE / "adapter.py")]
NODE = ["node", "--experimental-websocket", "--no-warnings", str(HERE / "adapter.mjs")]
QUICK = ["cut", "new-epoch", "repeated"]
FEW = ["gives up at the first cut", "trusts a stale cursor", "takes frames twice"]
"""What is played with every run of the tests; the others with `make clients`."""
SLOW = {"frozen", "lost-end"}


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters find the tests, and what they import."""
    known = [str(ROOT / "tests"), str(ROOT / "server"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(known).rstrip(os.pathsep))


async def played(command: list[str], *names: str, seed: int = 1, jobs: int = 2) -> list[Played]:
    """What has come of these scripts."""
    plays: list[Played] = []
    await play_all([SCRIPTS[name] for name in names], command, seed, jobs, plays.append)
    return plays


def assert_kept(plays: list[Played]) -> None:
    """Each ends as promised."""
    broken = [play for play in plays if play.broken]
    assert not broken, told_of(*broken)


async def test_the_client_keeps_its_promises() -> None:
    plays = await played(PYTHON, *QUICK, jobs=3)
    assert_kept(plays)
    assert sorted(play.script.name for play in plays) == sorted(QUICK)


@pytest.mark.clients
@pytest.mark.timeout(500)
@pytest.mark.parametrize("command", [PYTHON, NODE], ids=["python", "node"])
@pytest.mark.parametrize("slow", [False, True], ids=["quick", "slow"])
async def test_ours_keep_all_of_their_promises(command: list[str], slow: bool) -> None:
    assert_kept(await played(command, *(name for name, one in SCRIPTS.items() if one.slow == slow), jobs=4))


async def found_out(name: str) -> None:
    """A client with this habit does not pass."""
    habit = HABITS[name]
    script = SCRIPTS[habit.script]._replace(seconds=habit.seconds)
    one = await play(script, [*PYTHON, "--mutant", name], 1)
    assert one.broken, f"{habit.script} is played well by a client that {name}"


async def test_a_client_with_a_bad_habit_is_found_out() -> None:
    async with anyio.create_task_group() as tasks:
        for name in FEW:
            tasks.start_soon(found_out, name)


@pytest.mark.clients
@pytest.mark.parametrize("name", [name for name in HABITS if name not in FEW])
async def test_a_client_with_any_bad_habit_is_found_out(name: str) -> None:
    await found_out(name)


def test_most_scripts_have_a_habit() -> None:
    """The others are the same on another transport, or in worse weather."""
    assert SCRIPTS.keys() - {habit.script for habit in HABITS.values()} == {
        "cut-streams",
        "frozen-stream",
        "buffered",
        "unknown-streams",
        "chunks-cut",
        "watched",
    }
    assert {*FEW} <= HABITS.keys()


async def run(*words: str) -> Result:
    """The command, in a thread: it has a loop of its own."""
    return await to_thread.run_sync(partial(CliRunner().invoke, main, ["conformance", "client", *words]))


async def test_the_command_says_what_does_not_hold() -> None:
    habit: Any = ["--", *PYTHON, "--mutant", "tells one twice"]
    done = await run("--only", "clean", "--seed", "7", *habit)

    assert done.exit_code == 1, done.output
    assert "BROKEN    clean: What the server tells is what the user is told" in done.output
    assert "each opportunity once, in order" in done.output
    assert "again:    scanstream conformance client --only clean --seed 7 -- " in done.output
    assert "0 scripts end as promised, 1 do not (clean)" in done.output


async def test_the_command_says_what_holds() -> None:
    done = await run("--only", "clean", "--json", "--", *PYTHON)

    assert done.exit_code == 0, done.output
    assert '"outcome": "holds"' in done.stdout


async def test_an_adapter_that_is_none() -> None:
    assert (await run("--only", "clean", "--", "/no/such/program")).exit_code == 3
    assert (await run("--only", "nothing", "--", *PYTHON)).exit_code == 2
    assert (await run()).exit_code == 2
    done = await run("--only", "clean", "--", sys.executable, "-c", "print('hello')")
    assert done.exit_code == 1
    assert "hello" in done.output


def test_the_page_tells_every_script() -> None:
    told = {code(row["Script"])[0]: row["Promise"] for row in table("conformance.md", "Script")}

    assert told == {name: one.promise + (" (slow)" if one.slow else "") for name, one in SCRIPTS.items()}

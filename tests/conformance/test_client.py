"""`scanstream conformance client`: ours in both languages keep all promises; clients with bad habits do not."""

import os
import re
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
from scanstream.conformance.stage import adapter as adapters
from scanstream.conformance.stage.playing import Played, play, play_all
from scanstream.conformance.stage.scripts import SCRIPTS
from support.process import exists
from support.until import until

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent
PYTHON = [sys.executable, str(HERE / "adapter.py")]
PLAIN = [sys.executable, str(HERE / "plain_adapter.py")]
PLAINLY = ["clean", "failed", "cut", "unknown", "chunks", "chunks-cut", "new-epoch", "not-found", "watched"]
"""What a client promises that knows one transport."""
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


@pytest.mark.clients
async def test_a_client_that_is_unlike_ours_is_judged_by_what_it_tells() -> None:
    assert_kept(await played(PLAIN, *PLAINLY, jobs=4))


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


RAW = [
    b"GARBAGE\r\n\r\n",
    b"POST /opportunities/discover HTTP/1.1\r\ncontent-length: 3\r\n\r\n{{{",
    b'POST /opportunities/follow HTTP/1.1\r\ncontent-length: 12\r\n\r\n{"follow":7}',
    b"POST /opportunities/follow HTTP/1.1\r\naccept: text/event-stream\r\ncontent-length: 2\r\n\r\n{}",
    b"POST /opportunities/discover HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
    b"GET /opportunities/status/latest?wait=soon HTTP/1.1\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nupgrade: websocket\r\nsec-websocket-protocol: scanstream.bearer.\xff\r\n\r\n",
]
"""What is no request, or none of the protocol's."""
BAD_ADAPTERS = {
    **{
        f"sends {data[:60]!r}": (
            "import json, socket, sys; from urllib.parse import urlsplit;"
            "begin = json.loads(sys.stdin.readline()); port = urlsplit(begin['url']).port;"
            f"there = socket.create_connection(('127.0.0.1', port)); there.sendall({data!r}); there.settimeout(2);"
            'there.recv(9); print(\'{"event": "error"}\')',
            "requests and messages as the protocol has them",
        )
        for data in RAW
    },
    "crashes": ("import sys; sys.stdin.readline(); raise RuntimeError('no idea')", "RuntimeError: no idea"),
    "ends before it is told anything": ("import os; os.close(0); raise SystemExit(9)", "exit code 9"),
    "says nothing": ("pass", "something to be told"),
    "writes much to standard error": (
        "import sys; sys.stdin.readline(); sys.stderr.write('x\\n' * 200_000); print('{\"event\": \"error\"}')",
        "expected: no ",
    ),
    "prints garbage": ("print('<html>')", "<html>"),
    "prints deep garbage": ("print('[' * 100_000)", "[[[["),
    "tells no list": (
        'print(\'{"event": "started"}\'); print(\'{"event": "update", "opportunities": 5, "cursor": 7}\')',
        "expected: ",
    ),
    "tells ids that are none": (
        "import json, sys; begin = json.loads(sys.stdin.readline());"
        'print(\'{"event": "update", "cursor": "e1-1.0", "opportunities": [{"id": []}]}\')',
        "expected: ",
    ),
    "goes on in one line": ("import sys\nwhile True: sys.stdout.write('x' * 1_000_000)", "BROKEN"),
    "never ends": ('import time; print(\'{"event": "started"}\', flush=True); time.sleep(600)', "the last word within"),
    "leaves somebody behind": (
        "import subprocess, sys; print('child', subprocess.Popen(['sleep', '600']).pid, file=sys.stderr)",
        "on standard error: child ",
    ),
}


@pytest.mark.parametrize(
    "habit",
    [
        pytest.param(name, marks=() if name in ("crashes", "prints garbage") else pytest.mark.clients)
        for name in BAD_ADAPTERS
    ],
)
async def test_an_adapter_that_is_none_is_found_out_in_time(habit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, says = BAD_ADAPTERS[habit]
    monkeypatch.setitem(SCRIPTS, "clean", SCRIPTS["clean"]._replace(seconds=3.0))
    monkeypatch.setattr(adapters, "LEAVE_SECONDS", 0.5)
    monkeypatch.setattr(adapters, "MOST_CHARACTERS", 4_000_000)

    with anyio.fail_after(20):
        done = await run("--only", "clean", "--", sys.executable, "-c", program)

    assert done.exit_code == 1, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert says in done.output
    assert len(done.output) < 20_000
    for pid in re.findall(r"child (\d+)", done.output):
        await until(lambda: not exists(int(pid)))  # noqa: B023


def test_the_page_tells_every_script() -> None:
    told = {code(row["Script"])[0]: row["Promise"] for row in table("conformance.md", "Script")}

    assert told == {name: one.promise + (" (slow)" if one.slow else "") for name, one in SCRIPTS.items()}

"""docs/polling.md is true: every block runs here against a real server, and each answer of its table is one."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from docs.pages import DOCS, by_heading, code, table
from scanstream.errors import TABLE
from scanstream.message import LONGEST_WAIT_SECONDS
from support.process import server_process
from support.script import scripting
from support.wire import Answer, discover, request, results, status, until_terminal

pytestmark = pytest.mark.anyio

PAGE = DOCS / "polling.md"
ADDRESS = "127.0.0.1:8000"
SECONDS = 60

PROGRAMS = {
    "curl": r'\{"success":true,"scan_id":"scan_.*\}\n\{"success":true,.*"status":"complete".*\}',
    "A script for sh": r"(\d+ %\n)*(\w+/\w+ (long|short) [\d.]+\n){3}",
    "Only what has changed": r"200\n304\n",
    "Python: at the server's pace": r"(\d+ %, \d+ found\n)*100 %, [1-9]\d* found\nComplete: [1-9]\d* found\n",
    "Python: opportunities as they come": r"(\d+ %, \d+ found\n)*100 %, [1-9]\d* found\n",
    "Waiting for more than 60 seconds": r"complete [1-9]\d*\n",
    "pandas": r"(?s).*count.*max.*\nlong +[1-9].*",
    "PowerShell": r"(?s)complete: [1-9]\d* found\n.*symbol.*",
    "Many scans": r"(scan_[0-9a-f]{42} complete\n){3}",
}
"""Heading → what the program below it prints."""
NEEDS = {"sh": ("curl", "jq"), "powershell": ("pwsh",), "python": ()}
"""Language → programs without which it cannot run here."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server."""
    with server_process(":memory:", "--workers", "1") as server:
        yield server.url


ALL = by_heading(PAGE)


def test_every_block_of_the_page_is_run_here() -> None:
    assert list(ALL) == list(PROGRAMS)
    assert {block.language for block in ALL.values()} == set(NEEDS)


HERE = [name for name in PROGRAMS if name != "PowerShell" or shutil.which("pwsh")]
"""PowerShell is in no package of Debian's: where it is missing nothing can be installed to mend that."""


@pytest.mark.parametrize("name", HERE)
def test_a_program_prints_what_it_promises(name: str, url: str, tmp_path: Path) -> None:
    block = ALL[name]
    for needed in NEEDS[block.language]:
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not on this machine")
    path = tmp_path / {"sh": "poll.sh", "powershell": "poll.ps1", "python": "poll.py"}[block.language]
    path.write_text(block.text.replace(ADDRESS, url.removeprefix("http://")))
    program = {"sh": ["sh", "-eu"], "powershell": ["pwsh", "-NoProfile", "-File"], "python": [sys.executable]}

    done = subprocess.run(
        [*program[block.language], str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(PROGRAMS[name], done.stdout), done.stdout


def test_a_script_whose_request_is_not_valid_says_so_and_fails(url: str, tmp_path: Path) -> None:
    for needed in NEEDS["sh"]:
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not on this machine")
    script = ALL["A script for sh"].text.replace(ADDRESS, url.removeprefix("http://"))
    for wrong in (script.replace('["tsmom"]', '["nope"]'), script.replace("results/$scan", "results/scan_1")):
        assert wrong != script
        done = subprocess.run(
            ["sh", "-c", wrong], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert (done.returncode != 0, done.stdout) == (True, "")
        assert "422" in done.stderr or "No scan found" in done.stderr


async def test_each_answer_means_what_the_table_says(url: str) -> None:
    """In the order of the table; a server that is too busy, or away, is tests/wire's."""
    async with scripting() as script:
        scan_id = (await discover(url, script.request(1))).json()["scan_id"]
        shard = await script.started()
        running = await status(url, scan_id)
        with anyio.fail_after(SECONDS):
            while running.json()["strategies"]["scripted"]["status"] != "running":  # the log hears of it a moment later
                running = await status(url, scan_id)
        early = await results(url, scan_id)
        same = await asked(url, scan_id, **{"if-none-match": running.headers["etag"]})
        await shard.tell("end")
        await until_terminal(url, scan_id)
    late, absent = await results(url, scan_id), await status(url, "scan_1")
    invalid = await asked(url, f"{scan_id}?wait={LONGEST_WAIT_SECONDS + 1}")
    gone = await _expired()

    told = [code(row["Answer"])[:1] for row in table("polling.md", "Answer", "means", "then")]
    answers = (running, late, early, same, absent, gone, invalid)
    assert [[str(answer.status)] for answer in answers] == told[: len(answers)]
    assert {"retry-after"} <= running.headers.keys() & early.headers.keys() & same.headers.keys()
    assert "retry-after" not in late.headers
    assert running.json()["status"] == early.json()["status"] == "scanning"
    assert (absent.json()["status"], gone.json()["status"]) == ("not_found", "expired")
    assert [error["field"] for error in invalid.json()["errors"]] == ["wait"]


async def asked(url: str, rest: str, **headers: str) -> Answer:
    """The status, asked for in another way."""
    return await request(url, "GET", f"/opportunities/status/{rest}", headers=headers)


async def _expired() -> Answer:
    """The answer for a scan that was kept for a second."""
    with server_process(":memory:", "--retention", "1", "--fresh", "0", "--workers", "1") as server:
        quick = {"strategy_ids": ["tsmom"], "parameters": {"tsmom": {"walk_forward": 0}}}
        scan_id = (await discover(server.url, quick)).json()["scan_id"]
        with anyio.fail_after(SECONDS):
            while (answer := await results(server.url, scan_id)).status in (200, 202):  # noqa: ASYNC110  # the server is another process
                await anyio.sleep(0.1)
    return answer


def test_the_answers_that_pass_are_those_that_the_table_of_errors_has() -> None:
    [row] = [row for row in table("polling.md", "Answer", "means", "then") if "`429`" in row["Answer"]]
    passing = {str(row.status) for row in TABLE.values() if row.retry and row.status >= 400}
    assert set(code(row["Answer"])) <= passing

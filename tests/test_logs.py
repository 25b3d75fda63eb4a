"""The log: one record a line whatever is in it, with what is at stake; JSON for programs, text for people."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from docs.pages import code, table
from scanstream.about import about, mention, node_name
from scanstream.logs import MOVED_IN, JsonLines, Lines
from support.process import ServerProcess

SCAN = "scan_" + "0123456789abcdef" * 2 + "0123456789"
NASTY = "a\nb\r\x1b[2J\x9b31m\x7f\u2028\u202e\x00\udc80 é"


def record(message: str, *arguments: Any, error: BaseException | None = None, **more: Any) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("scanstream", logging.WARNING, __file__, 1, message, arguments, info)
    vars(made).update(more)
    return made


def told(message: str, *arguments: Any, **more: Any) -> dict[str, Any]:
    line = JsonLines("n:1").format(record(message, *arguments, **more))
    found: dict[str, Any] = json.loads(line)
    return found


def test_json_has_the_fields_that_are_explained() -> None:
    rows = table("operations.md", "Field", "Is there", "What it says")
    explained = {name: row["Is there"] for row in rows for name in code(row["Field"])}
    full = told(f"{SCAN}: so", strategy="tsmom", shard=3, error=raised("x"))
    assert full.keys() == explained.keys()
    assert told("so").keys() == {name for name, when in explained.items() if when == "always"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", full["time"])
    assert (full["level"], full["logger"], full["node"]) == ("warning", "scanstream", "n:1")
    assert "RuntimeError: x" in full["exception"]


def raised(words: str) -> Exception:
    try:
        raise RuntimeError(words)
    except RuntimeError as error:
        return error


def test_the_scan_is_told_however_it_is_known() -> None:
    assert told("%s ended", SCAN)["scan_id"] == SCAN
    assert told("ended", scan_id=SCAN)["scan_id"] == SCAN
    error = raised("odd")
    error.add_note(f"of {SCAN}")
    assert told("a defect", error=error)["scan_id"] == SCAN
    with about(scan_id=SCAN, strategy="tsmom", shard=0):
        found = told("somebody else's words")
        assert [found[name] for name in ("scan_id", "strategy", "shard")] == [SCAN, "tsmom", 0]
        with about(strategy="pairs"):
            assert told("within")["strategy"] == "pairs"
    with about():
        mention(f"/opportunities/status/{SCAN}?since=x")
        assert told("a defect")["scan_id"] == SCAN
    assert "scan_id" not in told("scan_id is not scan_123")


@given(st.text())
def test_a_record_is_one_line_of_ascii_in_json(words: str) -> None:
    line = JsonLines("n:1").format(record("%s", words, error=raised(words)))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == words.rstrip()


@given(st.text())
def test_text_brings_nothing_that_a_terminal_obeys_and_no_second_record(words: str) -> None:
    first, *rest = Lines().format(record("%s", words, error=raised(words))).split("\n")
    assert all(line.isprintable() for line in (first, *rest))
    assert all(line.startswith(MOVED_IN) for line in rest)


@pytest.mark.parametrize("formatter", [Lines(), JsonLines("n:1")], ids=["text", "json"])
def test_words_that_do_not_fit_their_arguments_are_logged_all_the_same(formatter: logging.Formatter) -> None:
    assert "of %d" in formatter.format(record("of %d", "no number"))


def test_json_is_for_pipes_and_text_for_who_asks_for_it(tmp_path: Path) -> None:
    """A doubtful setting is told at the start, by the log; the address stays a plain line on standard output."""
    said: dict[str, str] = {}
    for form in ("auto", "text", "json"):
        server = ServerProcess(":memory:", "--workers", "0", "--log-format", form)
        assert server.url.startswith("http://127.0.0.1:")
        code_, _, said[form] = server.ended()
        assert code_ == 0
    for form in ("auto", "json"):
        [line] = [line for line in said[form].splitlines() if "--workers 0" in line]  # the machine is not ours alone
        found = json.loads(line)
        assert found["message"].startswith("--workers 0 with --engine sqlite")
        assert found["node"].endswith(f":{found['node'].rpartition(':')[2]}")
    [line] = [line for line in said["text"].splitlines() if "--workers 0" in line]
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING scanstream: --workers 0 with", line)


def test_what_nobody_catches_is_logged_too(tmp_path: Path) -> None:
    program = (
        "import sys, threading, warnings, logging\n"
        "from scanstream.logs import install\n"
        "install('json')\n"
        "def fail(): raise RuntimeError('in a thread\\nand on')\n"
        "class Odd:\n"
        "    def __del__(self): raise RuntimeError('in its end')\n"
        "thread = threading.Thread(target=fail, name='one'); thread.start(); thread.join()\n"
        "Odd()\n"
        "warnings.warn('old')\n"
        "logging.getLogger('uvicorn.error').error('Exception in ASGI application\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT, check=True
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["logger"] for line in lines] == ["scanstream", "scanstream", "py.warnings", "uvicorn.error"]
    assert "in a thread" in lines[0]["exception"]
    assert "in its end" in lines[1]["exception"]
    assert lines[3]["message"] == "Exception in ASGI application"


def test_a_node_is_named_by_its_machine_and_process() -> None:
    import os

    assert node_name().rpartition(":")[2] == str(os.getpid())


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_last_words_of_a_server_are_in_the_form_of_its_log(form: str) -> None:
    program = (
        "from scanstream.launch import run\n"
        "async def fail(): raise RuntimeError('no\\nmore')\n"
        f"run(fail, log_format={form!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    words = json.loads(line)["message"] if form == "json" else line.removeprefix("scanstream: ")
    assert words.startswith("the server has failed, and ends: RuntimeError: no more (")

"""What the pages show can be typed: commands parse, examples run, and the recorded session is of this version."""

import os
import re
import runpy
import shlex
import shutil
import sys
import tomllib
from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import click
import pytest
from anyio import to_thread
from click.shell_completion import get_completion_class

from conftest import ROOT, Serve
from docs.pages import ALL_BLOCKS, DOCS, PAGES, Block, blocks, code, only_block, prose
from scanstream.cli import main
from scanstream.strategies.installed import ENTRY_POINTS
from support.feed import feeding
from support.installing import install, serving_with
from support.wire import discover, results, status, until_terminal

pytestmark = pytest.mark.anyio

ADDRESS = "127.0.0.1:8000"
"""Where the examples look for the server."""
BINARIES = Path(sys.executable).parent


def lines_to_type(block: Block) -> list[str]:
    """What somebody types: the lines behind `$ `, or all of a block that has none; what goes on below is one line."""
    text = re.sub(r" \\\n\s*", " ", block.text)
    typed = re.findall(r"^\$ (.*)$", text, re.M)
    return typed or text.splitlines()


def commands_in(line: str) -> Iterator[list[str]]:
    """The words of each `scanstream …` in a line of shell, up to the next `|`, `;`, `>`, `)` or `#`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] | None = None
    for word in lexer:
        if words is None:
            words = [] if word.split("/")[-1] == "scanstream" else None
        elif set(word) <= set("();<>|&"):
            yield words
            words = None
        else:
            words.append(word)
    if words is not None:
        yield words


SHELL = [
    (f"{block}", line)
    for block in ALL_BLOCKS
    if block.language in ("", "sh")
    for line in lines_to_type(block)
    if re.search(r"(^|[\s(/])scanstream( |$)", line) and "_COMPLETE=" not in line and not line.startswith("git clone ")
]
INLINE = [
    (page.name, piece.replace("…", "http://server"))
    for page in PAGES
    for piece in code(prose(page))
    if re.match(r"scanstream [a-z-]", piece) and not re.match(r"scanstream (worker|key)\b", piece)
]
"""`worker` and `key` are promised, and marked as not yet served."""


@pytest.mark.parametrize(("place", "line"), SHELL)
def test_every_command_line_is_one_that_the_commands_take(place: str, line: str) -> None:
    """They are parsed, and not run."""
    for words in commands_in(line):
        parse(words)


@pytest.mark.parametrize(("place", "line"), INLINE)
def test_every_command_in_a_sentence_is_one_that_there_is(place: str, line: str) -> None:
    """It may leave out what the command needs, and have nothing that the command does not know."""
    for words in commands_in(line):
        with suppress(click.MissingParameter):
            parse(words)


def parse(words: list[str]) -> None:
    """Read a command's words as click does, up to the point where it would run.

    :raises click.UsageError: if they are not valid
    """
    try:
        if words[0].startswith("-"):
            main.make_context("scanstream", words)
        else:
            command = main.get_command(click.Context(main), words[0])
            assert command is not None, f"there is no command {words[0]}"
            command.make_context(words[0], words[1:])
    except click.exceptions.Exit:  # --help and --version end here
        pass


@pytest.mark.parametrize(
    "line", ["scanstream discover --jsom", "x=$(scanstream serve --live-simbols A/B)", "scanstream"]
)
def test_a_command_line_that_is_wrong_is_found(line: str) -> None:
    [words] = commands_in(line)
    with pytest.raises((click.UsageError, IndexError)):
        parse(words)


def test_the_lines_for_the_shell_name_the_variable_that_completion_reads() -> None:
    [block] = [block for block in blocks(DOCS / "cli.md") if "_COMPLETE" in block.text]
    lines = re.findall(r"(\w+)=(\w+)_source (\w+)", block.text)

    assert [shell for _, shell, _ in lines] == ["bash", "zsh", "fish"]
    for variable, shell, program in lines:
        assert (variable, program) == ("_SCANSTREAM_COMPLETE", "scanstream")
        assert get_completion_class(shell) is not None


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.language == "python"], ids=str)
def test_python_in_the_pages_compiles(block: Block) -> None:
    compile(
        "\n" * (block.line - 1) + block.text, str(block.page), "exec", PyCF_ALLOW_TOP_LEVEL_AWAIT
    )  # as in notebooks


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.runs == "runs"], ids=str)
async def test_examples_run(block: Block, serve: Serve, tmp_path: Path) -> None:
    if block.language == "sh" and shutil.which("curl") is None:
        pytest.skip("curl is not on this machine")
    assert ADDRESS in block.text or "scanstream " in block.text
    async with serve(worker_priority="low") as url:  # beside other tests `idle` may have next to nothing for a minute
        said = await run(block, tmp_path, url)
        for scan_id in re.findall(r"\bscan_[0-9a-f]{42}\b", said):
            await until_terminal(url, scan_id)
    assert said
    assert "error" not in said


async def run(block: Block, directory: Path, url: str = "") -> str:
    """What an example prints, as a program of its own."""
    program = [sys.executable, "-c"] if block.language == "python" else ["sh", "-e", "-c"]
    text = block.text.replace(ADDRESS, url.removeprefix("http://"))
    here = {
        **os.environ,
        "PATH": f"{BINARIES}{os.pathsep}{os.environ['PATH']}",
        **({"SCANSTREAM_URL": url} if url else {}),
    }
    with anyio.fail_after(60):
        done = await anyio.run_process([*program, text], cwd=directory, env=here, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def _plug_in(directory: Path, module: str) -> Block:
    """Write the plug-in of the page into a directory, and install it below; the commands of the page."""
    package = directory / "new_high"
    package.mkdir()
    declared = only_block("strategies.md", "runs as a plug-in", "toml").text
    (package / "pyproject.toml").write_text(declared)
    (package / "new_high.py").write_text(module)
    assert tomllib.loads(declared)["project"]["entry-points"].keys() == {ENTRY_POINTS}
    install(package, directory / "installed")
    return only_block("strategies.md", "runs as a plug-in", "sh")


async def test_the_strategy_of_ones_own_finds_something_after_ten_lines(tmp_path: Path) -> None:
    module = only_block("strategies.md", "runs as a plug-in").text
    commands = await to_thread.run_sync(_plug_in, tmp_path, module)
    typed = [commands.text, module, (tmp_path / "new_high" / "pyproject.toml").read_text()]
    assert sum(bool(line.strip()) for text in typed for line in text.splitlines()) <= 10
    first, second = commands.text.splitlines()
    assert first == "pip install -e new_high && scanstream serve"  # that pip can is shown above, and not to be kept
    async with serving_with(tmp_path / "installed") as server:
        said = await run(commands._replace(text=second), tmp_path, server.url)
        [scan_id] = set(re.findall(r"\bscan_[0-9a-f]{42}\b", said))
        found = (await results(server.url, scan_id)).json()
    assert found["status"] == "complete"
    assert {opportunity["strategy_id"] for opportunity in found["opportunities"]} == {"new_high"}


async def test_the_strategy_of_ones_own_that_waits_finds_something(tmp_path: Path) -> None:
    module = only_block("strategies.md", "runs as a plug-in that waits").text.replace("FeedGap", "NewHigh")
    await to_thread.run_sync(_plug_in, tmp_path, module)
    async with feeding() as feed, serving_with(tmp_path / "installed") as server:
        feed.prices["BTC/USDT"] = 1e9
        wanted = {"strategy_ids": ["feed_gap"], "symbols": ["BTC/USDT"], "parameters": {"feed_gap": {"feed": feed.url}}}
        scan_id = (await discover(server.url, wanted)).json()["scan_id"]
        assert (await until_terminal(server.url, scan_id))["status"] == "complete"
        [found] = (await results(server.url, scan_id)).json()["opportunities"]
    assert (found["symbol"], found["side"]) == ("BTC/USDT", "long")


async def test_the_test_in_the_page_on_testing_passes(serve: Serve) -> None:
    block = only_block("testing.md", "runs as a test")
    names: dict[str, Any] = {}
    exec(compile(block.text, str(block), "exec"), names)  # noqa: S102  # our own page
    [test] = [value for name, value in names.items() if name.startswith("test_")]
    await test(serve)


async def test_a_backup_as_described_can_be_restored(serve: Serve, tmp_path: Path) -> None:
    async with serve(data=str(tmp_path / "scanstream-data")) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        before = await until_terminal(url, scan_id)
        await run(only_block("operations.md", "runs on the data directory"), tmp_path)
    restored = tmp_path / "restored"
    restored.mkdir()
    (tmp_path / "scanstream-backup.db").rename(restored / "scanstream.db")
    async with serve(data=str(restored)) as url:
        assert (await status(url, scan_id)).json() == before


async def test_the_demo_prints_what_the_readme_shows() -> None:
    [excerpt] = [block.text for block in blocks(ROOT / "README.md") if block.text.startswith("Server:")]
    demo = [sys.executable, "-m", "scanstream", "demo"]
    with anyio.fail_after(60):
        done = await anyio.run_process(demo)
    printed = [line.rstrip() for line in done.stdout.decode().splitlines()]
    shown = [
        line
        for line in excerpt.splitlines()
        if not re.match(r"Server|Acknowledged|Complete| [ 1-9]\d %| {2}[1-9] %", line)
    ]

    assert [line for line in shown if line not in printed] == []
    [end] = [line for line in printed if line.startswith("Complete: ")]
    assert end.partition(" in ")[0] in excerpt


TRANSCRIPT = DOCS / "transcript.md"
TYPED = {"serve": "scanstream serve &", "demo": "make demo"}
"""Commands that the recorded session types in another way than `scanstream NAME …`."""


@pytest.mark.parametrize("name", [name for name in main.commands if name not in ("worker", "conformance")])
def test_the_transcript_has_every_command(name: str) -> None:
    """But for workers, as the session has no NATS, and for conformance, which is a page of its own."""
    typed = [line for block in blocks(TRANSCRIPT) for line in lines_to_type(block)]

    assert [line for line in typed if f"{line} ".startswith(f"{TYPED.get(name, f'scanstream {name}')} ")]


async def test_the_transcript_is_of_this_version(tmp_path: Path) -> None:
    """What it shows of commands that print the same each time, but for ids, times and ports, they print now."""
    shown = [masked(block.text) for block in blocks(TRANSCRIPT)]
    now = await to_thread.run_sync(record_again, tmp_path)

    assert [text for text in now if not any(text in block for block in shown)] == [], "run: make transcript"


def record_again(directory: Path) -> list[str]:
    """Those blocks of the transcript that come out the same each time."""
    recorder = SimpleNamespace(**runpy.run_path(str(DOCS / "record.py")))
    away = recorder.Session(directory, recorder.clean(BINARIES, SCANSTREAM_PORT="0"))
    with recorder.running(away) as (_, said):
        parts = [recorder.shown("scanstream serve &", said)]
        url = re.search(r"http://\S+", said)
        assert url is not None
        session = recorder.Session(directory, recorder.clean(BINARIES, SCANSTREAM_URL=url[0]))
        parts += [*recorder.simple(session), *recorder.refused(session)]
        demo = recorder.ran("scanstream demo", session)
    texts = [part.removeprefix("```\n").removesuffix("```\n") for part in parts if part.startswith("```\n$ ")]
    return [masked(text) for text in (*texts, demo[demo.index("Market:") :].removesuffix("```\n"))]


MASKS = {
    r"\s+": " ",  # how wide a column is, and where a line is broken, depends on the times
    r"scan_[0-9a-f]{12,42}": "scan_…",  # some are cut off
    r"http://127\.0\.0\.1:\d{2,}": "http://…",
    r"\d+\.\d s\b": "… s",
    r"[━╸╺#─]+": "━",
}


def masked(text: str) -> str:
    """Printed text without what differs from run to run."""
    for pattern, mask in MASKS.items():
        text = re.sub(pattern, mask, text)
    return text

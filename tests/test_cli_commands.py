"""The commands of a client against a real server process: piped and in a terminal, through restarts and Ctrl-C."""

import csv
import io
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import click
import msgspec
import pytest
from anyio import to_thread

from client.programs import (
    PROGRAM,
    QUICK,
    SECONDS,
    Piped,
    Running,
    Terminal,
    detached,
    finished,
    run,
    running,
    scripted,
)
from conftest import ROOT
from scanstream.cli import main
from scanstream.client.mirror import Mirror
from scanstream.message import Ack, End, Snapshot, Update
from scanstream.model import Opportunity
from support.process import ServerProcess, server_process
from support.script import scripting
from support.wire import status, until_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.clients]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server for all tests that do not kill it."""
    with server_process(":memory:") as server:
        yield server.url


KINDS: dict[str, type[msgspec.Struct]] = {
    str(struct.__struct_config__.tag): struct for struct in (Ack, Snapshot, Update, End)
}


def messages(lines: str) -> list[dict[str, Any]]:
    """What --json printed: each line is a message of the protocol."""
    decoded: list[dict[str, Any]] = []
    for line in lines.splitlines():
        message: dict[str, Any] = msgspec.json.decode(line)
        msgspec.json.decode(line, type=KINDS[message["type"]])
        decoded.append(message)
    return decoded


def test_discover_in_a_pipe_shows_lines_and_exits_with_zero(url: str) -> None:
    shown = run("discover", "--url", url, "--force-refresh", *QUICK)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    lines = shown.stdout.splitlines()
    assert re.fullmatch(r"scan_[0-9a-f]{42}: a new scan", lines[0])
    assert "\x1b" not in shown.stdout
    progress = [line for line in lines if "%  " in line]
    assert len(progress) == len(set(progress)) > 0
    assert any(line.startswith("100 %  done") for line in lines)
    assert lines[-1].startswith("Complete: ")


def test_discover_says_when_a_scan_is_not_new(url: str) -> None:
    scan_id = finished(url, *QUICK)
    shown = run("discover", *QUICK, SCANSTREAM_URL=url)
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"{scan_id}: an identical scan has just ended")
    assert "--force-refresh" in shown.stdout


def test_discover_as_json_is_the_protocol(url: str) -> None:
    shown = run("discover", "--json", "--url", url, "--force-refresh", "--strategy", "tsmom")
    assert shown.returncode == 0, shown.stderr
    ack, *frames, end = messages(shown.stdout)
    assert (ack["type"], ack["status"]) == ("ack", "initiated")
    assert (end["type"], end["status"]) == ("end", "complete")
    assert {message["scan_id"] for message in (*frames, end)} == {ack["scan_id"]}
    mirror = Mirror()
    for message in (*frames, end):
        mirror.apply(message)
    assert len(mirror.opportunities) == mirror.state["total_opportunities"] > 0


def test_watch_as_json_is_the_protocol_too(url: str) -> None:
    scan_id = finished(url, *QUICK)
    for name in (scan_id, "latest"):
        shown = run("watch", name, "--json", "--url", url)
        assert shown.returncode == 0
        kinds = [message["type"] for message in messages(shown.stdout)]
        assert kinds == ["ack", "snapshot", "end"]
        assert all(message["scan_id"] == scan_id for message in messages(shown.stdout))


def test_a_detached_scan_can_be_watched(url: str) -> None:
    scan_id = detached(url, *QUICK)
    shown = run("watch", scan_id, "--url", url)
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"{scan_id}\n")
    assert "Complete: " in shown.stdout
    detail = run("discover", "--detach", "--json", "--url", url, *QUICK)
    [ack] = messages(detail.stdout)
    assert ack["scan_id"] == scan_id


def completed(words: str, url: str) -> list[str]:
    """What bash offers after these words."""
    shown = subprocess.run(
        [Path(sys.executable).with_name("scanstream")],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
        env={
            **os.environ,
            "_SCANSTREAM_COMPLETE": "bash_complete",
            "COMP_WORDS": f"scanstream {words}",
            "COMP_CWORD": str(len(words.split(" "))),
            "SCANSTREAM_URL": url,
        },
    )
    assert shown.stderr == ""
    return [line.partition(",")[2] for line in shown.stdout.splitlines() if line]


def test_the_shell_completes_ids_as_the_server_has_them(url: str) -> None:
    scan_id = run("discover", "--detach", "--url", url, *QUICK).stdout.strip()
    assert completed("discover --strategy ts", url) == ["tsmom"]
    assert completed("watch ", url)[0] == "latest"
    assert scan_id in completed("watch scan_", url)
    assert completed("watch lat", "http://127.0.0.1:9") == ["latest"]
    assert completed("discover --strategy ts", "http://127.0.0.1:9") == []
    assert "--force-refresh" in completed("discover --f", url)


def test_status_and_results_of_a_complete_scan(url: str) -> None:
    scan_id = finished(url, "--strategy", "tsmom")
    shown = run("status", scan_id, "--url", url)
    assert shown.returncode == 0
    assert f"{scan_id}: complete" in shown.stdout
    assert "tsmom" in shown.stdout
    [line] = run("status", scan_id, "--json", "--url", url).stdout.splitlines()
    state = msgspec.json.decode(line)
    assert state["status"] == "complete"

    [line] = run("results", scan_id, "--json", "--url", url).stdout.splitlines()
    found = msgspec.json.decode(line)["opportunities"]
    assert len(found) == state["total_opportunities"] > 0
    lines = run("results", scan_id, "--ndjson", "--url", url).stdout.splitlines()
    assert [msgspec.json.decode(line, type=Opportunity).id for line in lines] == [one["id"] for one in found]
    rows = list(csv.DictReader(io.StringIO(run("results", scan_id, "--csv", "--url", url).stdout)))
    assert [row["id"] for row in rows] == [one["id"] for one in found]
    assert [float(row["confidence_score"]) for row in rows] == [one["confidence_score"] for one in found]
    table = run("results", scan_id, "--limit", "3", "--url", url)
    assert table.returncode == 0
    market, header, *listed = table.stdout.splitlines()
    assert market == "Market: synthetic (generated prices, nothing in them is real)"
    assert header.split()[:2] == ["symbol", "strategy"]
    assert [line.split()[0] for line in listed] == [one["symbol"] for one in found[:3]]


async def test_a_running_scan(url: str) -> None:
    async with scripting() as script:
        scan_id = await to_thread.run_sync(detached, url, *scripted(script, shards=2))
        one, other = await script.started(), await script.started()
        now = await to_thread.run_sync(run, "status", scan_id, "--url", url)
        assert now.returncode == 0
        assert f"{scan_id}: scanning" in now.stdout
        early = await to_thread.run_sync(run, "results", scan_id, "--url", url)
        assert early.returncode == 1
        assert early.stdout == ""
        assert f"scanstream watch {scan_id} --url {url}" in early.stderr
        await one.tell("find 2", "end")
        await other.tell("fail out of paper")
        await until_terminal(url, scan_id)
        for command in ("watch", "status", "results"):
            shown = await to_thread.run_sync(run, command, scan_id, "--url", url)
            assert shown.returncode == 1, command
            assert ("out of paper" in shown.stdout) == (command != "results")
        assert f"S{one.number}/N1" in shown.stdout


async def test_cancel_ends_a_scan_for_those_who_watch_it(url: str) -> None:
    async with scripting() as script:
        scan_id = await to_thread.run_sync(detached, url, *scripted(script))
        await script.started()
        watching: list[subprocess.CompletedProcess[str]] = []

        async def watch() -> None:
            watching.append(await to_thread.run_sync(run, "watch", scan_id, "--url", url))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            asked = await to_thread.run_sync(run, "cancel", scan_id, "--url", url)
        assert asked.returncode == 0
        assert "is being cancelled" in asked.stdout
        assert watching[0].returncode == 1
        assert "Cancelled" in watching[0].stdout
        assert (await to_thread.run_sync(run, "status", scan_id, "--url", url)).returncode == 1
        again = await to_thread.run_sync(run, "cancel", scan_id, "--url", url, "--json")
        assert again.returncode == 0
        assert msgspec.json.decode(again.stdout)["status"] == "cancelled"


def test_strategies(url: str) -> None:
    shown = run("strategies", "--url", url)
    assert shown.returncode == 0
    for words in ("tsmom", "momentum", "lookback=252"):
        assert words in shown.stdout
    [line] = run("strategies", "--json", "--url", url).stdout.splitlines()
    assert "tsmom" in {strategy["id"] for strategy in msgspec.json.decode(line)}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--symbol", "NOPE"], ["symbols (--symbol): ", "'NOPE'"]),
        (["--strategy", "nope"], ["strategy_ids (--strategy): ", "'nope'"]),
        (["--parameter", "tsmom.nope=1"], ["parameters.tsmom.nope (--parameter): there is no such parameter"]),
        (["--parameter", "tsmom.lookback=long"], ["parameters.tsmom.lookback (--parameter): ", "int"]),
        (["--parameter", "lookback=1"], ["--parameter", "STRATEGY.NAME=VALUE"]),
        (["--patience", "-1"], ["--patience"]),
        (["--url", "ftp://nowhere"], ["--url", "ftp://nowhere"]),
        (["--colour"], ["--colour"]),
    ],
)
def test_a_request_that_is_not_valid_names_the_field_and_exits_with_two(
    url: str, arguments: list[str], says: list[str]
) -> None:
    shown = run("discover", *arguments, SCANSTREAM_URL=url)
    assert shown.returncode == 2
    assert shown.stdout == ""
    for words in says:
        assert words in shown.stderr
    assert "Traceback" not in shown.stderr


def test_json_and_csv_exclude_each_other(url: str) -> None:
    shown = run("results", "latest", "--json", "--csv", "--url", url)
    assert shown.returncode == 2
    assert "--csv" in shown.stderr


COMMANDS = [
    ["discover"],
    ["watch", "scan_1"],
    ["status", "scan_1"],
    ["results", "scan_1"],
    ["cancel", "scan_1"],
    ["explain", "scan_1"],
    ["strategies"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command[0]))
def test_without_a_server_every_command_says_so_soon_and_exits_with_three(command: list[str]) -> None:
    with socket.socket() as mute:  # it has the port, so that nobody else gets it, and does not listen
        mute.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        shown = run(*command, "--url", address)
    assert shown.returncode == 3
    assert shown.stdout == ""
    *before, line = shown.stderr.splitlines()
    assert address in line
    assert [one.removeprefix(f"{line}; ") for one in before] == ["trying for 4 s"] * (
        command[0] in ("discover", "watch")
    )


@pytest.mark.parametrize("command", ["watch", "status", "results", "cancel", "explain"])
def test_a_scan_that_never_was_is_said_plainly(url: str, command: str) -> None:
    shown = run(command, "scan_1", "--url", url)
    assert shown.returncode == 1
    assert shown.stderr == "scanstream: scan_1: No scan found. Please initiate a new scan.\n"
    shown = run(command, "a b/é", "--url", url)
    assert shown.returncode == 1
    assert shown.stderr == "scanstream: a b/é: No scan found. Please initiate a new scan.\n"


@pytest.mark.parametrize("command", [name for name, *_ in COMMANDS])
def test_help_shows_an_example(command: str) -> None:
    shown = run(command, "--help")
    assert shown.returncode == 0
    assert re.search(rf"Examples?:\s+scanstream {command}", shown.stdout)
    for flag in ("--url", "SCANSTREAM_URL", "--json"):
        assert flag in shown.stdout


async def successor(server: ServerProcess, data: Path | str) -> ServerProcess:
    """A server that takes the place of one that has ended: the same port."""
    port = str(urlsplit(server.url).port)
    return await to_thread.run_sync(ServerProcess, data, "--port", port)


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_a_scan_is_followed_through_a_restart_of_the_server(tmp_path: Path, end: str) -> None:
    first = await to_thread.run_sync(ServerProcess, tmp_path)
    flags = ["discover", "--json", "--url", first.url]
    async with scripting() as script:
        with running(Piped, *flags, *scripted(script, shards=2)) as following:
            one, other = await script.started(), await script.started()
            await one.tell("find 3", "end")
            await to_thread.run_sync(following.until, '"shards_completed":1')
            await to_thread.run_sync(getattr(first, end))
            await other.until_gone()
            second = await successor(first, tmp_path)
            try:
                again = await script.started()
                assert again.number == other.number
                await again.tell("find 2", "end")
                assert await to_thread.run_sync(following.end) == 0, following.errors()
            finally:
                await to_thread.run_sync(second.kill)
            told = following.errors()
    ack, *frames = messages(following.shown)
    assert ack["type"] == "ack"
    assert [message["type"] for message in frames].count("snapshot") == 1
    mirror = Mirror()
    for message in frames:
        mirror.apply(message)
    assert (mirror.ended, mirror.state["status"]) == (True, "complete")
    assert len({found["id"] for found in mirror.opportunities}) == len(mirror.opportunities) == 5
    assert "Connection lost" in told
    assert "Connected again" in told


async def test_a_terminal_shows_that_the_connection_is_lost_and_goes_on(tmp_path: Path) -> None:
    first = await to_thread.run_sync(ServerProcess, tmp_path)
    async with scripting() as script:
        with running(Terminal, "discover", "--url", first.url, *scripted(script)) as following:
            await script.started()
            await to_thread.run_sync(following.until, "running")
            await to_thread.run_sync(first.kill)
            await to_thread.run_sync(following.until, "Connection lost (")
            second = await successor(first, tmp_path)
            try:
                shard = await script.started()
                await shard.tell("find 2", "end")
                assert await to_thread.run_sync(following.end) == 0, following.shown
            finally:
                await to_thread.run_sync(second.kill)
    assert "Complete: 2 found" in following.shown


@pytest.mark.parametrize("kind", [Piped, Terminal])
async def test_a_server_that_is_gone_for_good_is_given_up_with_the_way_back(kind: type[Running]) -> None:
    server = await to_thread.run_sync(ServerProcess, ":memory:")
    async with scripting() as script:
        scan_id = await to_thread.run_sync(detached, server.url, *scripted(script))
        with running(kind, "watch", scan_id, "--patience", "1", "--url", server.url) as following:
            await to_thread.run_sync(following.until, "running")
            await to_thread.run_sync(server.kill)
            assert await to_thread.run_sync(following.end) == 3
            told = following.errors() if isinstance(following, Piped) else following.shown
    assert "did not come back within 1 s" in told
    assert f"scanstream watch {scan_id} --url {server.url}" in told


async def test_a_server_that_comes_back_without_its_scans_is_said_plainly() -> None:
    first = await to_thread.run_sync(ServerProcess, ":memory:")
    async with scripting() as script:
        scan_id = await to_thread.run_sync(detached, first.url, *scripted(script))
        with running(Piped, "watch", scan_id, "--url", first.url) as following:
            await to_thread.run_sync(following.until, "running")
            await to_thread.run_sync(first.kill)
            second = await successor(first, ":memory:")
            try:
                assert await to_thread.run_sync(following.end) == 1
            finally:
                await to_thread.run_sync(second.kill)
            assert f"{scan_id}: No scan found" in following.errors()


async def until_expired(url: str, scan_id: str) -> None:
    """Ask for its status until there is none."""
    with anyio.fail_after(SECONDS):
        while (await status(url, scan_id)).status != 410:  # noqa: ASYNC110  # the server is another process
            await anyio.sleep(0.1)


async def test_an_expired_scan_is_said_plainly() -> None:
    server = await to_thread.run_sync(ServerProcess, ":memory:", "--retention", "1", "--fresh", "0")
    try:
        scan_id = await to_thread.run_sync(detached, server.url, *QUICK)
        await until_expired(server.url, scan_id)
        for command in ("watch", "status", "results", "cancel"):
            shown = await to_thread.run_sync(run, command, scan_id, "--url", server.url)
            assert shown.returncode == 1
            assert "has expired" in shown.stderr
    finally:
        await to_thread.run_sync(server.kill)


def test_a_terminal_shows_bars_and_tables(url: str) -> None:
    with running(Terminal, "discover", "--force-refresh", "--strategy", "tsmom", "--url", url) as shown:
        assert shown.end() == 0
        assert "[####################]     8/8 complete" in shown.shown
        complete = re.search(r"Complete: (\d+) found", shown.shown)
        assert complete is not None
        found = int(complete[1])
        assert f"8/8 complete, {found} found" in shown.shown
        assert f"Best of {found} opportunities" in shown.shown
        last = shown.shown.rstrip().splitlines()[-1]
        assert last.startswith("All of them: scanstream results scan_")
    with running(Terminal, "results", "latest", "--url", url) as shown:
        assert shown.end() == 0
        assert f"complete: {found} of {found} opportunities" in shown.shown
        assert shown.shown.count("tsmom") == found
    for command in (["strategies"], ["status", "latest"], ["cancel", "latest"], ["watch", "latest"]):
        with running(Terminal, *command, "--url", url) as shown:
            assert shown.end() == 0, shown.shown
            assert ("tsmom" in shown.shown) == (command[0] != "cancel")


PROMPT = "The scan goes on at the server. Cancel it? [y/N]:"


@pytest.mark.parametrize("keys", ["n\r", "\r", "\x03", "\x04"], ids=["no", "enter", "ctrl-c", "ctrl-d"])
async def test_after_ctrl_c_a_scan_can_be_left_running(url: str, keys: str) -> None:
    async with scripting() as script:
        with running(Terminal, "discover", "--url", url, *scripted(script)) as following:
            shard = await script.started()
            await to_thread.run_sync(following.until, "running")
            following.type("\x03")
            await to_thread.run_sync(following.until, PROMPT)
            following.type(keys)
            assert await to_thread.run_sync(following.end) == 130
        [scan_id] = set(re.findall("scan_[0-9a-f]{42}", following.shown))
        assert f"scanstream watch {scan_id} --url {url}" in following.shown
        assert (await status(url, scan_id)).json()["status"] == "scanning"
        await shard.tell("end")
        await until_terminal(url, scan_id)


async def test_after_ctrl_c_a_scan_can_be_cancelled_and_is_followed_to_its_end(url: str) -> None:
    async with scripting() as script:
        scan_id = await to_thread.run_sync(detached, url, *scripted(script))
        with running(Terminal, "watch", scan_id, "--url", url) as following:
            shard = await script.started()
            await to_thread.run_sync(following.until, "running")
            following.type("\x03")
            await to_thread.run_sync(following.until, PROMPT)
            following.type("y\r")
            assert await to_thread.run_sync(following.end) == 1
        assert "Cancelled" in following.shown
        await shard.until_gone()
        assert (await status(url, scan_id)).json()["status"] == "cancelled"


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["lines", "json"])
async def test_a_signal_in_a_pipe_leaves_the_scan_running(url: str, form: list[str]) -> None:
    async with scripting() as script:
        scan_id = await to_thread.run_sync(detached, url, *scripted(script))
        with running(Piped, "watch", scan_id, "--url", url, *form) as following:
            shard = await script.started()
            await to_thread.run_sync(following.until, "running")
            following.process.send_signal(signal.SIGINT)
            assert await to_thread.run_sync(following.end) == 130
            assert following.errors() == (
                f"scanstream: Left running. Come back with: scanstream watch {scan_id} --url {url}\n"
            )
        assert (await status(url, scan_id)).json()["status"] == "scanning"
        await shard.tell("end")
        await until_terminal(url, scan_id)


@pytest.mark.parametrize(
    "command",
    [
        "demo --strategy tsmom --walk-forward 0",
        "discover --force-refresh --strategy tsmom",
        "discover --force-refresh --strategy tsmom --json",
        "discover --force-refresh --strategy tsmom --detach",
        "watch latest",
        "watch latest --json",
        "status latest",
        "status latest --json",
        "results latest",
        "results latest --csv",
        "results latest --ndjson",
        "strategies",
        "cancel latest",
    ],
)
def test_a_reader_that_leaves_a_pipe_early_is_no_trouble(
    url: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # elsewhere a demo may find, and tell, what a killed server has left
    finished(url, *QUICK)
    where = [] if command.startswith("demo") else ["--url", url]
    reading, writing = os.pipe()
    os.close(reading)  # before it has begun: else it may have said everything already
    with open(writing, "wb") as nobody:  # noqa: PTH123  # it is no path
        shown = subprocess.run(
            [*PROGRAM, *command.split(), *where],
            stdin=subprocess.DEVNULL,
            stdout=nobody,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
            check=False,
        )
    assert (shown.returncode, shown.stderr) == (1, b"")


def test_worker_processes_that_import_the_command_line_get_no_client_with_it() -> None:
    program = "import sys, scanstream.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    assert {"httpx", "rich", "websockets", "anyio", "numpy", "scanstream.client"} & set(loaded.stdout.split()) == set()


def flags_told(page: str, heading: str, every: set[str]) -> dict[str, set[str]]:
    """Flag → the commands that take it, as the table below a heading says; `all` stands for `every`."""
    below = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `(--[^`]+)` \| ([^|]+) \|", below, re.M)
    return {flags.split()[0]: every if where == "all" else set(where.split(", ")) for flags, where in told}


def flags_offered(commands: Mapping[str, click.Command]) -> dict[str, set[str]]:
    """The same, as the commands have it."""
    offered: dict[str, set[str]] = {}
    for name, command in commands.items():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                offered.setdefault(parameter.opts[0], set()).add(name)
    return offered


def test_the_page_tells_every_flag_of_every_command() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    names = {name for name, *_ in COMMANDS}
    key = main.commands["key"]
    assert isinstance(key, click.Group)
    assert flags_told(page, "Flags", names) == flags_offered({name: main.commands[name] for name in names})
    assert flags_told(page, "Keys", set(key.commands)) == flags_offered(key.commands)
    assert set(re.findall(r"^\| `scanstream (\w+)", page.partition("\n## Flags\n")[0], re.M)) == names


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands(shell: str) -> None:
    shown = subprocess.run(
        [str(Path(sys.executable).parent / "scanstream")],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
        env={**os.environ, "_SCANSTREAM_COMPLETE": f"{shell}_source"},
    )
    assert "scanstream" in shown.stdout

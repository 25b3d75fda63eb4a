"""What somebody before a terminal sees, and what a pipe gets, of a real server's scans."""

import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from anyio import to_thread

from client.programs import QUICK, Piped, Terminal, detached, finished, run, running, scripted
from scanstream.strategies.installed import registry
from support.process import ServerProcess, server_process
from support.script import scripting
from support.wire import status

pytestmark = [pytest.mark.anyio, pytest.mark.clients]

SYNTHETIC = "Market: synthetic (generated prices, nothing in them is real)"
HEADER = ["symbol", "strategy", "side", "score", "hit", "rate", "return", "within"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server for all tests that do not kill it."""
    with server_process(":memory:") as server:
        yield server.url


@pytest.mark.parametrize(
    "command", [["discover", *QUICK], ["watch", "latest"], ["status", "latest"], ["results", "latest"]]
)
def test_everything_from_the_generated_market_says_so(url: str, command: list[str]) -> None:
    finished(url, *QUICK)
    piped = run(*command, "--url", url)
    assert piped.stdout.splitlines().count(SYNTHETIC) == 1
    with running(Terminal, *command, "--url", url, rows=24, columns=80) as shown:
        assert shown.end() == 0
        assert shown.screen.count(SYNTHETIC) == 1


def test_also_results_without_a_single_one_say_so(url: str) -> None:
    scan_id = finished(url, "--strategy", "scripted", "--parameter", "scripted.shards=1")
    assert run("results", scan_id, "--url", url).stdout.splitlines()[0] == SYNTHETIC


@pytest.mark.parametrize("command", ["watch", "results"])
def test_a_table_in_a_pipe_is_never_cut(url: str, command: str) -> None:
    scan_id = finished(url, "--strategy", "cross_exchange", "--strategy", "tsmom", "--strategy", "triangular")
    shown = run(command, scan_id, "--url", url, COLUMNS="40").stdout
    assert "…" not in shown
    assert "─" not in shown
    [header] = [line for line in shown.splitlines() if line.startswith("symbol ")]
    assert header.split() == HEADER
    assert re.search(r"^\w+/\w+ \w+>\w+ +cross_exchange +neutral +\S+ +– +\+\S+% +1m$", shown, re.M)
    assert re.search(r"^\w+ \w+>\w+>\w+ +triangular +neutral ", shown, re.M)


async def test_a_terminal_shows_bars_and_finds_while_the_scan_runs(url: str) -> None:
    async with scripting() as script:
        with running(Terminal, "discover", "--url", url, *scripted(script, 2), rows=24, columns=80) as following:
            one, other = await script.started(), await script.started()
            empty = "scripted       [--------------------]     0/2 running, 0 found"
            await to_thread.run_sync(following.until_seen, "running · 0 %", empty)
            await one.tell("find 2", "end")
            bar = "scripted       [##########----------]     1/2 running, 2 found"
            screen = await to_thread.run_sync(following.until_seen, bar, f"S{one.number}/N1")
            assert any(line.startswith("running · ") for line in screen)
            assert screen.index(SYNTHETIC) + 1 == screen.index(bar)
            assert "Best of 2 opportunities" in screen
            assert HEADER in [line.split() for line in screen]
            await other.tell("end")
            assert await to_thread.run_sync(following.end) == 0


async def test_a_small_terminal_shows_that_the_connection_is_lost_above_all_else() -> None:
    server = await to_thread.run_sync(ServerProcess, ":memory:")
    names = [name for name in registry() if name != "scripted"]
    flags = [flag for name in names for flag in ("--strategy", name, "--parameter", f"{name}.walk_forward=0")]
    async with scripting() as script:
        command = ["discover", "--patience", "8", "--url", server.url, *flags, *scripted(script)]
        with running(Terminal, *command, rows=24, columns=80) as following:
            await script.started()
            await to_thread.run_sync(following.until_seen, "Best of ", "scripted       [----", "running · ")
            await to_thread.run_sync(server.kill)
            words = ("running · ", "Connection lost (", "\nscripted  ", "\nBest of ")
            screen = await to_thread.run_sync(following.until_seen, *words)
            assert await to_thread.run_sync(following.end) == 3
    [headline] = [number for number, line in enumerate(screen) if line.startswith("running · ")]
    assert screen[headline + 1].startswith("Connection lost (")


LOST = "The connection is lost; the scan may well go on"


async def test_a_cancel_while_the_connection_is_lost_is_sent_once_the_server_is_back(tmp_path: Path) -> None:
    server = await to_thread.run_sync(ServerProcess, tmp_path)
    async with scripting() as script:
        scan_id = await to_thread.run_sync(detached, server.url, *scripted(script))
        with running(Terminal, "watch", scan_id, "--url", server.url) as following:
            await script.started()
            await to_thread.run_sync(following.until, "running")
            await to_thread.run_sync(server.kill)
            await to_thread.run_sync(following.until, "Connection lost (")
            following.type("\x03")
            await to_thread.run_sync(following.until, f"{LOST}. Cancel it? [y/N]:")
            following.type("y\r")
            await to_thread.run_sync(following.until, "trying again for 30 s")
            port = str(urlsplit(server.url).port)
            second = await to_thread.run_sync(ServerProcess, tmp_path, "--port", port)
            try:
                assert await to_thread.run_sync(following.end) == 1
                assert "Cancelled" in following.shown
                assert (await status(second.url, scan_id)).json()["status"] == "cancelled"
            finally:
                await to_thread.run_sync(second.kill)


@pytest.mark.parametrize("answer", ["y", "n"])
async def test_what_became_of_a_scan_whose_server_is_gone_is_not_claimed(answer: str) -> None:
    server = await to_thread.run_sync(ServerProcess, ":memory:")
    async with scripting() as script:
        scan_id = await to_thread.run_sync(detached, server.url, *scripted(script))
        with running(Terminal, "watch", scan_id, "--patience", "8", "--url", server.url) as following:
            await script.started()
            await to_thread.run_sync(following.until, "running")
            await to_thread.run_sync(server.kill)
            await to_thread.run_sync(following.until, "Connection lost (")
            following.type("\x03")
            await to_thread.run_sync(following.until, f"{LOST}. Cancel it? [y/N]:")
            following.type(f"{answer}\r")
            assert await to_thread.run_sync(following.end) == {"y": 3, "n": 130}[answer]
    said = following.shown.split("[y/N]:")[-1]
    assert ("is not cancelled" in said) == (answer == "y")
    assert (f"{LOST}. Come back with" in said) == (answer == "n")
    assert "Left running" not in said
    assert f"scanstream watch {scan_id} --url {server.url}" in said


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def perhaps(url: str) -> str:
    """What a discover without an ack ends with."""
    return f"A scan may have been registered: scanstream status latest --url {url}\n"


def test_a_discover_that_is_never_answered_ends_with_patience(silent: str) -> None:
    shown = run("discover", "--patience", "1", "--url", silent)
    assert shown.returncode == 3
    assert shown.stderr == f"scanstream: The server at {silent} has not answered within 1 s. {perhaps(silent)}"


def test_a_ctrl_c_before_the_ack_says_that_nobody_knows() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with running(Piped, "discover", "--url", address) as asking:
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(65536)
                asking.process.send_signal(signal.SIGINT)
                assert asking.end() == 130
            assert asking.errors() == f"scanstream: No ack yet. {perhaps(address)}"

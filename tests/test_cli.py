"""The commands as a person runs them: what they print, and what they exit with."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from scanstream.cli import Interruptible, main
from scanstream.client.addresses import DEFAULT_URL, URL_VARIABLE
from scanstream.security import caller
from scanstream.terminal import completion
from support.process import server_process


def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command of the real program, where no server of another test has left anything that it would remove."""
    with tempfile.TemporaryDirectory() as place:
        return subprocess.run(
            [sys.executable, "-m", "scanstream", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "TMPDIR": place, **(environment or {})},
        )


def write_candles(directory: Path, rows: list[str], name: str = "A_B.csv") -> Path:
    """A market directory with one file."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text("timestamp,open,high,low,close,volume\n" + "".join(f"{row}\n" for row in rows))
    return directory


def test_the_demo_scans_exits_with_zero_and_cuts_nothing_in_a_pipe() -> None:
    shown = run("demo", "--strategy", "tsmom", environment={"COLUMNS": "40"})
    assert shown.returncode == 0, shown.stderr
    assert "\nMarket: synthetic (generated prices, nothing in them is real)\n" in shown.stdout
    assert "100 %" in shown.stdout
    assert "Complete:" in shown.stdout
    assert shown.stderr == ""
    [header] = [line for line in shown.stdout.splitlines() if line.startswith("symbol ")]
    assert header.split() == ["symbol", "strategy", "side", "score", "hit", "rate", "return", "within"]
    assert "…" not in shown.stdout
    assert re.search(r"^\w+/USDT +tsmom +(long|short) +\S+ +\d+% of \d{3,4} +[+-]\S+% +21h$", shown.stdout, re.M)


def test_the_demo_finds_opportunities_in_real_candles(real_candles: Path) -> None:
    shown = run("demo", "--market", f"files:{real_candles}")
    assert shown.returncode == 0, shown.stderr
    assert "Complete: 0 found" not in shown.stdout
    assert "/BTC" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--symbol", "NOPE/USDT"], ["  symbols (--symbol): ", "'NOPE/USDT'"]),
        (["--strategy", "nope"], ["  strategy_ids (--strategy): there is no strategy 'nope'"]),
        (["--strategy", "nope", "--strategy", "tsmom"], ["  strategy_ids (--strategy): ", "'nope'"]),
    ],
)
def test_the_demo_tells_what_it_does_not_take_as_discover_does(arguments: list[str], says: list[str]) -> None:
    shown = run("demo", *arguments, environment={"COLUMNS": "20"})
    assert shown.returncode == 2
    first, *errors = shown.stderr.splitlines()
    assert first == "scanstream: The server does not take this:"
    assert len(errors) == 1
    for words in says:
        assert words in errors[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--walk-forward", "-1"], "--walk-forward"),
        (["--walk-forward", "5001"], "--walk-forward"),
        (["--workers", "0"], "--workers 0: the demo has its own workers only"),
    ],
)
def test_the_demo_refuses_what_cannot_work_before_there_is_a_server(arguments: list[str], says: str) -> None:
    shown = run("demo", *arguments)
    assert shown.returncode == 2
    assert shown.stdout == ""
    assert says in shown.stderr.splitlines()[-1]


def test_a_ctrl_c_is_130_wherever_it_comes() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    group = Interruptible()
    group.add_command(click.Command("now", params=[click.Option(["--flag"], callback=interrupt)]))
    group.add_command(click.Command("later", callback=interrupt))
    for name in ("now", "later"):
        shown = CliRunner().invoke(group, [name])
        assert (shown.exit_code, shown.output) == (130, "")


def test_what_is_said_twice_is_said_alike() -> None:
    [url] = [parameter for parameter in main.commands["discover"].params if parameter.name == "url"]
    assert url.default == DEFAULT_URL
    assert url.envvar == [URL_VARIABLE]
    assert completion.LATEST == caller.LATEST


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--market", "horoscope"], ["--market horoscope", "SCANSTREAM_MARKET"]),
        (["--market", "files:/nowhere/at/all"], ["/nowhere/at/all", "SYMBOL.csv"]),
        (["--data", "/dev/null/below"], ["/dev/null/below", "--data"]),
        (["--engine", "paper"], ["--engine paper"]),
        (["--max-running", "0"], ["--max-running 0", "SCANSTREAM_MAX_RUNNING"]),
        (["--fresh", "7200"], ["--fresh", "--retention"]),
        (["--host", "256.1.1.1"], ["--host 256.1.1.1"]),
        (["--port", "http"], ["--port", "http"]),
        (["--colour", "red"], ["--colour"]),
    ],
)
def test_a_server_that_cannot_start_says_which_setting_and_exits_with_two(
    tmp_path: Path, arguments: list[str], says: list[str]
) -> None:
    shown = run("serve", "--port", "0", "--data", str(tmp_path / "data"), *arguments)
    assert shown.returncode == 2
    for words in says:
        assert words in shown.stderr
    assert "Traceback" not in shown.stderr


def test_settings_also_come_from_the_environment(tmp_path: Path) -> None:
    shown = run("serve", "--data", str(tmp_path), environment={"SCANSTREAM_MARKET": "horoscope", "PORT": "0"})
    assert shown.returncode == 2
    assert "--market horoscope" in shown.stderr


def test_a_broken_csv_is_named_with_its_line(tmp_path: Path) -> None:
    market = write_candles(tmp_path / "market", ["2026-01-01T00:00:00Z,1,1,1,1,1", "2026-01-01T00:05:00Z,1,1,1,one,1"])
    shown = run("serve", "--port", "0", "--data", ":memory:", "--market", f"files:{market}")
    assert shown.returncode == 2
    assert f"{market / 'A_B.csv'}, line 3" in shown.stderr


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        shown = run("serve", "--port", str(port), "--data", str(tmp_path))
    assert shown.returncode == 2
    assert f"Port {port} on 127.0.0.1 is in use" in shown.stderr


def test_a_data_directory_belongs_to_one_server(tmp_path: Path) -> None:
    with server_process(tmp_path) as server:
        shown = run("serve", "--port", "0", "--data", str(tmp_path))
        assert shown.returncode == 2
        assert str(tmp_path) in shown.stderr
        assert f"process {server.pid}" in shown.stderr
    with server_process(tmp_path):
        pass


def test_a_corrupt_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    with server_process(tmp_path) as server:
        server.stop()
    database = tmp_path / "scanstream.db"
    database.write_bytes(b"this is no database" * 1000)
    shown = run("serve", "--port", "0", "--data", str(tmp_path))
    assert shown.returncode == 2
    assert str(database) in shown.stderr
    assert "move it away" in shown.stderr
    assert database.read_bytes() == b"this is no database" * 1000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_prints_its_address_and_a_signal_ends_it_at_once_with_its_data_whole(
    tmp_path: Path, number: signal.Signals
) -> None:
    with server_process(tmp_path) as server:
        server.process.send_signal(number)
        assert server.url.startswith("http://127.0.0.1:")
        rest, errors = server.process.communicate(timeout=30)
        assert server.process.returncode == 0
        assert (rest, errors) == ("", "")  # it has printed one line, with its address
    with sqlite3.connect(tmp_path / "scanstream.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.parametrize("command", [[], ["serve"], ["demo"]])
def test_help_helps(command: list[str]) -> None:
    shown = run(*command, "--help")
    assert shown.returncode == 0
    assert "Usage: " in shown.stdout
    if command == ["serve"]:
        for flag in ("--host", "--port", "--data", "--market", "--workers", "--retention", "SCANSTREAM_PORT"):
            assert flag in shown.stdout

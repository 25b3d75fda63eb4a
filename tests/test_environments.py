"""Commands in surroundings that are not a developer's terminal: platforms, supervisors, old terminals, proxies."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from client.programs import PROGRAM, QUICK, SECONDS, finished, run
from scanstream.errors import SettingError
from scanstream.settings import Settings
from support.process import ServerProcess, server_process
from support.proxy import free_port

ASCII = {"PYTHONIOENCODING": "ascii"}
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN = {"PYTHONIOENCODING": "latin-1"}

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server with a complete scan."""
    with server_process(":memory:") as server:
        finished(server.url, "--strategy", "tsmom")
        yield server.url


def test_what_a_container_platform_sets_for_a_service_is_passed_over_and_said(tmp_path: Path) -> None:
    port = free_port()
    platform = {
        "SCANSTREAM_PORT": "tcp://10.0.0.1:8000",
        "SCANSTREAM_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "SCANSTREAM_PORT_8000_TCP_ADDR": "10.0.0.1",
        "SCANSTREAM_SERVICE_HOST": "10.0.0.1",
        "SCANSTREAM_SERVICE_PORT": "8000",
        "SCANSTREAM_NAME": "/web/scanstream",
        "PORT": str(port),
        "SCANSTREAM_DATA": str(tmp_path),
        "SCANSTREAM_WORKERS": "1",
    }
    process = subprocess.Popen(
        [*PROGRAM, "serve"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **platform}
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().endswith(f"http://127.0.0.1:{port}\n")
    finally:
        process.terminate()
    _, errors = process.communicate(timeout=SECONDS)
    [line] = errors.splitlines()
    assert "SCANSTREAM_PORT=tcp://10.0.0.1:8000 is passed over" in line


@pytest.mark.parametrize(
    ("environment", "says", "says_not"),
    [
        ({"PORT": "abc"}, "Invalid value for PORT in the environment: 'abc'", "--port'"),
        ({"PORT": "99999"}, "PORT=99999: it must be at most 65535", "SCANSTREAM_PORT"),
        ({"SCANSTREAM_PORT": "-1", "PORT": "8123"}, "(SCANSTREAM_PORT)", " PORT"),
        ({"SCANSTREAM_WORKERS": "two"}, "Invalid value for SCANSTREAM_WORKERS in the environment", "--workers'"),
        ({"SCANSTREAM_KEEP_ALIVE": " "}, "Invalid value for SCANSTREAM_KEEP_ALIVE in the environment", "--keep-alive'"),
        ({"SCANSTREAM_LIVE_TIMEFRAME": "hourly"}, "(SCANSTREAM_LIVE_TIMEFRAME)", "Traceback"),
        ({"SCANSTREAM_ENGINE": "paper"}, "(SCANSTREAM_ENGINE)", "Traceback"),
        ({"SCANSTREAM_HOST": "a b"}, "(SCANSTREAM_HOST)", "Traceback"),
        ({"SCANSTREAM_ALLOW_ORIGIN": "https://a.example,*"}, "(SCANSTREAM_ALLOW_ORIGIN)", "a.example"),
        ({"SCANSTREAM_ALLOW_HOST": "a.example http://b"}, "--allow-host http://b: ", "a.example"),
        ({"SCANSTREAM_TRUSTED_PROXY": "10.0.0.0/8 nginx"}, "--trusted-proxy nginx: ", "Traceback"),
        ({"SCANSTREAM_ROOT_PATH": "tools/scan"}, "--root-path tools/scan: ", "Traceback"),
    ],
)
def test_a_setting_is_blamed_by_the_name_that_it_was_given_by(
    environment: dict[str, str], says: str, says_not: str
) -> None:
    shown = run("serve", **{"SCANSTREAM_DATA": ":memory:", **environment})
    assert shown.returncode == 2
    [line] = shown.stderr.splitlines()
    assert says in line
    assert says_not not in shown.stderr


@pytest.mark.parametrize("host", ["", " ", "[::1]", "127.0.0.1:8000", "http://localhost", "*", "a b", "::1%", "."])
def test_a_host_that_is_none_is_not_listened_on(host: str) -> None:
    with pytest.raises(SettingError, match=r"^--host .*must be an address or a name to listen on"):
        Settings(host=host)


ATTACHED = """
import os, sys
from scanstream import streams
streams.attach()
print("lost")
print("lost", file=sys.stderr)
sys.stdin.read(0)
os._exit(sum(not os.get_inheritable(number) for number in range(3)))
"""


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&-", "0<&- 2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"])
def test_a_closed_stream_is_attached_to_nothing(closed: str) -> None:
    command = f'exec "$0" -c "$1" {closed}'
    assert subprocess.run(["sh", "-c", command, sys.executable, ATTACHED], check=False, timeout=SECONDS).returncode == 0


def test_a_server_without_standard_streams_runs_scans() -> None:
    port = free_port()
    command = 'exec "$@" 0<&- 1>&- 2>&-'
    server = subprocess.Popen(
        ["sh", "-c", command, "sh", *PROGRAM, "serve", "--port", str(port), "--data", ":memory:", "--workers", "1"]
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _until_healthy(url)
        shown = run("discover", "--url", url, *QUICK)
        assert shown.returncode == 0, shown.stdout
    finally:
        server.terminate()
        assert server.wait(SECONDS) == 0


def _until_healthy(url: str) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=SECONDS):  # noqa: S310
                return
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("environment", [ASCII, C_LOCALE, LATIN], ids=["ascii", "C", "latin-1"])
def test_a_terminal_that_knows_fewer_letters_gets_those_that_look_alike(url: str, environment: dict[str, str]) -> None:
    wide = run("results", "latest", "--limit", "5", "--url", url)
    plain = run("results", "latest", "--limit", "5", "--url", url, **environment)
    assert plain.returncode == 0
    assert plain.stderr == ""
    assert [len(line) for line in plain.stdout.splitlines()] == [len(line) for line in wide.stdout.splitlines()]


@pytest.mark.parametrize("command", ["watch", "status", "strategies", "discover"])
def test_every_command_ends_well_there(url: str, command: str) -> None:
    arguments = {"strategies": [], "discover": ["--strategy", "tsmom"]}.get(command, ["latest"])
    shown = run(command, *arguments, "--url", url, **ASCII)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.isascii()


def test_what_is_for_programs_is_utf_8_everywhere(url: str) -> None:
    for form in ("--csv", "--ndjson", "--json"):
        texts = [
            subprocess.run(
                [*PROGRAM, "results", "latest", form, "--url", url],
                capture_output=True,
                timeout=SECONDS,
                check=True,
                env={**os.environ, **environment},
            ).stdout
            for environment in ({}, ASCII)
        ]
        assert texts[0] == texts[1] != b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("words", ["--help", "results --help", "--version", "strategies", "market check ."])
def test_a_full_disk_behind_standard_output_is_one_line(url: str, words: str) -> None:
    with Path("/dev/full").open("w") as full:
        shown = subprocess.run(
            [*PROGRAM, *words.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "SCANSTREAM_URL": url},
        )
    assert shown.returncode == 1
    [line] = shown.stderr.splitlines()
    assert line == "scanstream: standard output or a file failed: [Errno 28] No space left on device"


@pytest.mark.parametrize("words", ["results latest", "results latest --csv", "strategies", "watch latest --json"])
def test_a_reader_that_leaves_early_is_no_defect(url: str, words: str) -> None:
    command = 'program=$1; shift; "$program" "$@" | true'
    shown = subprocess.run(
        ["bash", "-c", command, "bash", *PROGRAM, *words.split(), "--url", url],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert shown.stderr == ""


ODD = [
    {"HTTP_PROXY": "socks5://127.0.0.1:9"},
    {"ALL_PROXY": "ftp://x"},
    {"HTTP_PROXY": "http://[", "ALL_PROXY": "nonsense"},
    {"HTTP_PROXY": "http://127.0.0.1:9"},
]


@pytest.mark.parametrize("environment", ODD)
def test_no_proxy_keeps_us_from_a_server_of_this_machine(url: str, environment: dict[str, str]) -> None:
    assert run("status", "latest", "--url", url, **{"NO_PROXY": "", **environment}).returncode == 0


@pytest.mark.parametrize("environment", ODD)
@pytest.mark.parametrize("command", ["status", "watch", "discover"])
def test_a_proxy_that_leads_nowhere_is_told_in_one_line(command: str, environment: dict[str, str]) -> None:
    arguments = [] if command == "discover" else ["latest"]
    where = ["--url", "http://scans.invalid:8000"]
    shown = run(command, *arguments, *where, **{"NO_PROXY": "", "no_proxy": "", **environment})
    assert shown.returncode == 3
    [line] = shown.stderr.splitlines()
    assert re.match(r"scanstream: (The proxy that \w+ sets cannot be used|There is no scanstream server at)", line)


def test_bytes_that_are_no_text_are_no_scan_and_no_symbol(url: str) -> None:
    cases: list[tuple[list[str | bytes], int]] = [
        (["status", b"\xff"], 1),
        (["watch", b"\xff"], 2),
        (["discover", "--symbol", b"\xff"], 2),
    ]
    for arguments, status in cases:
        shown = subprocess.run([*PROGRAM, *arguments, "--url", url], capture_output=True, timeout=SECONDS, check=False)
        assert shown.returncode == status, shown.stderr
        assert b"Traceback" not in shown.stderr


def test_no_server_is_told_apart_from_no_scan(url: str) -> None:
    absent = run("status", "scan_nope", "--url", url)
    assert (absent.returncode, "No scan found" in absent.stderr) == (1, True)
    nobody = run("status", "scan_nope", "--url", f"http://127.0.0.1:{free_port()}")
    assert (nobody.returncode, "There is no scanstream server at" in nobody.stderr) == (3, True)
    spelled = run("status", "latest", "--url", url.replace("http://", "WS://") + "/", "--json")
    assert msgspec.json.decode(spelled.stdout)["status"] == "complete"


def test_a_path_where_our_server_is_not_is_told_apart_from_no_scan(url: str) -> None:
    for command in ("status", "results", "cancel"):
        shown = run(command, "latest", "--url", f"{url}/wrong/path")
        assert (shown.returncode, shown.stdout) == (3, "")
        [line] = shown.stderr.splitlines()
        assert "has nothing there" in line
    assert run("strategies", "--url", f"{url}/ws").returncode == 3


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSLKEYLOGFILE"])
def test_certificates_that_cannot_be_read_are_told_where_they_are_needed(url: str, variable: str) -> None:
    bad = {variable: "/nonexistent/file"}
    assert run("status", "latest", "--url", url, **bad).returncode == 0
    shown = run("status", "latest", "--url", url.replace("http:", "https:"), **bad)
    assert shown.returncode == 3
    [line] = shown.stderr.splitlines()
    assert variable in line


def test_a_server_whose_first_line_nobody_reads_serves_all_the_same(tmp_path: Path) -> None:
    port = free_port()
    reading, writing = os.pipe()
    os.close(reading)
    command = [*PROGRAM, "serve", "--port", str(port), "--data", str(tmp_path), "--workers", "1"]
    server = subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    try:
        _until_healthy(f"http://127.0.0.1:{port}")
    finally:
        server.terminate()
    _, errors = server.communicate(timeout=SECONDS)
    assert (server.returncode, errors) == (0, "")


def test_a_name_that_is_listened_on_is_answered() -> None:
    server = ServerProcess(":memory:", "--host", socket.gethostname(), "--insecure", "--workers", "0")
    try:
        assert run("strategies", "--url", server.url).returncode == 0
    finally:
        assert server.stop() == 0

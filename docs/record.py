"""Writes docs/transcript.md: what the commands print, recorded from real ones in a terminal against a real server.

    python docs/record.py [FILE] [--port PORT]

It clones this repository, as it was committed, into an empty directory and starts there, as a newcomer does. Without
`--port` it needs port 8000, where the commands look for a server unless told otherwise.
"""

import argparse
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSCTTY, tcsetwinsize
from typing import IO, NamedTuple

import pyte

COLUMNS, ROWS = 80, 60
SECONDS = 60.0
"""The longest that one command may take."""
INSTALLATION_SECONDS = 900.0
"""The same for one that installs first."""
ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "transcript.md"
LONG = "--parameter pca_statarb.walk_forward=2000 --parameter tsmom.walk_forward=2000"
CANDLES = "Date,Open,High,Low,Close,Volume\n2026-11-20,10,12,9,11,500\n2026-11-21,11,13,10,12,400\n"

HEAD = """# A session at a terminal

Recorded by `make transcript` from the real commands against a real server, in a terminal of {columns} columns; the live
view is shown as it stood at its end. Nothing here was typed by hand. The market is the generated one: nothing in it is
real. What each command takes is in [cli.md](cli.md).

## From an empty directory

`repository` is where the repository is.
"""


class Session(NamedTuple):
    """Where commands are run, and with what in the environment."""

    directory: Path
    environment: Mapping[str, str]


def clean(binaries: Path, **more: str) -> dict[str, str]:
    """The environment without what would change the commands, and with these programs before all others."""
    foreign = re.compile("SCANSTREAM_|MAKE|MFLAGS|PYTHON|VIRTUAL_ENV|PORT$|COLUMNS$|LINES$|NO_COLOR$")
    kept = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    return {**kept, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "TERM": "xterm", **more}


class Server:
    """`scanstream serve`, which can be killed and started again."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def start(self) -> str:
        """Start it; the line that it prints."""
        directory, environment = self._session
        self._process = subprocess.Popen(
            ["scanstream", "serve"], cwd=directory, env=environment, stdout=subprocess.PIPE, text=True
        )
        said = self._first_line(self._process.stdout)
        if "http://" not in said:
            self.kill()
            raise RuntimeError(f"the server did not start: {said!r}")
        return said

    def _first_line(self, output: IO[str] | None) -> str:
        return output.readline() if output and select.select([output], [], [], SECONDS)[0] else ""

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()
        self._process.communicate()

    def stop(self) -> None:
        """SIGTERM."""
        self._process.terminate()
        self._process.communicate()


class Terminal:
    """A command in a terminal, as somebody before it sees it."""

    def __init__(self, command: str, session: Session, seconds: float = SECONDS) -> None:
        self._screen = pyte.HistoryScreen(COLUMNS, ROWS, history=10_000, ratio=1)
        self._stream = pyte.ByteStream(self._screen)
        self._seen = ""
        self._seconds = seconds
        self._terminal, inner = pty.openpty()
        tcsetwinsize(inner, (ROWS, COLUMNS))
        self._process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=session.directory,
            env=session.environment,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509  # touches no lock
        )
        os.close(inner)

    def until(self, pattern: str) -> None:
        """Wait until it has printed this."""
        deadline = time.monotonic() + self._seconds
        while not re.search(pattern, self._seen):
            if time.monotonic() > deadline or not self._read():
                raise RuntimeError(f"{pattern!r} was never seen in {self._seen!r}")

    def type(self, keys: str) -> None:
        """Press keys."""
        self._seen = ""
        os.write(self._terminal, keys.encode())

    def end(self) -> tuple[str, int]:
        """Wait for its end; the text on the screen, what has scrolled away included, and the exit code."""
        deadline = time.monotonic() + self._seconds
        while self._read():
            if time.monotonic() > deadline:
                raise RuntimeError(f"it did not end: {self._seen!r}")
        code = self._process.wait(self._seconds)
        above = ["".join(line[column].data for column in range(COLUMNS)) for line in self._screen.history.top]
        lines = [line.rstrip() for line in [*above, *self._screen.display]]
        return "\n".join(lines).rstrip(), code

    def close(self) -> None:
        """Leave nothing behind."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)  # the shell and what it started
        self._process.wait()
        os.close(self._terminal)

    def _read(self) -> bool:
        """Take what it printed; False once it has ended."""
        if not select.select([self._terminal], [], [], 1)[0]:
            return True
        try:
            printed = os.read(self._terminal, 65_536)
        except OSError:  # Linux says so when the other end is closed
            return False
        self._stream.feed(printed)
        self._seen += printed.decode(errors="replace")
        return bool(printed)


def _take_terminal() -> None:
    """Make the terminal the controlling one: then ^C becomes a signal, whatever started this ignores."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ioctl(0, TIOCSCTTY, 0)


@contextmanager
def typed(command: str, session: Session, seconds: float = SECONDS) -> Iterator[Terminal]:
    """A command in a terminal, which ends with the block."""
    terminal = Terminal(command, session, seconds)
    try:
        yield terminal
    finally:
        terminal.close()


@contextmanager
def running(session: Session) -> Iterator[tuple[Server, str]]:
    """A server that ends with the block, and the line that it printed."""
    server = Server(session)
    said = server.start()
    try:
        yield server, said
    finally:
        server.stop()


def record(port: int) -> Iterator[str]:
    """The page, part by part."""
    yield HEAD.format(columns=COLUMNS)
    elsewhere = {} if port == 8000 else {"SCANSTREAM_PORT": str(port), "SCANSTREAM_URL": f"http://127.0.0.1:{port}"}
    with tempfile.TemporaryDirectory() as directory:
        yield from begun(Path(directory))
        clone = Path(directory) / "scanstream"
        session = Session(clone, clean(clone / ".venv" / "bin", **elsewhere))
        with running(session) as (server, said):
            yield "## A server\n\nIn the same directory, after `source .venv/bin/activate`:\n"
            yield shown("scanstream serve &", said)
            yield from simple(session)
            yield from looked_into(session)
            yield from interrupted(session)
            yield from killed(session, server)
            yield from refused(session)


def begun(directory: Path) -> Iterator[str]:
    """From an empty directory to the tests."""
    (directory / "repository").symlink_to(ROOT)
    system = Path(shutil.which("python3", path=_path_without_ours()) or sys.executable).parent
    session = Session(directory, clean(system, PIP_QUIET="1"))  # its warnings are of this machine, its errors remain
    yield ran("git clone repository scanstream", session)
    inside = session._replace(directory=directory / "scanstream")
    yield ran("make demo", inside, INSTALLATION_SECONDS)
    yield ran('make test ARGS="tests/log -q"', inside, INSTALLATION_SECONDS)


def _path_without_ours() -> str:
    """Where the shell looks for programs, without the virtual environment of this one."""
    ours = str(Path(sys.executable).parent)
    return os.pathsep.join(place for place in os.environ["PATH"].split(os.pathsep) if place != ours)


def simple(session: Session) -> Iterator[str]:
    """One command after the other."""
    yield "## A scan, and what it has found\n"
    for command in (
        "scanstream discover",
        "scanstream status latest",
        "scanstream results latest --limit 3",
        "scanstream results latest --csv | head -3 | cut -c 1-80",
        "scanstream results latest --ndjson | head -2 | cut -c 1-80",
    ):
        yield ran(command, session)
    yield "## What can be run\n"
    yield ran("scanstream strategies | cut -c 1-80", session)
    yield "## Your own candles, before they are served\n"
    candles = session.directory / "candles"
    candles.mkdir()
    (candles / "AAA_USD.csv").write_text(CANDLES)
    (candles / "BBB_USD.csv").write_text(CANDLES.replace("11-21", "11-31"))
    yield ran("scanstream market check candles", session)
    yield "## In the background, and in a pipe\n"
    yield ran("scanstream discover --strategy tsmom --symbol BTC/USDT --detach", session)
    ran("scanstream watch latest", session)  # so that it has ended when the next one begins
    yield ran("scanstream watch latest | cat", session)
    yield ran("scanstream discover --strategy meanrev --json | cut -c 1-80 | sed -n '1p;$p'", session)


def looked_into(session: Session) -> Iterator[str]:
    """What happened to a scan, whether the server is well, and a key for somebody else."""
    yield "## What happened, and whether all is well\n"
    yield ran("scanstream explain latest | cut -c 1-80", session)
    address = session.environment.get("SCANSTREAM_URL", "http://127.0.0.1:8000")
    yield ran(f"scanstream doctor --url {address} | cut -c 1-80", session)
    yield "## A key, for a server that asks\n"
    yield ran("scanstream key create ann --principal ann --right scan --keys keys.toml > ann.key", session)
    yield ran("scanstream key list --keys keys.toml", session)


def interrupted(session: Session) -> Iterator[str]:
    """Ctrl-C, both answers."""
    yield "## Ctrl-C\n\nLeave it running, and come back:\n"
    command = f"scanstream discover {LONG}"
    with typed(command, session) as terminal:
        terminal.until(r"running · [1-9]")
        terminal.type("\x03")
        terminal.until(r"\[y/N\]")
        terminal.type("n\r")
        yield shown(command, *terminal.end())
    yield ran("scanstream watch latest | tail -4", session)
    yield "Or cancel it, here from another terminal:\n"
    command += " --force-refresh"
    with typed(command, session) as terminal:
        terminal.until(r"running · [1-9]")
        yield ran("scanstream cancel latest", session)
        yield shown(command, *terminal.end())


def killed(session: Session, server: Server) -> Iterator[str]:
    """The server dies in mid-scan, and is started again."""
    yield "## The server is killed in mid-scan\n\nBy `kill -9` at a third of the way, and started again; the client:\n"
    command = f"scanstream discover {LONG} --force-refresh"
    with typed(command, session) as terminal:
        terminal.until(r"running · [3-9]\d %")
        server.kill()
        terminal.until("come back|try again|again in|gone|lost")
        server.start()
        yield shown(command, *terminal.end())


def refused(session: Session) -> Iterator[str]:
    """What cannot be had, and its exit code."""
    yield "## What cannot be had\n"
    yield ran("scanstream discover --strategy astrology --parameter tsmom.lookback=1", session)
    yield ran("scanstream status scan_0198c1", session)
    yield ran("scanstream status latest --url http://127.0.0.1:9", session)


def ran(command: str, session: Session, seconds: float = SECONDS) -> str:
    """A command, run to its end, and what it printed."""
    with typed(command, session, seconds) as terminal:
        return shown(command, *terminal.end())


def shown(command: str, printed: str, code: int = 0) -> str:
    """As a part of the page."""
    ended = f"\n(exit code {code})" if code else ""
    return f"```\n$ {command}\n{printed.rstrip()}{ended}\n```\n"


def main() -> int:
    """Write the page."""
    arguments = argparse.ArgumentParser(description="Record a session with the commands.")
    arguments.add_argument("file", nargs="?", type=Path, default=PAGE)
    arguments.add_argument("--port", type=int, default=8000)
    given = arguments.parse_args()
    changed = subprocess.run(["git", "-C", ROOT, "status", "--porcelain"], capture_output=True, text=True, check=True)
    if changed.stdout:
        sys.stderr.write("What is not committed is not recorded.\n")
    given.file.write_text("\n".join(record(given.port)))
    sys.stdout.write(f"{given.file} is written.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

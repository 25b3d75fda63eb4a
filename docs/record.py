"""Writes docs/transcript.md: what the commands print, recorded from real ones in a terminal against a real server.

    python docs/record.py

It needs port 8000, where the commands look for a server unless told otherwise.
"""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ

import pyte

COLUMNS, ROWS = 80, 60
SECONDS = 60.0
"""The longest that one command may take."""
PAGE = Path(__file__).parent / "transcript.md"
LONG = "--parameter pca_statarb.walk_forward=2000 --parameter tsmom.walk_forward=2000"

HEAD = """# A session at a terminal

Recorded by `make transcript` from the real commands against a real server, in a terminal of {columns} columns; the live
view is shown as it stood at its end. Nothing here was typed by hand. The market is the generated one: nothing in it is
real. What each command takes is in [cli.md](cli.md).
"""


class Server:
    """`scanstream serve` in a directory of its own, which can be killed and started again."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.said = self.start()

    def start(self) -> str:
        """Start it; the line that it prints."""
        self._process = subprocess.Popen(
            ["scanstream", "serve"], cwd=self._directory, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if "http://" not in line:
            raise RuntimeError("the server did not start")
        return line

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM."""
        self._process.terminate()
        self._process.wait()


class Terminal:
    """A command in a terminal, as somebody before it sees it."""

    def __init__(self, command: str, directory: str) -> None:
        self._screen = pyte.HistoryScreen(COLUMNS, ROWS, history=10_000, ratio=1)
        self._stream = pyte.ByteStream(self._screen)
        self._seen = ""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(directory)
            os.execvp("bash", ["bash", "-c", command])  # noqa: S606  # fixed commands, in a terminal of their own
        ioctl(self._terminal, TIOCSWINSZ, pack("HHHH", ROWS, COLUMNS, 0, 0))

    def until(self, pattern: str) -> None:
        """Wait until it has printed this."""
        deadline = time.monotonic() + SECONDS
        while not re.search(pattern, self._seen):
            if time.monotonic() > deadline or not self._read():
                raise RuntimeError(f"{pattern!r} was never seen in {self._seen!r}")

    def type(self, keys: str) -> None:
        """Press keys."""
        self._seen = ""
        os.write(self._terminal, keys.encode())

    def end(self) -> tuple[str, int]:
        """Wait for its end; the text on the screen, what has scrolled away included, and the exit code."""
        deadline = time.monotonic() + SECONDS
        while self._read():
            if time.monotonic() > deadline:
                os.kill(self._pid, signal.SIGKILL)
                raise RuntimeError(f"it did not end: {self._seen!r}")
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        above = ["".join(line[column].data for column in range(COLUMNS)) for line in self._screen.history.top]
        lines = [line.rstrip() for line in [*above, *self._screen.display]]
        return "\n".join(lines).rstrip(), code

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


def record() -> Iterator[str]:
    """The page, part by part."""
    yield HEAD.format(columns=COLUMNS)
    with tempfile.TemporaryDirectory() as directory, running(directory) as server:
        yield shown("scanstream serve &", server.said)
        yield from simple(directory)
        yield from interrupted(directory)
        yield from killed(directory, server)
        yield from refused(directory)


@contextmanager
def running(directory: str) -> Iterator[Server]:
    """A server that ends with the block."""
    server = Server(directory)
    try:
        yield server
    finally:
        server.stop()


def simple(directory: str) -> Iterator[str]:
    """One command after the other."""
    yield "## A scan, and what it has found\n"
    for command in (
        "scanstream discover",
        "scanstream status latest",
        "scanstream results latest --limit 3",
        "scanstream results latest --csv | head -3 | cut -c 1-80",
        "scanstream results latest --ndjson | head -2 | cut -c 1-80",
    ):
        yield ran(command, directory)
    yield "## What can be run\n"
    yield ran("scanstream strategies | cut -c 1-80", directory)
    yield "## In the background, and in a pipe\n"
    yield ran("scanstream discover --strategy tsmom --symbol BTC/USDT --detach", directory)
    yield ran("scanstream watch latest | cat", directory)
    yield ran("scanstream discover --strategy meanrev --json | cut -c 1-80 | tail -3", directory)


def interrupted(directory: str) -> Iterator[str]:
    """Ctrl-C, both answers."""
    yield "## Ctrl-C\n\nLeave it running, and come back:\n"
    command = f"scanstream discover {LONG}"
    terminal = Terminal(command, directory)
    terminal.until("running · ")
    terminal.type("\x03")
    terminal.until(r"\[y/N\]")
    terminal.type("n\r")
    yield shown(command, *terminal.end())
    yield ran("scanstream watch latest | tail -4", directory)
    yield "Or cancel it, here from another terminal:\n"
    terminal = Terminal(f"{command} --force-refresh", directory)
    terminal.until("running · ")
    yield ran("scanstream cancel latest", directory)
    yield shown(f"{command} --force-refresh", *terminal.end())


def killed(directory: str, server: Server) -> Iterator[str]:
    """The server dies in mid-scan, and is started again."""
    yield "## The server is killed in mid-scan\n\nBy `kill -9` at a third of the way, and started again; the client:\n"
    command = f"scanstream discover {LONG} --force-refresh"
    terminal = Terminal(command, directory)
    terminal.until(r"running · [3-9]\d %")
    server.kill()
    terminal.until("come back|try again|again in|gone|lost")
    server.start()
    yield shown(command, *terminal.end())


def refused(directory: str) -> Iterator[str]:
    """What cannot be had, and its exit code."""
    yield "## What cannot be had\n"
    yield ran("scanstream discover --strategy astrology --parameter tsmom.lookback=1", directory)
    yield ran("scanstream status scan_0198c1", directory)
    yield ran("scanstream status latest --url http://127.0.0.1:9", directory)


def ran(command: str, directory: str) -> str:
    """A command, run to its end, and what it printed."""
    return shown(command, *Terminal(command, directory).end())


def shown(command: str, printed: str, code: int = 0) -> str:
    """As a part of the page."""
    ended = f"\n(exit code {code})" if code else ""
    return f"```\n$ {command}\n{printed.rstrip()}{ended}\n```\n"


def main() -> int:
    """Write the page."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["TERM"] = "xterm"
    PAGE.write_text("\n".join(record()))
    sys.stdout.write(f"{PAGE} is written.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Commands as processes of their own, in pipes and in a terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pyte

from support.script import Script

PROGRAM = [sys.executable, "-m", "scanstream"]
QUICK = ["--strategy", "tsmom", "--symbol", "BTC/USDT", "--parameter", "tsmom.walk_forward=0"]
"""A scan of milliseconds."""
SECONDS = 30
"""The longest that anything here may take."""

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command with its output in pipes."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, **environment},
    )


class Running:
    """A command that runs: what it has shown so far."""

    process: subprocess.Popen[bytes]
    _fd: int

    def __init__(self) -> None:
        self._raw = b""

    @property
    def raw(self) -> bytes:
        """All that it has written."""
        return self._raw

    @property
    def shown(self) -> str:
        """All that it has shown, without colours and cursor movements."""
        return _CONTROL.sub("", self._raw.decode(errors="replace")).replace("\r\n", "\n")

    def until(self, words: str) -> None:
        """Wait until these words have been shown."""
        deadline = time.monotonic() + SECONDS
        while words not in self.shown:
            assert time.monotonic() < deadline, f"no {words!r} in {self.shown}"
            assert self._read(), f"ended without {words!r}: {self.shown}"

    def end(self) -> int:
        """Wait for its end; the exit code."""
        while self._read():
            pass
        return self.process.wait(SECONDS)

    def close(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.process.communicate(timeout=SECONDS)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], SECONDS)
        assert ready, f"nothing for {SECONDS} s after {self.shown}"
        try:
            piece = os.read(self._fd, 65536)
        except OSError:  # EIO: the other side of a terminal is closed
            return False
        self._raw += piece
        return bool(piece)


class Piped(Running):
    """With its output in pipes; standard error is for the end."""

    def __init__(self, *arguments: str) -> None:
        super().__init__()
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=heed_interrupts,  # noqa: PLW1509  # as above
        )
        assert self.process.stdout is not None
        self._fd = self.process.stdout.fileno()

    def errors(self) -> str:
        """What it said on standard error, after its end."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()


class Terminal(Running):
    """In a pseudo-terminal of its own: what it shows, and what is typed."""

    def __init__(self, *arguments: str, rows: int = 40, columns: int = 120) -> None:
        super().__init__()
        self._size = rows, columns
        self._fd, slave = pty.openpty()
        termios.tcsetwinsize(slave, self._size)
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509  # touches no lock
            env={**os.environ, "TERM": "xterm-256color"},
        )
        os.close(slave)

    @property
    def screen(self) -> list[str]:
        """What somebody before it sees now."""
        rows, columns = self._size
        screen = pyte.Screen(columns, rows)
        pyte.ByteStream(screen).feed(self._raw)
        return [line.rstrip() for line in screen.display]

    def until_seen(self, *words: str) -> list[str]:
        """Wait until the screen shows all of this; the screen."""
        deadline = time.monotonic() + SECONDS
        while not all(word in "\n".join(self.screen) for word in words):
            assert time.monotonic() < deadline, f"no {words} in {self.screen}"
            assert self._read(), f"ended without {words}: {self.screen}"
        return self.screen

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._fd, keys.encode())

    def close(self) -> None:
        """Leave nothing behind."""
        super().close()
        os.close(self._fd)


def heed_interrupts() -> None:
    """Whatever started the tests may ignore SIGINT, or SIGHUP as `nohup` does, which is inherited."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _take_terminal() -> None:
    """Make the terminal the controlling one: then ^C becomes a signal."""
    heed_interrupts()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


Kind = TypeVar("Kind", bound=Running)


@contextmanager
def running(kind: type[Kind], *arguments: str, **size: int) -> Iterator[Kind]:
    """A command that ends with the block."""
    started = kind(*arguments, **size)
    try:
        yield started
    finally:
        started.close()


def detached(url: str, *arguments: str) -> str:
    """The id of a new scan."""
    shown = run("discover", "--detach", "--force-refresh", "--url", url, *arguments)
    assert shown.returncode == 0, shown.stderr
    assert re.fullmatch(r"scan_[0-9a-f]{42}\n", shown.stdout)
    return shown.stdout.strip()


def finished(url: str, *arguments: str) -> str:
    """The id of a scan that has ended."""
    scan_id = detached(url, *arguments)
    run("watch", scan_id, "--url", url)
    return scan_id


def scripted(script: Script, shards: int = 1) -> list[str]:
    """The flags of a scan that does what a test tells it."""
    parameters = script.request(shards)["parameters"]["scripted"]
    return [
        "--strategy=scripted",
        *(f"--parameter=scripted.{name}={value}" for name, value in parameters.items()),
    ]

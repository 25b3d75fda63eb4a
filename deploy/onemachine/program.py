"""A program that runs beside us, and ends with us: what it says goes to files, and it can be harmed."""

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio

LOOK_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Program:
    """One process, which may be started again after its end; always with the same command, on the same files."""

    def __init__(
        self, name: str, command: Sequence[str], directory: Path, environment: dict[str, str] | None = None
    ) -> None:
        """`directory`: where the files `NAME.out` and `NAME.err` are written."""
        self.name = name
        self.command = list(command)
        self.environment = {**os.environ, **(environment or {})}
        self._out, self._err = (directory / f"{name}.{kind}" for kind in ("out", "err"))
        self._begins = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it runs as long as we do, at most."""
        assert not self.runs, f"{self.name} runs"
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self._begins = out.tell()
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self.environment,
                start_new_session=True,  # Ctrl-C is for us: we end them in their order
                preexec_fn=_end_with_parent,  # noqa: PLW1509  # it calls one function of libc
            )

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The process, which was started."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def runs(self) -> bool:
        """Whether it does (or stands still)."""
        return self._process is not None and self._process.poll() is None

    @property
    def errors(self) -> str:
        """All that it has said on standard error, since its first start."""
        return self._err.read_text(errors="replace") if self._err.exists() else ""

    async def until_said(self, pattern: str, seconds: float) -> re.Match[str]:
        """Wait for this in what it says on standard output since its last start.

        :raises RuntimeError: if it ends, or does not say it in time; with its last words
        """
        with anyio.move_on_after(seconds):
            while True:
                runs = self.runs  # asked first: what a process says last is read, too
                with self._out.open("rb") as out:
                    out.seek(self._begins)
                    found = re.search(pattern, out.read().decode(errors="replace"))
                if found is not None:
                    return found
                if not runs:
                    break
                await anyio.sleep(LOOK_SECONDS)
        state = "does not say so" if self.runs else f"has ended with {self.process.returncode}"
        raise RuntimeError(f"{self.name} {state}: {self.errors[-1000:].strip()}")

    def send(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.runs:
            self.process.send_signal(number)

    def kill(self) -> None:
        """`kill -9`, and nothing of it is left."""
        self.send(signal.SIGKILL)
        self.process.wait()

    def pause(self) -> None:
        """SIGSTOP: it stands still as this returns, and its sockets stay open."""
        self.send(signal.SIGSTOP)  # noqa: TID251  # and waited for
        if self.runs:
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def go_on(self) -> None:
        """SIGCONT."""
        self.send(signal.SIGCONT)

    async def until_gone(self, seconds: float) -> int:
        """Wait for its end; its exit code.

        :raises TimeoutError: if it stays
        """
        with anyio.fail_after(seconds):
            while self.runs:  # noqa: ASYNC110  # the process of somebody else has no event
                await anyio.sleep(LOOK_SECONDS)
        return self.process.returncode

    async def stop(self, seconds: float) -> int:
        """SIGTERM, and wait; `kill -9` if it stays. Its exit code."""
        self.send(signal.SIGTERM)
        try:
            return await self.until_gone(seconds)
        except TimeoutError:
            self.kill()
            return self.process.returncode


def _end_with_parent() -> None:
    """Asks the kernel to end this process with the one that started it, however that ends (Linux)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

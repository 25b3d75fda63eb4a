"""A server as a process of its own, to be killed."""

import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MAIN = "from scanstream.cli import main\nmain()"
SAID_SECONDS = 30
STILL_SECONDS = 10


class ServerProcess:
    """`scanstream serve` on a free port, from the line that it prints."""

    def __init__(
        self, data: Path | str, *flags: str, environment: dict[str, str] | None = None, before: str | None = None
    ) -> None:
        """`before`: Python that the process runs first; then it is not waited for: see `until_serving`."""
        path = os.pathsep.join([str(Path(__file__).parent / "plugins"), os.environ.get("PYTHONPATH", "")])
        program = ["-m", "scanstream"] if before is None else ["-c", f"{before}\n{MAIN}"]
        command = [sys.executable, *program, "serve", "--port", "0", "--data", str(data), *flags]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path.rstrip(os.pathsep), **(environment or {})},
        )
        self.url = ""
        self._said = ""
        if before is None:
            self.until_serving()

    def until_serving(self) -> None:
        """Wait for the line with its address."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.search(r"https?://\S+:\d+", line)
        if match is None:
            _, errors = self.process.communicate(timeout=30)
            raise RuntimeError(f"the server did not start: {line}{errors}")
        self.url = match[0]

    def until_said(self, words: str) -> None:
        """Wait until it has said this on standard error."""
        assert self.process.stderr is not None
        deadline = time.monotonic() + SAID_SECONDS
        while words not in self._said:
            ready, _, _ = select.select([self.process.stderr], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self.process.stderr.fileno(), 65_536) if ready else b""
            if not piece:
                raise TimeoutError(f"it has not said {words!r} within {SAID_SECONDS} s, but: {self._said}")
            self._said += piece.decode(errors="replace")

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self.process.pid

    def workers(self) -> list[int]:
        """The process ids of its worker processes."""
        return children(self.pid)

    def use_up_descriptors(self) -> None:
        """From now on it can open nothing more, until `give_descriptors`."""
        use_up_descriptors(self.pid)

    def give_descriptors(self) -> None:
        """As many as there are."""
        give_descriptors(self.pid)

    def kill(self) -> None:
        """`kill -9`: nothing of it runs on."""
        self.process.kill()
        self.process.communicate(timeout=30)

    def ended(self, number: int = signal.SIGTERM) -> tuple[int, float, str]:
        """Send a signal: (exit code, seconds until it was gone, what it said on standard error)."""
        began = time.monotonic()
        self.process.send_signal(number)
        try:
            _, errors = self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        return self.process.returncode, time.monotonic() - began, self._said + errors

    def stop(self) -> int:
        """SIGTERM, and wait; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self.process.returncode


def children(pid: int) -> list[int]:
    """The processes that this one has started and that have not ended."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def use_up_descriptors(pid: int) -> None:
    """From now on the process can open nothing more."""
    used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    lowest_free = min(set(range(max(used) + 2)) - used)
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, hard))


def give_descriptors(pid: int) -> None:
    """As many as its hard limit has."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))


def stand_still(pid: int) -> None:
    """SIGSTOP, and return as it stands still, or is gone: each thread works on until the kernel comes to it."""
    os.kill(pid, signal.SIGSTOP)  # noqa: TID251  # and waited for
    until = time.monotonic() + STILL_SECONDS
    while any(state not in "TXZ" for state in _thread_states(pid)):
        if time.monotonic() > until:
            raise TimeoutError(f"process {pid} was told to stand still, and does not within {STILL_SECONDS} s")
        time.sleep(0.001)


def _thread_states(pid: int) -> list[str]:
    """The letter of each (see proc(5)); none of a process that is gone."""
    states = []
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # a thread that has ended meanwhile
            states.append(path.read_text().rpartition(")")[2].split()[0])
    return states


def exists(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


@contextmanager
def server_process(data: Path | str, *flags: str, before: str = "") -> Iterator[ServerProcess]:
    """A server process that ends with the block; `before` it Python that it runs first."""
    server = ServerProcess(data, *flags, before=before)
    try:
        server.until_serving()
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


def lines_until_killed(program: str, data: Path, count: int) -> list[str]:
    """Whole lines that this program (of tests/support) has printed before it was killed: `count`, or a few more."""
    here = Path(__file__).parent
    command = [sys.executable, str(here / program), str(data), str(count)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parent), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(count)]
        process.kill()
        lines += process.stdout.readlines()
    assert process.returncode == -9, "it ended by itself"
    return [line for line in lines if line.endswith("\n")]

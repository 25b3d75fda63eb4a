"""A server as a process of its own, to be killed."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ServerProcess:
    """`scanstream serve` on a free port, from the line that it prints."""

    def __init__(self, data: Path | str, *flags: str, environment: dict[str, str] | None = None) -> None:
        path = os.pathsep.join([str(Path(__file__).parent / "plugins"), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "scanstream", "serve", "--port", "0", "--data", str(data), *flags]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path.rstrip(os.pathsep), **(environment or {})},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.search(r"http://\S+:\d+", line)
        if match is None:
            _, errors = self.process.communicate(timeout=30)
            raise RuntimeError(f"the server did not start: {line}{errors}")
        self.url = match[0]

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self.process.pid

    def workers(self) -> list[int]:
        """The process ids of its worker processes."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def kill(self) -> None:
        """`kill -9`: nothing of it runs on."""
        self.process.kill()
        self.process.communicate(timeout=30)

    def stop(self) -> int:
        """SIGTERM, and wait; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self.process.returncode


@contextmanager
def server_process(data: Path | str, *flags: str) -> Iterator[ServerProcess]:
    """A server process that ends with the block."""
    server = ServerProcess(data, *flags)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()

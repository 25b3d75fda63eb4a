"""Somebody else's application, served by an ordinary uvicorn: nothing of ours is below it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from starlette.types import ASGIApp


@asynccontextmanager
async def hosted(app: ASGIApp, **options: Any) -> AsyncIterator[str]:
    """The application on a real socket, with its lifespan; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, lifespan="on", log_config=None, **options)
        server = uvicorn.Server(config)
        server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]

        async def serve() -> None:
            with anyio.CancelScope(shield=True):  # a cancelled uvicorn leaves its sockets behind
                await server.serve([listener])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            with anyio.fail_after(30):
                while not server.started:  # noqa: ASYNC110  # uvicorn tells nobody
                    await anyio.sleep(0.02)
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True


class HostProcess:
    """A module with an application, served by `python -m uvicorn` in a process of its own."""

    def __init__(self, directory: Path, module: str, *flags: str) -> None:
        """`module`: its source; the application in it is called `app`."""
        (directory / "hosted_here.py").write_text(module)
        path = os.pathsep.join([str(Path(__file__).parent / "plugins"), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "hosted_here:app", "--port", "0", "--app-dir", str(directory), *flags],
            stderr=subprocess.PIPE,
            text=True,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)},
            start_new_session=True,
        )
        self.said: list[str] = []

    def until_said(self, pattern: str) -> str:
        """Wait for a line on standard error; the first group of it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if match := re.search(pattern, line):
                return match[match.re.groups and 1]
        raise AssertionError(f"it ended without {pattern}:\n{''.join(self.said)}")

    def until_serving(self) -> str:
        """Its address, once it serves."""
        return self.until_said(r"running on (http://\S+:\d+)")

    def ended(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal, and wait for the end: (exit code, all that it said on standard error)."""
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=30)
        return self.process.returncode, "".join(self.said) + rest


@contextmanager
def host_process(directory: Path, module: str, *flags: str) -> Iterator[HostProcess]:
    """It is gone at the end, and the processes that it has started are."""
    host = HostProcess(directory, module, *flags)
    try:
        yield host
    finally:
        with suppress(ProcessLookupError):
            os.killpg(host.process.pid, signal.SIGKILL)
        host.process.communicate(timeout=30)

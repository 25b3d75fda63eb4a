"""Nodes of scanstream: web nodes, which have doors, and workers, which run shards."""

import sys
from collections.abc import Sequence
from pathlib import Path

from onemachine.program import Program

START_SECONDS = 60.0
STOP_SECONDS = 15.0


class Node(Program):
    """`scanstream serve` or `scanstream worker`, as a process."""

    def __init__(
        self,
        name: str,
        command: str,
        engine: str,
        directory: Path,
        flags: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.url = ""
        """Where a web node listens, once it runs; the same after a restart."""
        program = [sys.executable, "-m", "scanstream", command, "--engine", engine, *flags]
        super().__init__(name, program, directory, environment)


class Web(Node):
    """Takes requests, and runs no shards."""

    def __init__(
        self,
        name: str,
        engine: str,
        directory: Path,
        port: int,
        flags: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        given = ["--port", str(port), "--workers", "0", "--data", str(directory / name), *flags]
        super().__init__(name, "serve", engine, directory, given, environment)

    async def until_serving(self, seconds: float = START_SECONDS) -> None:
        """Wait for the line with its address."""
        self.url = (await self.until_said(r"http://\S+:\d+", seconds))[0]


class Worker(Node):
    """Runs shards, and has no doors."""

    def __init__(
        self,
        name: str,
        engine: str,
        directory: Path,
        flags: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        given = ["--data", str(directory / name), *flags]
        super().__init__(name, "worker", engine, directory, given, environment)

    async def until_serving(self, seconds: float = START_SECONDS) -> None:
        """Wait for the line that says that it takes shards."""
        await self.until_said(r"scanstream \S+ takes shards", seconds)

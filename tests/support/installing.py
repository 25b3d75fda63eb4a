"""Plug-ins as somebody would have them: packages that pip builds and installs, here into a directory of the test."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio import to_thread

from support.process import ServerProcess

OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet")
PLUGINS = Path(__file__).parent / "plugins"


def install(package: Path, target: Path) -> None:
    """Let pip install a package into a directory, with what builds it taken from this environment."""
    command = [sys.executable, "-m", "pip", "install", *OFFLINE, "--target", str(target), str(package)]
    subprocess.run(command, check=True)


def plug_in(target: Path, name: str, source: str, *classes: str) -> Path:
    """A module with these strategies, as an installer would leave it below `target`."""
    information = target / f"{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (target / f"{name}.py").write_text(source)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    points = "".join(f"{item.lower()} = {name}:{item}\n" for item in classes)
    (information / "entry_points.txt").write_text(f"[scanstream.strategies]\n{points}")
    return target


@asynccontextmanager
async def serving_with(target: Path, *flags: str, data: Path | str = ":memory:") -> AsyncIterator[ServerProcess]:
    """A server that finds what is installed there, beside the scripted strategy; killed if it runs after the block."""
    path = os.pathsep.join([str(target), str(PLUGINS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {"PYTHONPATH": path, "NO_PROXY": "127.0.0.1"}
    server = await to_thread.run_sync(lambda: ServerProcess(data, *flags, environment=environment))
    try:
        yield server
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(server.kill)

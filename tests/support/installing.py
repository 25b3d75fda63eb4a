"""Plug-ins as somebody would have them: packages that pip builds and installs, here into a directory of the test."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from scanstream.strategies import installed
from support.process import ServerProcess

OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet")
PLUGINS = Path(__file__).parent / "plugins"
OWN_PATH = os.environ.get("PYTHONPATH", "")


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


def python_path(*directories: Path) -> str:
    """PYTHONPATH of a process that finds what is installed below these, beside the scripted strategy."""
    return os.pathsep.join([*map(str, directories), str(PLUGINS), OWN_PATH]).rstrip(os.pathsep)


@contextmanager
def finding(*directories: Path) -> Iterator[None]:
    """In here this process finds them, too, and so does what it starts without another path."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", python_path(*directories))
        for directory in (PLUGINS, *directories):
            patched.syspath_prepend(str(directory))
        installed._found.cache_clear()
        yield
    installed._found.cache_clear()


@asynccontextmanager
async def serving_with(target: Path, *flags: str, data: Path | str = ":memory:") -> AsyncIterator[ServerProcess]:
    """A server that finds what is installed there, beside the scripted strategy; killed if it runs after the block."""
    environment = {"PYTHONPATH": python_path(target), "NO_PROXY": "127.0.0.1"}
    server = await to_thread.run_sync(lambda: ServerProcess(data, *flags, environment=environment))
    try:
        yield server
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(server.kill)

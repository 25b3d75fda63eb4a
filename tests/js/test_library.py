"""The browser library in Node, against a real server: `node --test` over tests/js/."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT
from support.process import server_process

pytestmark = pytest.mark.clients

TESTS = sorted((ROOT / "tests" / "js").glob("*.test.js"))
OLDEST = 20
SECONDS = 280


@pytest.fixture(scope="module")
def node() -> str:
    """Debian's is enough: any from 20 on."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not on this machine: apt-get install nodejs")
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.match(r"v(\d+)\.", told)
    if match is None or int(match[1]) < OLDEST:
        pytest.skip(f"node is {told.strip()}; the library needs {OLDEST} or newer")
    return found


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The server that all of them share; those that restart one have one of their own."""
    with server_process(":memory:") as server:
        yield server.url


@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_library(node: str, url: str, path: Path) -> None:
    run = subprocess.run(
        [node, "--experimental-websocket", "--no-warnings", "--test", str(path)],
        env={**os.environ, "SCANSTREAM_URL": url, "SCANSTREAM_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]

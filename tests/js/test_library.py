"""The browser library in Node: `node --test` over tests/js/."""

import shutil
import subprocess

import pytest

from conftest import ROOT

TESTS = sorted((ROOT / "tests" / "js").glob("*.test.js"))


@pytest.fixture(scope="module")
def node() -> str:
    """Debian's is enough: any from 20 on."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not on this machine: apt-get install nodejs")
    return found


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_library(node: str, path: str) -> None:
    run = subprocess.run([node, "--test", str(path)], capture_output=True, text=True, timeout=120, check=False)

    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]

"""The contracts that are committed: what the code says, as the official schemas have it."""

import subprocess
import sys
from pathlib import Path

import pytest

from docs.pages import DOCS

NAMES = ("openapi.json", "asyncapi.json")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the script has written what the code says."""
    directory = tmp_path_factory.mktemp("contracts")
    subprocess.run([sys.executable, DOCS / "contracts.py", directory], check=True, capture_output=True)
    return directory


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_is_what_the_code_says(name: str, written: Path) -> None:
    committed, now = (DOCS / name).read_text(), (written / name).read_text()

    assert committed == now, f"docs/{name} is out of date: run `python docs/contracts.py`, look at it, and commit it"

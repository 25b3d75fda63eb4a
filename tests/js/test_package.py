"""The browser library as an npm package: what it says of itself is there, and Node finds it by its name."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT

STATIC = ROOT / "static"
PACKAGE: dict[str, Any] = json.loads((STATIC / "package.json").read_text())
IMPORT = re.compile(r"""(?:\bfrom |^import |\bimport\()"(\.[^"]+)\.js\"""", re.M)
"""Types import each other by the names of what they are the types of."""


def packed() -> set[Path]:
    """What npm puts into the package."""
    return {path for pattern in PACKAGE["files"] for path in STATIC.glob(pattern)}


def test_it_is_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert (PACKAGE["version"], PACKAGE["license"]) == (project["version"], project["license"])


def test_what_it_exports_is_packed_and_so_is_what_that_needs() -> None:
    exported = [entry for entry in PACKAGE["exports"].values() if isinstance(entry, dict)]
    waiting = [STATIC / path for entry in exported for path in entry.values()]
    reached: set[Path] = set()
    while waiting:
        path = waiting.pop().resolve()
        if path not in reached:
            reached.add(path)
            ending = ".d.ts" if path.name.endswith(".d.ts") else ".js"
            waiting += [path.parent / f"{name}{ending}" for name in IMPORT.findall(path.read_text())]

    assert len(reached) > len(exported)
    assert reached <= packed(), sorted(reached - packed())
    assert "dependencies" not in PACKAGE


@pytest.mark.clients
def test_node_finds_it_by_its_name(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on this machine: apt-get install nodejs")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "scanstream").symlink_to(STATIC)
    words = (
        'import { Client } from "scanstream"; console.log(new Client("http://a:1/b", { transports: ["poll"] }).url);'
    )
    (tmp_path / "program.mjs").write_text(words)

    run = subprocess.run([node, "program.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert (run.returncode, run.stdout.strip()) == (0, "http://a:1/b/"), run.stderr

"""What a server brings along: docs/licences.md holds it, and all of it may be used by anybody."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT
from docs.pages import DOCS

SCRIPT = ROOT / "docs" / "licences.py"
KNOWN = re.compile(
    r"MIT( License)?|MIT-0|0BSD|Zlib|CC0-1\.0|PSF-2\.0|BSD-[23]-Clause|Apache[- ]2\.0|Apache 2 License|"
    r"Apache Software License|MPL-2\.0|Mozilla Public License 2\.0 \(MPL 2\.0\)"
)
"""Those under which whoever uses the package as it is owes nothing but its notice. Another one is a decision."""


def told(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What the script says."""
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_the_page_is_as_the_installed_packages_say() -> None:
    done = told("--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_every_licence_is_one_that_anybody_may_live_with() -> None:
    rows = re.findall(r"^\| (\S+)(?: \*)? \| \S+ \| (.+) \|$", (DOCS / "licences.md").read_text(), re.M)[2:]
    assert len(rows) > 20
    strange = [(name, said) for name, said in rows for one in re.split(r" AND | OR ", said) if not KNOWN.fullmatch(one)]
    assert strange == []


def workflow() -> dict[str, Any]:
    """The one that releases."""
    read: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    return read


def test_what_is_published_was_checked_audited_and_tried() -> None:
    jobs = workflow()["jobs"]
    steps = [step.get("run", "") for step in jobs["build"]["steps"]]
    checks = [step for step in steps if step.startswith("make")]
    assert checks == ["make check", "make audit", "make release"]
    assert jobs["publish"]["needs"] == "build"
    assert not any("checkout" in step.get("uses", "") for step in jobs["publish"]["steps"])


@pytest.mark.parametrize("job", workflow()["jobs"])
def test_a_job_has_no_more_rights_than_it_says(job: str) -> None:
    assert workflow()["permissions"] == {}
    rights = workflow()["jobs"][job]["permissions"]
    assert "write-all" not in rights
    assert rights["contents"] == "read"


@pytest.mark.parametrize("script", ["run", "lock", "audit", "release"])
def test_a_script_of_ci_stops_at_the_first_failure(script: str) -> None:
    text = Path(ROOT / ".ci" / script).read_text()
    assert re.search(r"^set -eu", text, re.M)

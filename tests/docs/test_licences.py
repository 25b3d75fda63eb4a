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
    r"MIT( License)?|MIT-0|0BSD|Zlib|CC0-1\.0|PSF-2\.0|BSD-[23]-Clause|3-Clause BSD License|Apache[- ]2\.0|"
    r"Apache 2 License|Apache Software License|MPL-2\.0|Mozilla Public License 2\.0 \(MPL 2\.0\)"
)
"""Those under which whoever uses the package as it is owes nothing but its notice. Another one is a decision."""


def told(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What the script says."""
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_the_page_is_as_the_installed_packages_say() -> None:
    done = told("--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_every_licence_is_one_that_anybody_may_live_with() -> None:
    rows = re.findall(r"^\| (\S+) \| \S+ \| (.+?) \| [\w, ]*\|$", (DOCS / "licences.md").read_text(), re.M)[1:]
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


def test_no_action_can_be_put_in_place_of_the_one_that_was_read() -> None:
    """A tag is moved by whoever owns it; a commit is what it is. The tag stands behind it, for people."""
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert len(used) >= 6
    assert [
        one for one in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", "".join(one))
    ] == []


@pytest.mark.parametrize("script", ["audit", "release"])
def test_what_builds_and_audits_is_pinned_by_its_hash(script: str) -> None:
    """Of a release's own files what is installed are those, as somebody will get them, by the versions of the lock."""
    lines = (ROOT / ".ci" / script).read_text().replace("\\\n", " ").splitlines()
    fetched = [line for line in lines if "pip" in line and " install " in line]
    assert fetched
    assert all("--require-hashes" in line or ("--constraint" in line and "${built}" in line) for line in fetched)
    assert not any("-m build" in line and "--no-isolation" not in line for line in lines)
    pinned = (ROOT / "requirements-release.lock").read_text()
    for wanted in ("build", "hatchling", "pip-audit", "twine"):
        assert re.search(rf"^{wanted}==\S+ \\\n    --hash=sha256:", pinned, re.M), wanted


@pytest.mark.parametrize("script", ["run", "lock", "audit", "release"])
def test_a_script_of_ci_stops_at_the_first_failure(script: str) -> None:
    text = Path(ROOT / ".ci" / script).read_text()
    assert re.search(r"^set -eu", text, re.M)

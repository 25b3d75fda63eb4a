"""The bench of the core measures what it says, of the real core; here of little, and quickly."""

import json
import sys
from pathlib import Path

import pytest

import core

LITTLE = {
    "ROUNDS": 1,
    "REGISTRATIONS": 20,
    "FINISHED": 30,
    "UNFINISHED": 25,
    "SHARDS": (4, 10),
    "QUEUED": 30,
    "RUNNING": 3,
}


@pytest.fixture
def _little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in LITTLE.items():
        monkeypatch.setattr(core, name, value)
    monkeypatch.setattr(sys, "setswitchinterval", lambda _: None)  # it would hold for the tests behind this one


@pytest.mark.usefixtures("_little")
def test_each_measure_has_its_figures_and_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["core.py", "--json", str(tmp_path / "core.json")])
    core.main()
    written = json.loads((tmp_path / "core.json").read_text())
    medians = {figure["case"]: figure["median"] for figure in written["figures"]}
    assert len(written["verdicts"]) == 3
    assert all(median > 0 for median in medians.values())
    queued = medians["a queued scan, each of its own"]
    running, finished = (
        medians[f"{what} 60 shards and 93 finds"] for what in ("a running scan, half of", "a finished scan,")
    )
    assert 500 < queued < running
    assert finished < running
    assert finished < medians["… of which the results as JSON would be"]

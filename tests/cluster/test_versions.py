"""Two versions of the code side by side: a scan that the later one has written is left to it by the earlier one."""

import os
import shutil
from pathlib import Path

import pytest

from cluster.harness import ended, planned, plugins, quick, refused_properly
from conftest import ROOT
from onemachine.cluster import running
from onemachine.node import Web, Worker
from onemachine.ports import free_ports
from scanstream.log.entry import FOLD_VERSION
from support.wire import discover, request, status

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


def later(directory: Path) -> dict[str, str]:
    """The environment of a node that runs a later version: this code, with a fold that is one further."""
    for part in ("server", "static"):
        shutil.copytree(ROOT / part, directory / part, ignore=shutil.ignore_patterns("__pycache__"))
    file = directory / "server" / "scanstream" / "log" / "entry.py"
    before, text = f"\nFOLD_VERSION = {FOLD_VERSION}\n", file.read_text()
    assert text.count(before) == 1
    file.write_text(text.replace(before, f"\nFOLD_VERSION = {FOLD_VERSION + 1}\n"))
    return {"PYTHONPATH": os.pathsep.join([str(directory / "server"), plugins()["PYTHONPATH"]])}


async def listed(url: str, query: str = "") -> list[str]:
    """The ids of the list of scans."""
    answer = await request(url, "GET", f"/opportunities/scans{query}")
    assert answer.status == 200, answer
    return [scan["scan_id"] for scan in answer.json()["scans"]]


async def test_a_rolling_update_to_a_later_fold(tmp_path: Path) -> None:
    cluster = planned(tmp_path, nodes=(1, 1, 1))
    [earlier_web], [earlier_worker] = cluster.web, cluster.workers
    engine, environment, flags = cluster.nats.engine, later(tmp_path / "later"), cluster.flags
    web = Web("later-web", engine, tmp_path, free_ports(1)[0], flags, environment)
    worker = Worker("later-worker", engine, tmp_path, [*flags, "--worker-priority", "low"], environment)
    async with running(cluster):
        try:
            web.start()
            await web.until_serving()
            old = (await discover(earlier_web.url, quick())).json()["scan_id"]
            new = (await discover(web.url, quick())).json()["scan_id"]
            assert (await ended(web.url, old))["status"] == "complete"
            assert refused_properly(await status(earlier_web.url, new))
            assert (await status(web.url, new)).json()["status"] == "scanning", "the earlier worker took it"
            worker.start()
            await worker.until_serving()
            assert (await ended(web.url, new))["status"] == "complete"
            assert refused_properly(await status(earlier_web.url, new))
            for node in (earlier_web, earlier_worker):
                lines = [line for line in node.errors.splitlines() if "newer version" in line]
                assert len(lines) == 1, node.errors
                assert node.runs
            again = (await discover(earlier_web.url, quick())).json()["scan_id"]
            assert (await ended(web.url, again))["status"] == "complete"
            assert await listed(web.url) == [again, new, old]
            assert await listed(earlier_web.url) == [again, old]
            assert await listed(earlier_web.url, f"?before={new}") == [old]
            assert (await status(earlier_web.url, "latest")).json()["scan_id"] == again
            assert (await status(earlier_web.url, old)).json()["status"] == "complete"
        finally:
            for node in (web, worker):
                if node.runs:
                    node.kill()

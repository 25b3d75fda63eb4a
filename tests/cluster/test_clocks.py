"""Nodes whose clocks are wrong by an hour: all say the same, and no scan is over before its time."""

import os
from pathlib import Path
from typing import Any

import anyio
import pytest

from cluster.harness import ended, planned, plugins, quick
from onemachine.cluster import Cluster, running
from support.wire import discover, request, results, status

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

RETENTION = 8.0
FRESH = 2.0
SHIFTED = """
import time
real, real_ns = time.time, time.time_ns
time.time, time.time_ns = (lambda: real() + {0}), (lambda: real_ns() + {0} * 10**9)
"""
"""What a node runs whose clock is wrong by so many seconds."""


def wrong(directory: Path, **hours: int) -> Cluster:
    """A cluster whose nodes are wrong by so many hours."""
    cluster = planned(directory, nodes=(1, 2, 1))
    for node in cluster.nodes:
        site = directory / f"clock of {node.name}"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SHIFTED.format(hours[node.name.replace("-", "_")] * 3600))
        node.environment["PYTHONPATH"] = os.pathsep.join([str(site), plugins()["PYTHONPATH"]])
    for node in cluster.web:
        node.command += ["--retention", f"{RETENTION:g}", "--fresh", f"{FRESH:g}"]
    return cluster


@pytest.mark.parametrize(
    "hours",
    [
        {"web_1": -1, "web_2": 1, "worker_1": 0},
        {"web_1": 0, "web_2": 1, "worker_1": -1},
        {"web_1": -1, "web_2": -1, "worker_1": -1},
    ],
    ids=lambda hours: ",".join(map(str, hours.values())),
)
@pytest.mark.timeout(180)
async def test_no_scan_is_over_before_its_time_and_for_all_at_once(tmp_path: Path, hours: dict[str, int]) -> None:
    async with running(wrong(tmp_path, **hours)) as cluster:
        urls = [node.url for node in cluster.web]
        for here, there in (urls, urls[::-1]):
            wanted = quick()
            began = anyio.current_time()
            scan_id = (await discover(here, wanted)).json()["scan_id"]
            for url in urls:
                assert (await ended(url, scan_id))["status"] == "complete"
                assert (await results(url, scan_id)).status == 200
            known = anyio.current_time()
            reused = [(await discover(url, wanted)).json() for url in urls]
            if anyio.current_time() - began < FRESH:
                assert [ack.get("reused") for ack in reused] == ["fresh", "fresh"]
                assert {ack["scan_id"] for ack in reused} == {scan_id}
            with anyio.fail_after(60):
                over = await _seen_until_over(urls, scan_id)
            assert began + RETENTION <= over + 0.5
            assert over <= known + RETENTION + 5
            assert (await status(here, scan_id)).body == (await status(there, scan_id)).body
            assert "reused" not in (await discover(there, wanted)).json(), "a stale one was reused"
    told = [sum("clock of this machine" in line for line in node.errors.splitlines()) for node in cluster.nodes]
    assert told == [int(hours[node.name.replace("-", "_")] != 0) for node in cluster.nodes]


async def _seen_until_over(urls: list[str], scan_id: str) -> float:
    """Ask all by turns until each has said that it has expired; once one has, nobody says otherwise. When that was."""
    first: float | None = None
    said: list[int] = []
    paths = [f"/opportunities/{kind}/{scan_id}" for kind in ("status", "results", "events")]
    while said[-6:] != [410] * 6:
        for path in paths:
            for url in urls:
                answer = await request(url, "GET", path)
                said.append(answer.status)
                listed: list[Any] = (await request(url, "GET", "/opportunities/scans")).json()["scans"]
                if answer.status == 410:
                    first = first or anyio.current_time()
                    assert scan_id not in [scan["scan_id"] for scan in listed]
                assert first is None or answer.status == 410, f"{answer.status} at {url}{path} after a 410"
    assert first is not None
    return first

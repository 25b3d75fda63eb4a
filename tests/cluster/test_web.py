"""Web nodes that die: their clients go on at another by cursor, and what they have acked is started."""

import os
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from cluster.harness import ended, ids_of, planned, plugins, quick
from onemachine.cluster import Cluster, running
from onemachine.node import Web
from onemachine.ports import free_ports
from scanstream.client.mirror import Mirror
from support.readers import READERS, Reader
from support.script import scripting
from support.until import until
from support.wire import discover

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

START_SECONDS = 10.0
"""A scan that was acked by a node that died then has started by then."""
DYING = """
import os, signal
from scanstream.scans.releases import Releases
Releases.release = lambda self, scan_id: os.kill(os.getpid(), signal.SIGKILL)
"""
"""What a web node runs that dies between its ack and the start of the scan."""


async def test_clients_of_a_web_node_that_dies_go_on_at_the_other(cluster: Cluster) -> None:
    """On every transport, in the middle of a scan: nothing is lost, and nothing comes twice."""
    here, there = cluster.web
    async with scripting() as script:
        scan_id = (await discover(here.url, script.request(2))).json()["scan_id"]
        with anyio.fail_after(30):
            await (await script.started()).tell("find 600", "end")
            shard = await script.started()
        mirrors = [Mirror() for _ in READERS]
        left = [anyio.Event() for _ in READERS]
        async with anyio.create_task_group() as tasks:
            for door, mirror, gone in zip(READERS, mirrors, left, strict=True):
                tasks.start_soon(_read_until_lost, door, here, scan_id, mirror, gone)
            await until(lambda: all(len(mirror.opportunities) == 600 for mirror in mirrors), 60)
            await to_thread.run_sync(here.kill)
            for gone in left:
                with anyio.fail_after(30):
                    await gone.wait()
        await shard.tell("find 50", "end")
        held = [mirror.opportunities[:] for mirror in mirrors]
        async with anyio.create_task_group() as tasks:
            for door, mirror in zip(READERS, mirrors, strict=True):
                tasks.start_soon(_read_to_the_end, door, there, scan_id, mirror)
        expected = await ids_of(there.url, scan_id)
        assert len(expected) == 650
        for door, mirror, before in zip(READERS, mirrors, held, strict=True):
            assert sorted(one["id"] for one in mirror.opportunities) == expected, door.name
            assert mirror.opportunities[: len(before)] == before, f"{door.name} began anew"
            assert mirror.state["status"] == "complete"


async def _read_until_lost(door: type[Reader], node: Web, scan_id: str, mirror: Mirror, gone: anyio.Event) -> None:
    with suppress(Exception):  # every library has a word of its own for a peer that was killed
        async with door.open(node.url, scan_id, mirror) as reader:
            await reader.until_end()
    gone.set()


async def _read_to_the_end(door: type[Reader], node: Web, scan_id: str, mirror: Mirror) -> None:
    with anyio.fail_after(60):
        async with door.open(node.url, scan_id, mirror) as reader:
            await reader.until_end()


async def test_what_a_web_node_has_acked_is_started_when_it_dies_at_once(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dying").mkdir()
    (tmp_path / "dying" / "sitecustomize.py").write_text(DYING)
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "dying"), plugins()["PYTHONPATH"]])}
    flags = [*cluster.flags]
    node = Web("dying", cluster.nats.engine, tmp_path, free_ports(1)[0], flags, environment)
    node.start()
    try:
        await node.until_serving()
        answer = await discover(node.url, quick())
        assert answer.status == 202, answer
        acked = anyio.current_time()
        assert await node.until_gone(30) == -9
    finally:
        if node.runs:
            node.kill()
    state = await ended(cluster.web[0].url, answer.json()["scan_id"], START_SECONDS + 30)
    waited = anyio.current_time() - acked
    with capsys.disabled():
        print(f"\na web node died between ack and start: the scan was complete {waited:.1f} s later")
    assert state["status"] == "complete"
    assert waited <= START_SECONDS


async def test_nodes_may_share_a_directory(tmp_path: Path) -> None:
    """With NATS it holds market data only: nobody takes away what another is just mapping."""
    shared = ("--data", str(tmp_path / "shared"))
    async with running(planned(tmp_path, nodes=(1, 2, 2), flags=shared)) as cluster:
        for node in cluster.web:
            scan_id = (await discover(node.url, {"strategy_ids": ["tsmom"], "symbols": ["BTC/USDT"]})).json()["scan_id"]
            assert (await ended(node.url, scan_id))["status"] == "complete"

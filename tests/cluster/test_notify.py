"""Ends of scans told elsewhere by several nodes: once while all goes well, and all the same when the teller dies."""

import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from cluster.harness import LEASE, plugins
from onemachine.cluster import Cluster, running
from onemachine.nats import nats
from onemachine.node import STOP_SECONDS, Worker
from scanstream.scans.sweeper import INTERVAL_SECONDS, OTHERS_AFTER_SECONDS
from support.receiver import DYING, Receiver, answers, notify, verified
from support.script import scripting
from support.wire import discover, until_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


@pytest.fixture
async def cluster(tmp_path: Path, receiver: Receiver) -> AsyncIterator[Cluster]:
    """Three web nodes that may tell the receiver, and a worker."""
    may = ["--notify", receiver.url("/"), "--notify-private", "127.0.0.0/8"]
    servers = nats(1, tmp_path / "nats")
    flags = ["--lease", f"{LEASE:g}"]
    made = Cluster(servers, tmp_path, web=3, workers=1, flags=flags, web_flags=may, environment=plugins())
    async with running(made) as cluster:
        yield cluster


async def test_each_is_told_once_whichever_nodes_they_and_the_scan_were_at(
    cluster: Cluster, receiver: Receiver
) -> None:
    """Asked for at every node, before the end and behind it; failed at first at one node, and told by another. Over all
    of them a scan has five addresses."""
    one, two, three = (node.url for node in cluster.web)
    receiver.next += [answers(500)] * 3
    secrets: set[str] = set()
    expected: set[str] = set()
    async with scripting() as script:
        for number in range(4):
            scan_id = (await discover(one, script.request(shards=1, force_refresh=True))).json()["scan_id"]
            for url, when in ((one, "a"), (two, "b"), (three, "a")):  # the first and the last are one address
                accepted = await notify(url, scan_id, receiver.url(f"/{number}/{when}"))
                secrets.add(accepted["signing_secret"])
                expected.add(accepted["notification_id"])
            with anyio.fail_after(60):
                await (await script.started()).tell("end")
            for url in (one, two):
                await until_terminal(url, scan_id)
            late = {
                (await notify(url, scan_id, receiver.url(f"/{number}/late")))["notification_id"] for url in (three, one)
            }
            for name in ("c", "d"):
                late.add((await notify(two, scan_id, receiver.url(f"/{number}/{name}")))["notification_id"])
            refused = await notify(one, scan_id, receiver.url(f"/{number}/e"), 422)
            assert "5 addresses already" in refused["detail"]
            expected |= late
    await receiver.until(len(expected) + 3, seconds=60)
    await anyio.sleep(2 * OTHERS_AFTER_SECONDS + 2 * INTERVAL_SECONDS)  # by then each node has looked at each end
    told = Counter(got.id for got in receiver.got)
    assert told.keys() == expected
    assert len(expected) == 20
    assert told.total() == len(expected) + 3
    [secret] = secrets
    assert all(verified(secret, got) for got in receiver.got)
    for got in receiver.got:
        assert got.body == next(other.body for other in receiver.got if other.id == got.id)


async def test_another_tells_where_the_node_dies_that_has_ended_the_scan(
    cluster: Cluster, receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "dying").mkdir()
    (tmp_path / "dying" / "sitecustomize.py").write_text(DYING)
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "dying"), plugins()["PYTHONPATH"]])}
    await cluster.workers[0].stop(STOP_SECONDS)
    dying = Worker("dying", cluster.nats.engine, tmp_path, cluster.flags, environment)
    dying.start()
    try:
        await dying.until_serving()
        url = cluster.web[0].url
        async with scripting() as script:
            scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
            accepted = await notify(url, scan_id, receiver.url())
            with anyio.fail_after(60):
                await (await script.started()).tell("end")
        assert await dying.until_gone(60) == -9
    finally:
        if dying.runs:
            dying.kill()
    [got] = await receiver.until(1, seconds=60)
    assert got.id == accepted["notification_id"]
    assert got.json()["data"]["status"] == "complete"

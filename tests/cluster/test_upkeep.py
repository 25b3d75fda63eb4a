"""What operators do by hand (docs/scaling.md): a backup and its restore, another lease, more scans that run at once."""

import shutil
from pathlib import Path

import anyio
import pytest
from nats.aio.client import Client

from cluster.harness import ended, ids_of, number_of, planned, quick, until_answers
from onemachine.cluster import running
from support.script import scripting
from support.wire import discover, request, status

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


async def test_a_copy_of_the_store_can_be_restored(tmp_path: Path) -> None:
    """Into other servers, for other nodes: ids, results and cursors work on, and what was unfinished is finished."""
    cluster = planned(tmp_path / "before", nodes=(1, 1, 1))
    async with running(cluster), scripting() as script:
        url = cluster.web[0].url
        scan_id = (await discover(url, quick())).json()["scan_id"]
        state = await ended(url, scan_id)
        found = await ids_of(url, scan_id)
        unfinished = (await discover(url, script.request(1))).json()
        with anyio.fail_after(30):
            await script.started()
        await cluster.nats.stop()
        cluster.kill()
        restored = planned(tmp_path / "after", nodes=(1, 1, 1))
        there = tmp_path / "after" / "nats" / "nats-1"
        shutil.rmtree(there)
        shutil.copytree(tmp_path / "before" / "nats" / "nats-1", there)
        async with running(restored):
            url = restored.web[0].url
            now = (await status(url, scan_id)).json()
            assert (now["status"], now["cursor"]) == (state["status"], state["cursor"])
            assert await ids_of(url, scan_id) == found
            since = f"/opportunities/status/{unfinished['scan_id']}?since={unfinished['cursor']}"
            assert number_of((await request(url, "GET", since)).json()["cursor"]) >= number_of(unfinished["cursor"])
            with anyio.fail_after(30):
                await (await script.started()).tell("find 3", "end")
            assert (await ended(url, unfinished["scan_id"]))["status"] == "complete"


async def test_lease_and_running_scans_can_be_changed(tmp_path: Path) -> None:
    """Stop the workers, remove the consumers, start the workers with other values; then the web nodes."""
    cluster = planned(tmp_path, nodes=(1, 1, 1))
    [web], [worker] = cluster.web, cluster.workers
    async with running(cluster), scripting() as script:
        done = (await discover(web.url, quick())).json()["scan_id"]
        await ended(web.url, done)
        unfinished = (await discover(web.url, script.request(1))).json()["scan_id"]
        with anyio.fail_after(30):
            await script.started()
        await worker.stop(15)
        waiting = (await discover(web.url, quick())).json()["scan_id"]
        client = Client()
        await client.connect(cluster.nats.engine)
        stream = client.jetstream()
        for where, name in (("SCANS", "planner"), ("JOBS", "compute"), ("JOBS", "wait"), ("DELIVERIES", "deliver")):
            assert await stream.delete_consumer(where, name)
        await client.close()
        for node in (worker, web):
            for flag, value in (("--lease", "4"), ("--max-running", "5")):
                node.command[node.command.index(flag) + 1] = value
        worker.start()
        await worker.until_serving()
        with anyio.fail_after(30):
            await (await script.started()).tell("find 1", "end")
        for scan_id in (done, unfinished, waiting):
            assert (await ended(web.url, scan_id))["status"] == "complete"
        assert await web.stop(15) == 0
        web.start()
        await web.until_serving()
        await until_answers(web, 200)
        assert (await ended(web.url, (await discover(web.url, quick())).json()["scan_id"]))["status"] == "complete"

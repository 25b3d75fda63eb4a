"""Workers that die, stand still or are told to end while they have work: another goes on, within the lease."""

import signal
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from cluster.harness import LEASE, SPARE, ended, ids_of, until_answers
from onemachine.cluster import Cluster
from onemachine.node import Worker
from support.script import RunningShard, Script, scripting
from support.wire import discover

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

FOUND = 3


def node_of(cluster: Cluster, shard: RunningShard) -> Worker:
    """The worker whose process runs this shard."""
    parent = int(Path(f"/proc/{shard.pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    [node] = [worker for worker in cluster.workers if worker.runs and worker.pid == parent]
    return node


def other(cluster: Cluster, node: Worker) -> Worker:
    """The other worker."""
    [found] = [worker for worker in cluster.workers if worker is not node]
    return found


async def begun(cluster: Cluster, script: Script, shards: int = 1) -> tuple[str, RunningShard]:
    """A scan whose first shard runs and has found something."""
    answer = await discover(cluster.web[0].url, script.request(shards))
    assert answer.status == 202, answer
    with anyio.fail_after(30):
        shard = await script.started()
    await shard.tell(f"find {FOUND}")
    return answer.json()["scan_id"], shard


async def heard(shard: RunningShard, *words: str) -> bool:
    """Whether it was told; it was not if its node was killed since it began, and then it begins again."""
    try:
        await shard.tell(*words)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return False
    return True


async def finish(script: Script, number: int = 0, seconds: float = 2 * LEASE + 30) -> float:
    """Let each shard that starts find all and end, until this one has started; how long that took."""
    since = anyio.current_time()
    with anyio.fail_after(seconds):
        while True:
            shard = await script.started()
            waited = anyio.current_time() - since
            if await heard(shard, f"find {FOUND}", "end") and shard.number == number:
                return waited


async def check(cluster: Cluster, scan_id: str, shards: int = 1) -> None:
    """It is complete, and all is found once, on every web node the same."""
    found = []
    for node in cluster.web:
        state = await ended(node.url, scan_id)
        assert state["status"] == "complete", state
        found.append(await ids_of(node.url, scan_id))
    assert len(found[0]) == FOUND * shards
    assert found == [found[0]] * len(found)


async def test_a_worker_that_dies_in_mid_shard_costs_at_most_the_lease(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    async with scripting() as script:
        scan_id, shard = await begun(cluster, script)
        await to_thread.run_sync(node_of(cluster, shard).kill)
        waited = await finish(script)
        await check(cluster, scan_id)
    with capsys.disabled():
        print(f"\na worker killed in mid-shard: it ran again {waited:.1f} s later, with a lease of {LEASE:g} s")
    assert waited <= LEASE + SPARE


async def test_whoever_conducts_a_scan_may_die(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """One of two workers conducts it: first the one that runs no shard dies, and when that is back, the other one."""
    async with scripting() as script:
        scan_id, shard = await begun(cluster, script, shards=2)
        with anyio.fail_after(30):
            second = await script.started()
        await second.tell(f"find {FOUND}", "end")
        await second.until_gone()
        running = node_of(cluster, shard)
        idle = other(cluster, running)
        await to_thread.run_sync(idle.kill)
        idle.start()
        await idle.until_serving()
        await to_thread.run_sync(running.kill)
        waited = await finish(script, shard.number)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(finish, script, -1)  # the other one, if its outcome died with its worker
            await check(cluster, scan_id, shards=2)
            tasks.cancel_scope.cancel()
    with capsys.disabled():
        print(f"\nboth workers killed, one after the other: the shard ran again {waited:.1f} s after the second death")
    assert waited <= LEASE + SPARE


async def test_a_worker_that_stood_still_comes_back_to_what_another_did(cluster: Cluster) -> None:
    async with scripting() as script:
        scan_id, shard = await begun(cluster, script)
        node = node_of(cluster, shard)
        node.pause()
        await finish(script)
        await check(cluster, scan_id)
        await shard.tell(f"find {FOUND + 4}", "end")  # its node hears of that as it goes on
        node.go_on()
        await shard.until_gone()
        await check(cluster, scan_id)


async def test_a_worker_that_is_told_to_end_gives_back_at_once(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    async with scripting() as script:
        scan_id, shard = await begun(cluster, script)
        node = node_of(cluster, shard)
        node.send(signal.SIGTERM)
        waited = await finish(script)
        assert await node.until_gone(15) == 0, node.errors
        await check(cluster, scan_id)
    with capsys.disabled():
        print(f"\na worker told to end in mid-shard: it ran again {waited:.1f} s later")
    assert waited < LEASE


@pytest.mark.parametrize("dies", ["its process", "the whole node"])
async def test_a_shard_that_kills_its_worker_each_time_fails_after_the_third(cluster: Cluster, dies: str) -> None:
    async with scripting() as script:
        answer = await discover(cluster.web[0].url, script.request(2))
        scan_id, attempts = answer.json()["scan_id"], 0
        with anyio.move_on_after(6 * LEASE + 60) as late:
            async with anyio.create_task_group() as tasks:

                async def obey() -> None:
                    nonlocal attempts
                    while True:
                        shard = await script.started()
                        if shard.number:
                            await heard(shard, f"find {FOUND}", "end")
                            continue
                        attempts += 1
                        if dies == "its process":
                            await shard.tell("die")
                        else:
                            node = node_of(cluster, shard)
                            await to_thread.run_sync(node.kill)
                            node.start()

                tasks.start_soon(obey)
                state = await ended(cluster.web[0].url, scan_id, 6 * LEASE + 60)
                tasks.cancel_scope.cancel()
        assert not late.cancelled_caught
    assert attempts == 3, state
    assert state["strategies"]["scripted"]["status"] == "failed", state
    for node in cluster.web:
        assert (await ended(node.url, scan_id))["status"] == state["status"] == "failed"
    await until_answers(cluster.web[0], 200)

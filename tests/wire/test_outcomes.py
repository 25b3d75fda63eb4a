"""How shards come out, and what the scan makes of it; the worker processes are real, and really die."""

import os
import signal

import anyio
import pytest

from conftest import Serve
from scanstream.client.mirror import Mirror
from support.script import RunningShard, Script, scripting
from support.wire import ONE_QUICK_SCAN, Socket, results, status, websocket

pytestmark = pytest.mark.anyio

WITH_MOMENTUM = {"strategy_ids": ["scripted", "tsmom"], "symbols": ["BTC/USDT"]}


async def discover(socket: Socket, script: Script, shards: int, **more: object) -> tuple[str, Mirror]:
    """A scripted scan, followed on this socket."""
    await socket.send(type="discover", request=script.request(shards, **more))
    ack = await socket.receive()
    assert ack["type"] == "ack", ack
    return ack["scan_id"], Mirror()


async def test_every_step_is_pushed_live(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script, websocket(url) as socket:
        _, mirror = await discover(socket, script, shards=2)
        seen = []
        for _ in range(2):
            shard = await script.started()
            while mirror.state.get("strategies", {}).get("scripted", {}).get("status") != "running":
                mirror.apply(await socket.receive())
            seen.append(mirror.state["progress"]["percentage"])
            await shard.tell("find 3", "end")
            await shard.until_gone()
            while mirror.state["progress"]["shards_completed"] == shard.number:
                mirror.apply(await socket.receive())
        await socket.until_end(mirror, mirror.state["scan_id"])
        assert seen == [0, 50]
        assert mirror.state["progress"]["percentage"] == 100
        assert len(mirror.opportunities) == 6
        assert mirror.state["estimated_time_remaining_seconds"] == 0


async def test_a_strategy_that_raises_fails_and_the_scan_completes_with_the_others(serve: Serve) -> None:
    async with serve(workers=2) as url, scripting() as script, websocket(url) as socket:
        scan_id, mirror = await discover(socket, script, shards=2, **WITH_MOMENTUM)
        await (await script.started()).tell("find 2", "fail out of luck")
        await (await script.started()).tell("find 2", "end")
        await socket.until_end(mirror, scan_id)
        assert mirror.state["status"] == "complete"
        assert "scripted (failed)" in mirror.state["message"]
        failed = mirror.state["strategies"]["scripted"]
        assert (failed["status"], failed["error"]["code"]) == ("failed", "strategy_error")
        assert "out of luck" in failed["error"]["detail"]
        assert "scripted.py, line" in failed["error"]["detail"]
        assert mirror.state["strategies"]["tsmom"]["status"] == "complete"
        assert failed["opportunities_found"] == 2


async def test_a_scan_whose_every_strategy_fails_has_failed_and_keeps_what_it_found(serve: Serve) -> None:
    async with serve(workers=2) as url, scripting() as script, websocket(url) as socket:
        scan_id, mirror = await discover(socket, script, shards=2)
        await (await script.started()).tell("fail no")
        await (await script.started()).tell("find 1", "end")
        await socket.until_end(mirror, scan_id)
        assert (mirror.state["status"], mirror.state["success"]) == ("failed", True)
        assert "no" in mirror.state["error"]["detail"]
        answer = (await results(url, scan_id)).json()
        assert (answer["status"], answer["total_opportunities"]) == ("failed", 1)


@pytest.mark.parametrize("how", ["itself", "from outside"])
async def test_a_worker_that_dies_is_replaced_and_the_shard_runs_again(serve: Serve, how: str) -> None:
    async with serve(workers=1) as url, scripting() as script, websocket(url) as socket:
        scan_id, mirror = await discover(socket, script, shards=1)
        first = await script.started()
        await _die(first, how)
        second = await script.started()
        assert (second.number, second.pid != first.pid) == (first.number, True)
        await second.tell("find 2", "end")
        await socket.until_end(mirror, scan_id)
        assert mirror.state["status"] == "complete"
        assert len({found["id"] for found in mirror.opportunities}) == 2


async def _die(shard: RunningShard, how: str) -> None:
    await shard.tell("find 1")
    if how == "itself":
        await shard.tell("die")
    else:
        os.kill(shard.pid, signal.SIGKILL)
    await shard.until_gone()


async def test_a_shard_that_always_kills_its_worker_fails_alone(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script, websocket(url) as socket:
        scan_id, mirror = await discover(socket, script, shards=1, **WITH_MOMENTUM)
        for _ in range(3):
            await (await script.started()).tell("die")
        await socket.until_end(mirror, scan_id)
        failed = mirror.state["strategies"]["scripted"]
        assert (failed["status"], failed["error"]["code"]) == ("failed", "worker_died")
        assert mirror.state["status"] == "complete"


async def test_an_idle_worker_that_dies_is_not_missed(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script, websocket(url) as socket:
        scan_id, mirror = await discover(socket, script, shards=1)
        shard = await script.started()
        await shard.tell("end")
        await socket.until_end(mirror, scan_id)
        os.kill(shard.pid, signal.SIGKILL)
        await socket.send(type="discover", request=ONE_QUICK_SCAN)
        quick = (await socket.receive())["scan_id"]
        assert (await socket.until_end(Mirror(), quick)).state["status"] == "complete"


async def test_scans_over_the_running_limit_wait_in_line_and_know_their_rank(serve: Serve) -> None:
    async with serve(workers=1, max_running=1) as url, scripting() as script, websocket(url) as socket:
        first, _ = await discover(socket, script, shards=1)
        shard = await script.started()
        ranks = []
        for _ in range(2):
            async with websocket(url) as other:
                waiting, mirror = await discover(other, script, shards=1, force_refresh=True)
                while mirror.state.get("phase") != "queued":
                    mirror.apply(await other.receive())
            ranks.append((await status(url, waiting)).json()["rank"])
        assert ranks == [1, 2]
        assert "rank" not in (await status(url, first)).json()
        for _ in range(3):
            await shard.tell("end")
            await shard.until_gone()
            if ranks:
                ranks.pop()
                shard = await script.started()


async def test_identical_discovers_share_a_scan_and_a_forced_one_has_its_own(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script, websocket(url) as socket:
        first, mirror = await discover(socket, script, shards=1)
        await socket.send(type="discover", id="again", request=script.request(1))
        while (again := await socket.receive())["type"] != "ack":
            mirror.apply(again)
        assert (again["scan_id"], again["reused"], again["status"]) == (first, "running", "scanning")
        with anyio.fail_after(20):
            await (await script.started()).tell("find 1", "end")
            await socket.until_end(mirror, first)
        await socket.send(type="discover", id="fresh", request=script.request(1))
        fresh = await socket.receive()
        assert (fresh["scan_id"], fresh["reused"], fresh["status"]) == (first, "fresh", "complete")
        assert (await socket.until_end(Mirror(), first)).state == mirror.state
        forced, own = await discover(socket, script, shards=1, force_refresh=True)
        assert forced != first
        await (await script.started()).tell("end")
        await socket.until_end(own, forced)
        assert (await results(url, first)).json()["total_opportunities"] == 1
        assert (await results(url, forced)).json()["total_opportunities"] == 0

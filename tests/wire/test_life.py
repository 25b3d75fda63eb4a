"""A scan's whole life in every order: cancelled at each moment, expired under its readers, restarted in each phase."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from conftest import Serve
from scanstream.client.mirror import Mirror
from support.script import Script, scripting
from support.wire import ONE_QUICK_SCAN, Answer, Socket, discover, request, results, status, until_terminal, websocket

pytestmark = pytest.mark.anyio


async def cancel(url: str, scan_id: str) -> Answer:
    """Ask for a scan's end."""
    return await request(url, "POST", f"/opportunities/cancel/{scan_id}")


async def follow(socket: Socket, wanted: dict[str, Any]) -> tuple[str, Mirror]:
    """Discover on a socket."""
    await socket.send(type="discover", request=wanted)
    ack = await socket.receive()
    assert ack["type"] == "ack", ack
    return ack["scan_id"], Mirror()


async def test_cancel_while_running_keeps_what_was_found_and_stops_the_shards(serve: Serve) -> None:
    async with serve(workers=2) as url, scripting() as script, websocket(url) as socket:
        scan_id, mirror = await follow(socket, script.request(shards=3))
        first, second = await script.started(), await script.started()
        await first.tell("find 2", "end")
        third = await script.started()
        answer = await cancel(url, scan_id)
        assert answer.status == 202
        assert answer.json()["phase"] in ("cancelling", "done")
        with anyio.fail_after(10):
            await second.until_gone()
            await third.until_gone()
            await socket.until_end(mirror, scan_id)
        assert (mirror.state["status"], mirror.state["phase"]) == ("cancelled", "done")
        assert mirror.state["strategies"]["scripted"]["status"] == "cancelled"
        assert mirror.state["progress"]["percentage"] == 33
        answer = await results(url, scan_id)
        assert (answer.status, answer.json()["status"], answer.json()["total_opportunities"]) == (200, "cancelled", 2)
        again = await cancel(url, scan_id)
        assert (again.status, again.json()["status"]) == (202, "cancelled")


async def test_cancel_of_a_queued_scan_is_terminal_at_once(serve: Serve) -> None:
    async with serve(workers=1, max_running=1) as url, scripting() as script:
        running = (await discover(url, script.request(shards=1))).json()["scan_id"]
        shard = await script.started()
        waiting = (await discover(url, script.request(shards=1, force_refresh=True))).json()["scan_id"]
        answer = await cancel(url, waiting)
        assert (answer.json()["status"], answer.json()["phase"]) == ("cancelled", "done")
        await shard.tell("end")
        assert (await until_terminal(url, running))["status"] == "complete"


async def test_cancel_after_the_last_outcome_changes_nothing(serve: Serve) -> None:
    async with serve() as url:
        scan_id = (await discover(url)).json()["scan_id"]
        before = await until_terminal(url, scan_id)
        answer = await cancel(url, scan_id)
        assert (answer.status, answer.json()["status"]) == (202, "complete")
        assert await until_terminal(url, scan_id) == before


async def test_cancel_on_a_socket_is_acked_and_ends_the_scan_for_all_who_follow(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script, websocket(url) as one, websocket(url) as two:
        scan_id, mirror = await follow(one, script.request(shards=1))
        await script.started()
        await two.send(type="subscribe", scan_id=scan_id)
        await two.send(type="cancel", id="c", scan_id=scan_id)
        acks = [message async for message in _until_ended(two)]
        assert {"type": "ack", "id": "c", "scan_id": scan_id} in acks
        await one.until_end(mirror, scan_id)
        assert mirror.state["status"] == "cancelled"
        fresh = (await discover(url, script.request(shards=1))).json()
        assert "reused" not in fresh
        await cancel(url, fresh["scan_id"])


async def _until_ended(socket: Socket) -> Any:
    while (message := await socket.receive())["type"] != "end":
        yield message


async def test_unsubscribe_is_the_last_word_about_a_scan(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script, websocket(url) as socket:
        scan_id, _ = await follow(socket, script.request(shards=1))
        shard = await script.started()
        await socket.send(type="unsubscribe", id="u", scan_id=scan_id)
        while (message := await socket.receive())["type"] != "ack":
            assert message["scan_id"] == scan_id
        await shard.tell("find 1", "end")
        assert (await until_terminal(url, scan_id))["status"] == "complete"
        await socket.send(type="ping", id="p")
        assert (await socket.receive()) == {"type": "pong", "id": "p"}


async def test_two_sockets_on_one_scan_see_the_same(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script, websocket(url) as one, websocket(url) as two:
        scan_id, first = await follow(one, script.request(shards=1))
        same_id, second = await follow(two, script.request(shards=1))
        assert same_id == scan_id
        await (await script.started()).tell("find 7", "end")
        await one.until_end(first, scan_id)
        await two.until_end(second, scan_id)
        assert (first.state, first.opportunities, first.cursor) == (second.state, second.opportunities, second.cursor)


async def test_an_expired_scan_is_gone_and_a_forged_one_never_was(serve: Serve) -> None:
    async with serve(retention=0.2, fresh=0) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        answer = await status(url, scan_id)
        while answer.status == 200:
            await anyio.sleep(0.05)  # as a script polls: expiry is a matter of time
            answer = await status(url, scan_id)
        assert answer.status == 410
        assert answer.json() == {
            "success": False,
            "status": "expired",
            "scan_id": scan_id,
            "message": "This scan has expired. Please initiate a new scan.",
        }
        for path in ("results", "events"):
            assert (await request(url, "GET", f"/opportunities/{path}/{scan_id}")).status == 410
        assert (await cancel(url, scan_id)).status == 410
        assert (await status(url, "scan_" + "0" * 42)).status == 404
        async with websocket(url) as socket:
            await socket.send(type="subscribe", scan_id=scan_id)
            assert (await socket.receive())["code"] == "expired"
        assert (await request(url, "GET", "/opportunities/scans")).json()["scans"] == []


@pytest.mark.parametrize("phase", ["init", "queued", "running", "cancelling", "done"])
async def test_a_restart_in_each_phase(serve: Serve, tmp_path: Path, phase: str) -> None:
    data = str(tmp_path)
    async with scripting() as script:
        async with serve(data=data, workers=0 if phase in ("init", "queued") else 1, max_running=1) as url:
            scan_id = (await discover(url, script.request(shards=2))).json()["scan_id"]
            await _bring_to(url, script, scan_id, phase)
            before = (await status(url, scan_id)).json()
        async with serve(data=data, workers=1) as url:
            assert (await status(url, scan_id)).json()["success"]
            if before["status"] == "scanning" and phase != "cancelling":
                missing = 2 - before["progress"]["shards_completed"]
                for _ in range(missing):
                    await (await script.started()).tell("find 1", "end")
            final = await until_terminal(url, scan_id)
            found = (await results(url, scan_id)).json()["opportunities"]
    if phase == "cancelling":
        assert final["status"] == "cancelled"
    else:
        assert final["status"] == "complete"
        assert len({opportunity["id"] for opportunity in found}) == 2


async def _bring_to(url: str, script: Script, scan_id: str, phase: str) -> None:
    if phase in ("init", "queued"):
        return
    await (await script.started()).tell("find 1", "end")
    shard = await script.started()
    if phase == "cancelling":
        await cancel(url, scan_id)
    if phase == "done":
        await shard.tell("find 1", "end")
        await until_terminal(url, scan_id)


async def test_a_strategy_over_its_budget_times_out_and_the_scan_completes(serve: Serve) -> None:
    low = "low"  # of an idle worker that a busy machine starves, the budget would be over before its shard begins
    async with (
        serve(workers=1, budget=3.0, worker_priority=low) as url,
        scripting() as script,
        websocket(url) as socket,
    ):
        scan_id, mirror = await follow(socket, script.request(shards=2))
        shard = await script.started()
        await shard.tell("hang")
        await socket.until_end(mirror, scan_id)
        await shard.until_gone()
        assert mirror.state["status"] == "failed"
        timed_out = mirror.state["strategies"]["scripted"]
        assert (timed_out["status"], timed_out["error"]["code"]) == ("timed_out", "timed_out")
        assert "budget of 3 s" in timed_out["error"]["detail"]
        quick, own = await follow(socket, ONE_QUICK_SCAN)
        assert (await socket.until_end(own, quick)).state["status"] == "complete"


async def test_latest_is_the_newest_scan_on_every_door(serve: Serve) -> None:
    async with serve() as url, websocket(url) as socket:
        assert (await status(url, "latest")).status == 404
        ids = [(await discover(url)).json()["scan_id"] for _ in range(3)]
        for scan_id in ids:
            await until_terminal(url, scan_id)
        assert (await status(url, "latest")).json()["scan_id"] == ids[-1]
        assert (await results(url, "latest")).json()["scan_id"] == ids[-1]
        await socket.send(type="subscribe", scan_id="latest")
        assert (await socket.receive())["scan_id"] == ids[-1]
        listed = (await request(url, "GET", "/opportunities/scans")).json()["scans"]
        assert [scan["scan_id"] for scan in listed] == ids[::-1]
        page = (await request(url, "GET", f"/opportunities/scans?limit=1&before={ids[2]}")).json()["scans"]
        assert [scan["scan_id"] for scan in page] == [ids[1]]


async def test_an_idempotency_key_is_one_scan_for_ever(serve: Serve) -> None:
    async with serve() as url:
        key = {"idempotency-key": "order-66"}
        body = b'{"symbols": "BTC/USDT", "strategy_ids": "tsmom"}'
        plain = (await request(url, "POST", "/opportunities/discover", body)).json()
        first = (await request(url, "POST", "/opportunities/discover", body, key)).json()
        assert first["scan_id"] != plain["scan_id"]
        await until_terminal(url, first["scan_id"])
        again = (await request(url, "POST", "/opportunities/discover", body, key)).json()
        assert (again["scan_id"], again["status"]) == (first["scan_id"], "complete")
        other = await request(url, "POST", "/opportunities/discover", b"{}", key)
        assert (other.status, other.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
        empty = await request(url, "POST", "/opportunities/discover", body, {"idempotency-key": "x" * 256})
        assert empty.status == 422


async def test_a_hundred_identical_discovers_at_once_make_one_scan(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script:
        ids: list[str] = []

        async def one() -> None:
            ids.append((await discover(url, script.request(shards=1))).json()["scan_id"])

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(one)
        assert len(ids) == 100
        assert len(set(ids)) == 1
        await (await script.started()).tell("end")
        await until_terminal(url, ids[0])


async def test_a_scan_that_failed_in_part_is_not_reused(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script:
        wanted = script.request(shards=1, strategy_ids=["scripted", "tsmom"], symbols="BTC/USDT")
        first = (await discover(url, wanted)).json()["scan_id"]
        await (await script.started()).tell("fail")
        assert (await until_terminal(url, first))["status"] == "complete"
        second = (await discover(url, wanted)).json()
        assert second["scan_id"] != first
        assert "reused" not in second
        await cancel(url, second["scan_id"])

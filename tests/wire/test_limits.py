"""Limits are for new work only: what an existing scan answers is answered at any load, and no limit is overshot."""

from typing import Any

import anyio
import msgspec
import pytest

from conftest import Serve
from scanstream.log.cursor import parse
from scanstream.message import MOST_FOLLOWED
from support.script import scripting
from support.wire import Answer, Socket, discover, request, websocket

pytestmark = pytest.mark.anyio

MOST = 12


def wanted(number: int, **more: Any) -> dict[str, Any]:
    """A request unlike those of other numbers."""
    return {"symbols": ["BTC/USDT"], "strategy_ids": ["tsmom"], "capital_usd": number + 1, **more}


async def keyed(url: str, key: str, request_: Any) -> Answer:
    """A discover with an idempotency key."""
    body = msgspec.json.encode(request_)
    return await request(url, "POST", "/opportunities/discover", body, {"idempotency-key": key})


async def ask(socket: Socket, **message: Any) -> dict[str, Any]:
    """A discover over the socket, and its answer: an ack or an error."""
    await socket.send(type="discover", id="asked", **message)
    while (answer := await socket.receive()).get("id") != "asked":
        pass
    return answer


async def test_many_at_once_do_not_overshoot(serve: Serve) -> None:
    answers: list[Answer] = []

    async def ask_for(number: int) -> None:
        answers.append(await discover(url, wanted(number)))

    async with serve(workers=0, max_scans=MOST) as url:
        async with anyio.create_task_group() as tasks:
            for number in range(4 * MOST):
                tasks.start_soon(ask_for, number)
        listed = (await request(url, "GET", "/opportunities/scans?limit=100")).json()["scans"]
    assert sorted(answer.status for answer in answers) == [202] * MOST + [429] * 3 * MOST
    assert len(listed) == MOST
    for answer in answers:
        if answer.status == 429:
            assert answer.json()["code"] == "too_many_scans"
            assert int(answer.headers["retry-after"]) > 0


async def test_identical_requests_take_no_place_of_others(serve: Serve) -> None:
    """Three scans of thirty requests fit where there are three places: nobody is refused for the moment."""
    answers: list[Answer] = []

    async def ask_for(number: int) -> None:
        answers.append(await discover(url, wanted(number % 3)))

    async with serve(workers=0, max_scans=3) as url, anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(ask_for, number)
    assert [answer.status for answer in answers] == [202] * 30
    assert len({answer.json()["scan_id"] for answer in answers}) == 3


async def test_at_the_limit_existing_scans_answer_and_new_work_is_refused(serve: Serve) -> None:
    async with serve(workers=0, max_scans=2) as url, websocket(url) as socket:
        plain = (await discover(url, wanted(1))).json()["scan_id"]
        with_key = (await keyed(url, "mine", wanted(2))).json()["scan_id"]
        again = await discover(url, wanted(1))
        assert (again.status, again.json()["reused"], again.json()["scan_id"]) == (202, "running", plain)
        assert (await keyed(url, "mine", wanted(2))).json()["scan_id"] == with_key
        assert (await keyed(url, "mine", wanted(3))).json()["errors"][0]["field"] == "Idempotency-Key"
        for refused in (
            await discover(url, wanted(3)),
            await discover(url, wanted(2)),  # a keyed scan answers its key only
            await discover(url, wanted(1, force_refresh=True)),
            await keyed(url, "other", wanted(1)),
        ):
            assert (refused.status, refused.json()["code"]) == (429, "too_many_scans")
        assert (await ask(socket, request=wanted(1)))["scan_id"] == plain
        assert (await ask(socket, request=wanted(2), idempotency_key="mine"))["scan_id"] == with_key
        for message in ({"request": wanted(3)}, {"request": wanted(1, force_refresh=True)}):
            error = await ask(socket, **message)
            assert (error["code"], error["retry_after"]) == ("too_many_scans", 5)
        await request(url, "POST", f"/opportunities/cancel/{plain}")
        assert (await discover(url, wanted(3))).status == 202  # a place is free again


async def test_a_fresh_scan_answers_at_the_limit(serve: Serve) -> None:
    quick = {"symbols": ["BTC/USDT"], "strategy_ids": ["tsmom"], "parameters": {"tsmom": {"walk_forward": 0}}}
    async with serve(workers=1, max_scans=1) as url, websocket(url) as socket, scripting() as script:
        done = (await ask(socket, request=quick))["scan_id"]
        while (await socket.receive())["type"] != "end":
            pass
        assert (await discover(url, script.request(shards=1))).status == 202
        shard = await script.started()
        assert (await discover(url, wanted(1))).status == 429
        fresh = await discover(url, quick)
        assert (fresh.json()["reused"], fresh.json()["scan_id"]) == ("fresh", done)
        await shard.tell("end")


async def test_a_full_connection_still_takes_discovers_of_what_it_follows(serve: Serve) -> None:
    async with serve(workers=0) as url, websocket(url) as socket:
        followed = [(await ask(socket, request=wanted(number)))["scan_id"] for number in range(MOST_FOLLOWED)]
        again = await ask(socket, request=wanted(7))
        assert (again["type"], again["scan_id"], again["reused"]) == ("ack", followed[7], "running")
        before = await newest(url)
        elsewhere = (await discover(url, wanted(2000))).json()["scan_id"]
        for refused in (
            await ask(socket, request=wanted(1000)),
            await ask(socket, request=wanted(7, force_refresh=True)),
            await ask(socket, request=wanted(2000)),  # exists, and is not followed here
            await ask(socket, request=wanted(1), idempotency_key="new"),
        ):
            assert refused["code"] == "too_many_subscriptions"
        assert await newest(url) == elsewhere != before  # nothing was registered for a connection that cannot follow it
        await socket.send(type="unsubscribe", scan_id=followed[0])
        assert (await ask(socket, request=wanted(1000)))["type"] == "ack"


async def newest(url: str) -> str:
    """The id of the caller's newest scan."""
    scan_id: str = (await request(url, "GET", "/opportunities/status/latest")).json()["scan_id"]
    return scan_id


async def test_a_cancel_that_is_asked_for_without_end_is_written_once(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        await script.started()
        phases = [(await request(url, "POST", f"/opportunities/cancel/{scan_id}")).json()["phase"] for _ in range(20)]
        assert phases[:2] == ["cancelling"] * 2
        answer = await request(url, "GET", f"/opportunities/results/{scan_id}?wait=30")
        cursor = parse(answer.json()["cursor"])
        assert cursor is not None
        assert cursor.position.seq <= 6, "registered, queued, planned, started, to be cancelled, cancelled"

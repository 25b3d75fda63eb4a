"""What a WebSocket can ask for beside the plain following: the state only, a key of one's own, how far a scan is."""

import pytest

from conftest import Serve
from scanstream.client.mirror import Mirror
from support.script import scripting
from support.wire import discover, request, until_terminal, websocket

pytestmark = pytest.mark.anyio

MANY = {
    "strategy_ids": ["scripted"],
    "parameters": {"scripted": {"shards": 2, "found": 700}},
    "force_refresh": True,
}
UNTOLD = {"opportunities", "offset", "more"}


async def test_a_reader_of_the_state_gets_no_opportunity_and_a_later_one_gets_all(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script, websocket(url) as socket:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        shard = await script.started()
        mirror = Mirror()
        await socket.send(type="subscribe", scan_id=scan_id, only="state")
        assert (await socket.receive())["type"] == "ack"
        await shard.tell("find 1200", "end")
        while not mirror.ended:
            message = await socket.receive()
            assert not UNTOLD & message.keys()
            mirror.apply(message)
        state = await until_terminal(url, scan_id)
        assert mirror.state == {name: state[name] for name in mirror.state}
        assert (mirror.state["total_opportunities"], mirror.cursor) == (1200, state["cursor"])

        await socket.send(type="subscribe", scan_id=scan_id, since=mirror.cursor)
        assert (await socket.receive())["type"] == "ack"
        mirror.ended = False
        await socket.until_end(mirror, scan_id)
        assert len(mirror.opportunities) == 1200


async def test_the_state_only_of_a_scan_that_has_ended(serve: Serve) -> None:
    async with serve(workers=1) as url, websocket(url) as socket:
        scan_id = (await discover(url, MANY)).json()["scan_id"]
        await until_terminal(url, scan_id)
        for since in (None, "of another"):
            await socket.send(type="subscribe", scan_id=scan_id, only="state", since=since)
            kinds = [await socket.receive() for _ in range(3)]
            assert [message["type"] for message in kinds] == ["ack", "snapshot", "end"]
            assert kinds[2]["cursor"].endswith(".0")


@pytest.mark.parametrize("only", ["opportunities", "", 7, ["state"]])
async def test_nothing_but_the_state_can_be_asked_for_alone(serve: Serve, only: object) -> None:
    async with serve(workers=0) as url, websocket(url) as socket:
        scan_id = (await discover(url)).json()["scan_id"]
        await socket.send(type="subscribe", id="1", scan_id=scan_id, only=only)
        answer = await socket.receive()
        assert (answer["type"], answer["id"], answer["errors"][0]["field"]) == ("error", "1", "only")


@pytest.mark.parametrize("key", ["order-66", "Bestellung für 66 €", "a, b"])
async def test_a_key_is_one_scan_whichever_door_it_comes_by(serve: Serve, key: str) -> None:
    async with serve(workers=0) as url, websocket(url) as socket:
        wanted = {"symbols": "BTC/USDT"}
        ids = []
        for _ in range(2):
            await socket.send(type="discover", request=wanted, idempotency_key=key)
            while (message := await socket.receive())["type"] != "ack":
                pass
            ids.append(message["scan_id"])
        over_http = await request(
            url, "POST", "/opportunities/discover", b'{"symbols": "BTC/USDT"}', {"idempotency-key": key}
        )
        assert {*ids, over_http.json()["scan_id"]} == {ids[0]}
        plain = (await discover(url, wanted)).json()
        assert plain["scan_id"] != ids[0]


@pytest.mark.parametrize(("key", "again"), [("", {}), ("x" * 256, {}), ("order-66", {"symbols": "ETH/USDT"})])
async def test_a_key_that_cannot_be_is_refused_by_name(serve: Serve, key: str, again: dict[str, str]) -> None:
    async with serve(workers=0) as url, websocket(url) as socket:
        await socket.send(type="discover", request={}, idempotency_key="order-66")
        assert (await socket.receive())["type"] == "ack"
        assert (await socket.receive())["type"] == "snapshot"
        await socket.send(type="discover", id="1", request=again, idempotency_key=key)
        while (answer := await socket.receive())["type"] == "update":
            pass
        assert (answer["code"], answer["id"]) == ("invalid_request", "1")
        assert answer["errors"][0]["field"] == "idempotency_key"


async def test_an_ack_says_how_far_the_scan_is(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script, websocket(url) as socket:
        wanted = script.request(shards=2)
        first = (await discover(url, wanted)).json()
        assert first["progress"] == {
            "strategies_completed": 0,
            "total_strategies": 1,
            "shards_completed": 0,
            "total_shards": 0,
            "opportunities_found_so_far": 0,
            "percentage": 0,
        }
        await (await script.started()).tell("find 3", "end")
        last = await script.started()
        again = (await discover(url, wanted)).json()
        await socket.send(type="subscribe", scan_id=first["scan_id"])
        for ack in (again, await socket.receive()):
            assert ack["progress"] == {
                "strategies_completed": 0,
                "total_strategies": 1,
                "shards_completed": 1,
                "total_shards": 2,
                "opportunities_found_so_far": 3,
                "percentage": 50,
            }
        await last.tell("end")
        final = await until_terminal(url, first["scan_id"])
        assert (await discover(url, wanted)).json()["progress"] == final["progress"]

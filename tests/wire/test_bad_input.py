"""Bad input: a clear error that names the field, the connection kept where that is sound, nothing lost."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from conftest import Serve
from scanstream.client.mirror import Mirror
from scanstream.model import DiscoverRequest
from support.wire import ONE_QUICK_SCAN, Socket, discover, request, websocket

pytestmark = pytest.mark.anyio

BAD_REQUESTS: list[tuple[dict[str, Any], str, str]] = [
    ({"symbols": ["NOPE/USDT"]}, "symbols", "NOPE/USDT"),
    ({"symbols": 5}, "symbols", "Expected"),
    ({"symbols": ["BTC/USDT", 7]}, "symbols[1]", "Expected `str`"),
    ({"strategy_ids": ["astrology"]}, "strategy_ids", "astrology"),
    ({"colour": "red"}, "colour", "no such field"),
    ({"force_refresh": "yes"}, "force_refresh", "Expected"),
    ({"capital_usd": 0}, "capital_usd", "> 0"),
    ({"capital_usd": "many"}, "capital_usd", "Expected"),
    ({"filter_by_risk_level": "extreme"}, "filter_by_risk_level", "extreme"),
    ({"asset_tiers": "huge"}, "asset_tiers", "huge"),
    ({"opportunity_type": ["luck"]}, "opportunity_type", "luck"),
    ({"preferred_timeframes": "soon"}, "preferred_timeframes", "soon"),
    ({"symbols": []}, "symbols", "names nothing"),
    ({"strategy_ids": " , "}, "strategy_ids", "names nothing"),
    ({"opportunity_type": [""]}, "opportunity_type", "names nothing"),
    ({"symbols": ["x" * 1_000_000]}, "symbols[0]", "length <= 100"),
    ({"symbols": [f"{number}" for number in range(95_000)]}, "symbols", "length <= 10000"),
    ({"preferred_timeframes": [f"{number}m" for number in range(95_000)]}, "preferred_timeframes", "length <= 10000"),
    ({"x" * 1_000_000: 1}, "x" * 99 + "…", "no such field"),
    ({"parameters": {"tsmom": {"z_min": "x" * 1_000_000}}}, "parameters", "at most 16384"),
    ({"parameters": {"tsmom": {"lookback": "long"}}}, "parameters.tsmom.lookback", "Expected `int`"),
    ({"parameters": {"tsmom": {"lookback": 1}}}, "parameters.tsmom.lookback", ">= 2"),
    ({"parameters": {"tsmom": {"magic": 1}}}, "parameters.tsmom.magic", "no such parameter"),
    ({"parameters": {"astrology": {}}}, "parameters.astrology", "no strategy"),
    ({"parameters": {"pairs": {}, "tsmom": 5}}, "parameters.tsmom", "Expected `object"),
    ({"parameters": {"tsmom": ["lookback"]}}, "parameters.tsmom", "Expected `object"),
    ({"parameters": {"pairs": None, "tsmom": {"x" * 101: 1}}}, "parameters.tsmom", "length <= 100"),
    ({"parameters": {"x" * 101: {}}}, "parameters", "length <= 100"),
]


@pytest.mark.parametrize(("wanted", "field", "reason"), BAD_REQUESTS)
async def test_a_bad_request_is_refused_by_field_on_both_doors(
    serve: Serve, wanted: dict[str, Any], field: str, reason: str
) -> None:
    async with serve(workers=0) as url:
        answer = await discover(url, wanted)
        assert answer.status == 422
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert (problem["code"], problem["status"]) == ("invalid_request", 422)
        assert [error["field"] for error in problem["errors"]] == [field]
        assert reason in problem["errors"][0]["reason"]
        async with websocket(url) as socket:
            await socket.send(type="discover", id="x", request=wanted)
            error = await socket.receive()
            assert (error["type"], error["id"], error["code"]) == ("error", "x", "invalid_request")
            assert error["errors"] == problem["errors"]
            await _still_works(socket)


async def test_a_megabyte_of_unknown_names_has_a_short_answer_on_both_doors(serve: Serve) -> None:
    """And the server answers the next one: 20 errors of however many, within 32 KiB, and the loop goes on."""
    unknown = [f"{'é' * 60}{number}/{'😀' * 4}" for number in range(5000)]
    async with serve(workers=0) as url:
        answer = await discover(url, {"symbols": unknown})
        assert (answer.status, len(answer.json()["errors"])) == (422, 20)
        assert len(answer.body) <= 32 * 1024
        assert "and more than" in answer.json()["detail"]
        async with websocket(url) as socket:
            await socket.send(type="discover", id="x" * 64, request={"symbols": unknown})
            frame = await socket.connection.recv()
            assert len(frame.encode() if isinstance(frame, str) else frame) <= 32 * 1024
            await socket.send(type="subscribe", id="y", scan_id="z" * 1_000_000)
            assert len((await socket.receive())["scan_id"]) <= 100
            await _still_works(socket)
        absent = await request(url, "GET", f"/opportunities/status/{'z' * 20_000}")
        assert (absent.status, len(absent.body) < 1000) == (404, True)


async def test_names_are_taken_in_any_case(serve: Serve) -> None:
    kindly = {"symbols": " btc/usdt,", "strategy_ids": ["TSMOM"], "filter_by_risk_level": "Medium"}
    exactly = {"symbols": ["BTC/USDT"], "strategy_ids": ["tsmom"], "filter_by_risk_level": "medium"}
    async with serve(workers=0) as url:
        first, again = await discover(url, kindly), await discover(url, exactly)
    assert (again.json()["scan_id"], again.json()["reused"]) == (first.json()["scan_id"], "running")
    assert first.json()["filters"] == exactly


async def test_all_bad_fields_are_named_at_once(serve: Serve) -> None:
    async with serve(workers=0) as url:
        answer = await discover(url, {"symbols": "A,B", "strategy_ids": "x", "parameters": {"y": {}}})
        assert [error["field"] for error in answer.json()["errors"]] == [
            "symbols",
            "symbols",
            "strategy_ids",
            "parameters.y",
        ]


MALFORMED: list[tuple[str, str]] = [
    ("{", "invalid_json"),
    ("", "invalid_json"),
    ("[" * 100_000, "invalid_message"),
    ('{"type":"ping","x":' + "[" * 50_000 + "]" * 50_000 + "}", "invalid_json"),
    ('{"a": NaN}', "invalid_json"),
    ("[]", "invalid_message"),
    ('"ping"', "invalid_message"),
    ("{}", "invalid_message"),
    ('{"type":"dance"}', "invalid_message"),
    ('{"type":"ping","id":7}', "invalid_message"),
    ('{"type":"subscribe"}', "invalid_message"),
    ('{"type":"subscribe","scan_id":5}', "invalid_message"),
]


async def test_malformed_messages_are_answered_and_the_connection_is_kept(serve: Serve) -> None:
    async with serve(workers=0) as url, websocket(url) as socket:
        for text, code in MALFORMED:
            await socket.connection.send(text)
            error = await socket.receive()
            assert (error["type"], error["code"]) == ("error", code), text[:40]
            await _still_works(socket)


async def test_an_error_repeats_the_id_of_its_message(serve: Serve) -> None:
    async with serve(workers=0) as url, websocket(url) as socket:
        await socket.send(type="subscribe", id="mine")
        assert (await socket.receive())["id"] == "mine"
        await socket.send(type="subscribe", id="other", scan_id="scan_x")
        error = await socket.receive()
        assert (error["id"], error["code"], error["scan_id"]) == ("other", "not_found", "scan_x")


async def test_malformed_messages_in_a_row_end_the_connection(serve: Serve) -> None:
    async with serve(workers=0) as url, websocket(url) as socket:
        for _ in range(10):
            await socket.connection.send("{")
        heard = [message async for message in _until_closed(socket)]
        assert [message["code"] for message in heard] == ["invalid_json"] * 10
        assert socket.connection.close_code == 1008


async def test_what_cannot_be_understood_at_all_closes_with_its_code(serve: Serve) -> None:
    async with serve(workers=0, max_message=2048) as url:
        for send, code in (
            (lambda socket: socket.connection.send(b"bytes"), 1003),
            (lambda socket: socket.connection.send("x" * 3000), 1009),
            (_send_invalid_utf8, 1007),
        ):
            async with websocket(url) as socket:
                await send(socket)
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.receive()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == code
                assert " " in closed.value.rcvd.reason


async def _until_closed(socket: Socket) -> AsyncIterator[dict[str, Any]]:
    with suppress(ConnectionClosed):
        async for text in socket.connection:
            yield msgspec.json.decode(text)


async def _send_invalid_utf8(socket: Socket) -> None:
    connection = socket.connection
    async with connection.send_context():
        connection.protocol.send_text(b"\xff\xfe")


async def test_bodies_over_the_limit_and_bodies_that_are_no_json(serve: Serve) -> None:
    async with serve(workers=0, max_message=2048) as url:
        too_large = await request(url, "POST", "/opportunities/discover", b" " * 3000 + b"{}")
        assert (too_large.status, too_large.json()["code"]) == (413, "too_large")
        for body in (b"{", b"\xff\xfe", b'{"parameters":{"tsmom":{"x":' + b"[" * 1500):
            answer = await request(url, "POST", "/opportunities/discover", body)
            assert (answer.status, answer.json()["code"]) == (400, "invalid_json"), body[:10]
        null = await request(url, "POST", "/opportunities/discover", b"null")
        assert null.status == 422


async def test_foreign_and_impossible_cursors_lead_to_a_snapshot(serve: Serve) -> None:
    async with serve() as url, websocket(url) as socket:
        await socket.send(type="discover", request=ONE_QUICK_SCAN)
        scan_id = (await socket.receive())["scan_id"]
        mirror = await socket.until_end(Mirror(), scan_id)
        assert mirror.cursor is not None
        epoch = mirror.cursor.partition("-")[0]
        for since in ("", "junk", "00000000-1.0", f"{epoch}-999.0", f"{epoch}-1.9", f"{epoch}-0.0", "x" * 500):
            await socket.send(type="subscribe", scan_id=scan_id, since=since)
            assert (await socket.receive())["type"] == "ack"
            snapshot = await socket.receive()
            assert snapshot["type"] == "snapshot", since
            assert snapshot["state"] == mirror.state
            assert (await socket.receive())["type"] == "end"
        await socket.send(type="subscribe", scan_id=scan_id, since=mirror.cursor)
        assert [(await socket.receive())["type"] for _ in range(2)] == ["ack", "end"]


async def test_foreign_origins_and_foreign_hosts_are_refused(serve: Serve) -> None:
    async with serve(workers=0, allow_origin=("https://friend.example",)) as url:
        with pytest.raises(InvalidStatus) as refused:
            async with websocket(url, origin="https://evil.example"):
                pass
        assert refused.value.response.status_code == 403
        for origin in ("https://friend.example", url):
            async with websocket(url, origin=origin) as socket:
                await _still_works(socket)
        foreign = {"origin": "https://evil.example"}
        answer = await request(url, "POST", "/opportunities/discover", b"{}", foreign)
        assert (answer.status, answer.json()["code"]) == (403, "forbidden")
        assert "--allow-origin" in answer.json()["detail"]
        rebound = await request(url, "GET", "/metrics", headers={"host": "evil.example"})
        assert rebound.status == 403


async def test_paths_and_methods_that_do_not_exist_are_problems_too(serve: Serve) -> None:
    async with serve(workers=0) as url:
        for method, path, status in (("GET", "/nowhere", 404), ("GET", "/opportunities/discover", 405)):
            answer = await request(url, method, path)
            assert answer.status == status
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == status


async def _still_works(socket: Socket) -> None:
    await socket.send(type="ping", id="after")
    assert msgspec.json.encode(await socket.receive()) == b'{"type":"pong","id":"after"}'


async def test_a_null_is_as_good_as_absent_wherever_it_is(serve: Serve) -> None:
    fields = DiscoverRequest.__struct_fields__
    nulls: list[dict[str, Any]] = [
        dict.fromkeys(fields),
        {"parameters": {"tsmom": None, "astrology": None}},
        {"parameters": {"tsmom": {"lookback": None, "walk_forward": None}}},
    ]
    async with serve(workers=0) as url:
        bare = (await discover(url, {})).json()
        for wanted in nulls:
            again = (await discover(url, wanted)).json()
            assert (again["scan_id"], again["reused"], again["filters"]) == (bare["scan_id"], "running", {})
        kept = (await discover(url, {"parameters": {"tsmom": {"lookback": 99, "z_min": None}}})).json()
        assert kept["filters"]["parameters"] == {"tsmom": {"lookback": 99}}

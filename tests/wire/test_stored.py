"""What the store holds, asked for over every door: damaged, expired, and in order whatever the clock does."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from conftest import Serve
from scanstream.engines.schema import DATABASE
from scanstream.engines.sqlite import SqliteStore
from scanstream.log.hub import Hub
from support.wire import ONE_QUICK_SCAN, Answer, discover, request, results, status, until_terminal, websocket

pytestmark = pytest.mark.anyio

WANTED = {**ONE_QUICK_SCAN, "force_refresh": False}
OTHER = {**WANTED, "symbols": ["ETH/USDT"]}


class Clock:
    """The wall clock of the server, which somebody sets."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time_ns(self) -> int:
        return time.time_ns() + round(self.ahead * 1e9)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """The clock that entries are stamped with and expiry is judged by."""
    clock = Clock()
    monkeypatch.setattr("scanstream.model.time", clock)
    return clock


async def cancelled(url: str, wanted: Any) -> str:
    """A scan that was cancelled before anybody could start it; its id."""
    scan_id: str = (await discover(url, wanted)).json()["scan_id"]
    await request(url, "POST", f"/opportunities/cancel/{scan_id}")
    assert (await until_terminal(url, scan_id))["status"] == "cancelled"
    return scan_id


async def listed(url: str, query: str = "") -> list[str]:
    """The ids in the caller's list."""
    answer = await request(url, "GET", f"/opportunities/scans{query}")
    assert answer.status == 200, answer
    return [scan["scan_id"] for scan in answer.json()["scans"]]


async def every_question(url: str, scan_id: str) -> list[Answer]:
    """What each route says about one scan."""
    return [
        await status(url, scan_id),
        await request(url, "GET", f"/opportunities/status/{scan_id}?since=x-1.0&wait=5"),
        await results(url, scan_id),
        await request(url, "GET", f"/opportunities/events/{scan_id}"),
        await request(url, "POST", f"/opportunities/cancel/{scan_id}"),
        await request(url, "GET", f"/opportunities/scans?before={scan_id}"),
    ]


async def socket_says(url: str, scan_id: str) -> str:
    """The code with which a WebSocket refuses to follow a scan."""
    async with websocket(url) as socket:
        await socket.send(type="subscribe", scan_id=scan_id)
        code: str = (await socket.receive())["code"]
        return code


async def follow_says(url: str, *scan_ids: str) -> dict[str, str]:
    """What a long poll of them all says of each: the code of an error, else the kind of the message."""
    body = msgspec.json.encode({"follow": [{"scan_id": scan_id} for scan_id in scan_ids]})
    answer = await request(url, "POST", "/opportunities/follow", body)
    return {frame["scan_id"]: frame.get("code", frame["type"]) for frame in answer.json()["frames"]}


@pytest.mark.parametrize("seq", [1, 2])
async def test_a_damaged_scan_says_so_and_all_others_go_on(serve: Serve, tmp_path: Path, seq: int) -> None:
    async with serve(data=str(tmp_path), workers=0) as url:
        whole = await cancelled(url, OTHER)
        hit = await cancelled(url, WANTED)
        await until_settled(tmp_path, hit)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection, connection:
        connection.execute("UPDATE entries SET body = x'a5a5' WHERE scan_id = ? AND seq = ?", (hit, seq))
    async with serve(data=str(tmp_path), workers=0) as url:
        assert await listed(url) == [whole]
        for answer in await every_question(url, hit):
            assert (answer.status, answer.json()["code"]) == (500, "damaged")
            assert "damaged" in answer.json()["detail"]
            assert str(tmp_path) not in answer.body.decode()
        assert (await status(url, "latest")).status == 500  # an older one in its place would be a lie
        assert await socket_says(url, hit) == "damaged"
        assert await follow_says(url, hit, whole) == {hit: "damaged", whole: "snapshot"}
        again = await discover(url, WANTED)
        assert (again.status, again.json()["status"]) == (202, "initiated")
        assert await listed(url) == [again.json()["scan_id"], whole]
        assert (await status(url, whole)).status == 200


async def until_settled(data: Path, scan_id: str) -> None:
    """Until the database knows that the scan has ended: from then on nobody reads it at a start."""
    with anyio.fail_after(20), closing(sqlite3.connect(data / DATABASE)) as connection:
        query = "SELECT expires_at FROM scans WHERE scan_id = ? AND expires_at IS NOT NULL"
        while connection.execute(query, (scan_id,)).fetchone() is None:  # noqa: ASYNC110  # SQLite tells nobody
            await anyio.sleep(0.02)


async def test_expiry_is_judged_at_the_question_however_late_the_sweeper_is(
    serve: Serve, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(SqliteStore, "expired", nothing)
    monkeypatch.setattr(Hub, "expire_all", nothing)
    async with serve(workers=0, retention=100.0) as url, websocket(url) as socket:
        keyed = await keyed_discover(url)
        await request(url, "POST", f"/opportunities/cancel/{keyed}")
        first = await cancelled(url, WANTED)
        clock.ahead = 50
        assert (await status(url, first)).status == 200
        assert await keyed_discover(url) == keyed
        second = await cancelled(url, OTHER)
        clock.ahead = 101
        for answer in await every_question(url, first):
            assert (answer.status, answer.json()["status"]) == (410, "expired")
        assert await socket_says(url, first) == "expired"
        assert await follow_says(url, second, first) == {second: "snapshot", first: "expired"}
        assert await listed(url) == [second]
        assert await keyed_discover(url) != keyed
        clock.ahead = 300
        await socket.send(type="discover", request=WANTED)
        fresh = (await socket.receive())["scan_id"]
        assert (await status(url, "latest")).json()["scan_id"] == fresh
        assert await listed(url, "?limit=1") == [fresh]


async def keyed_discover(url: str) -> str:
    """The id of the scan that was asked for with a key."""
    answer = await request(url, "POST", "/opportunities/discover", b"{}", {"idempotency-key": "the key"})
    assert answer.status == 202, answer
    scan_id: str = answer.json()["scan_id"]
    return scan_id


async def test_no_scan_of_those_that_have_expired_is_the_latest(serve: Serve, clock: Clock) -> None:
    async with serve(workers=0, retention=100.0) as url:
        await cancelled(url, WANTED)
        clock.ahead = 101
        assert (await status(url, "latest")).status == 404
        assert await listed(url) == []


async def test_the_order_is_that_of_registration_though_the_clock_is_set_back(serve: Serve, clock: Clock) -> None:
    async with serve(workers=0) as url:
        ids: list[str] = []
        for number, ahead in enumerate((0.0, -7200.0, 3600.0, -3600.0, -3600.0)):
            clock.ahead = ahead
            answer = await discover(url, {**WANTED, "capital_usd": 1000.0 + number})
            ids.insert(0, answer.json()["scan_id"])
            assert (await status(url, "latest")).json()["scan_id"] == ids[0]
        assert await listed(url) == ids
        assert await listed(url, "?limit=2") == ids[:2]
        for place, scan_id in enumerate(ids):
            assert await listed(url, f"?before={scan_id}") == ids[place + 1 :]


async def test_what_is_reused_answers_for_a_while_yet(serve: Serve, clock: Clock) -> None:
    async with serve(workers=1, retention=100.0, fresh=100.0) as url:
        first = (await discover(url, WANTED)).json()["scan_id"]
        with anyio.fail_after(60):
            assert (await until_terminal(url, first))["status"] == "complete"
        clock.ahead = 40  # 60 are left, and half of the retention is asked for
        assert (await discover(url, WANTED)).json()["reused"] == "fresh"
        clock.ahead = 51
        answer = (await discover(url, WANTED)).json()
        assert "reused" not in answer
        assert answer["scan_id"] != first
        assert (await status(url, first)).status == 200

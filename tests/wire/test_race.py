"""The story that scanstream ends: an id is handed out, and the next request hears `not_found`."""

from collections import Counter
from typing import Any

import anyio
import pytest

from conftest import Serve
from scanstream.client.mirror import Mirror
from support.wire import ONE_QUICK_SCAN, Socket, discover, request, results, status, until_terminal, websocket

pytestmark = pytest.mark.anyio

QUICK = 150
FULL = 2000
AT_ONCE = 8


async def each(count: int, work: Any) -> None:
    """Do `work` so many times, a few at once."""
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await work()

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_ONCE):
            tasks.start_soon(worker)


@pytest.mark.parametrize("count", [QUICK, pytest.param(FULL, marks=pytest.mark.soak)])
@pytest.mark.timeout(600)
async def test_status_right_after_an_http_ack_is_never_not_found(serve: Serve, count: int) -> None:
    heard: Counter[str] = Counter()

    async with serve(max_scans=10_000) as url:

        async def race() -> None:
            ack = await discover(url)
            assert ack.status == 202, ack
            scan_id = ack.json()["scan_id"]
            assert ack.headers["location"] == ack.json()["poll_url"] == f"/opportunities/status/{scan_id}"
            answer = await status(url, scan_id)
            heard[f"{answer.status} {answer.json()['status']}"] += 1

        await each(count, race)
    assert sum(heard.values()) == count
    assert set(heard) <= {"200 scanning", "200 complete"}, heard


@pytest.mark.parametrize("count", [QUICK, pytest.param(FULL, marks=pytest.mark.soak)])
@pytest.mark.timeout(600)
async def test_on_a_socket_the_ack_is_first_then_the_placeholder_and_status_agrees(serve: Serve, count: int) -> None:
    heard: Counter[str] = Counter()

    async with serve(max_scans=10_000) as url:

        async def race() -> None:
            async with websocket(url) as socket:
                await socket.send(type="discover", id="1", request=ONE_QUICK_SCAN)
                ack, snapshot = await socket.receive(), await socket.receive()
                answer = await status(url, ack["scan_id"])
                heard[f"{answer.status} {answer.json()['status']}"] += 1
                assert (ack["type"], ack["id"], ack["status"]) == ("ack", "1", "initiated")
                assert snapshot["type"] == "snapshot"
                assert (snapshot["state"]["phase"], snapshot["state"]["status"]) == ("init", "scanning")
                assert snapshot["state"]["progress"]["total_strategies"] == 1
                assert snapshot["cursor"] == ack["cursor"].replace("-0.0", "-1.0")
                mirror = Mirror()
                mirror.apply(snapshot)
                await socket.until_end(mirror, ack["scan_id"])
                assert mirror.state["status"] == "complete"

        await each(count, race)
    assert sum(heard.values()) == count
    assert set(heard) <= {"200 scanning", "200 complete"}, heard


async def test_a_second_discover_on_one_socket_does_not_disturb_the_first(serve: Serve) -> None:
    async with serve() as url, websocket(url) as socket:
        mirrors: dict[str, Mirror] = {}
        for number in range(30):
            await socket.send(type="discover", id=str(number), request=ONE_QUICK_SCAN)
        await _collect(socket, mirrors, 30)
        for scan_id, mirror in mirrors.items():
            final = await until_terminal(url, scan_id)
            assert final["status"] == "complete"
            assert {name: final[name] for name in mirror.state} == mirror.state


async def _collect(socket: Socket, mirrors: dict[str, Mirror], count: int) -> None:
    """Frames of many scans, mixed on one socket, until all have ended; no frame of a scan precedes its ack."""
    while len(mirrors) < count or not all(mirror.ended for mirror in mirrors.values()):
        message = await socket.receive()
        if message["type"] == "ack":
            mirrors[message["scan_id"]] = Mirror()
        else:
            mirrors[message["scan_id"]].apply(message)


async def test_results_are_there_as_soon_as_the_scan_is_complete(serve: Serve) -> None:
    async with serve() as url, websocket(url) as socket:
        for _ in range(20):
            await socket.send(type="discover", request=ONE_QUICK_SCAN)
            ack = await socket.receive()
            mirror = await socket.until_end(Mirror(), ack["scan_id"])
            answer = await results(url, ack["scan_id"])
            assert answer.status == 200
            assert answer.json()["total_opportunities"] == len(mirror.opportunities)


async def test_an_unknown_id_is_absent_as_polling_clients_know_it(serve: Serve) -> None:
    async with serve() as url:
        scan_id = (await discover(url)).json()["scan_id"]
        forged = scan_id[:-1] + ("0" if scan_id[-1] != "0" else "1")
        for path in ("status", "results"):
            answer = await request(url, "GET", f"/opportunities/{path}/{forged}")
            assert answer.status == 404
            assert answer.json() == {
                "success": False,
                "status": "not_found",
                "scan_id": forged,
                "message": "No scan found. Please initiate a new scan.",
            }

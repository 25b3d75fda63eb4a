"""A reader that takes no byte: its frames grow sparser, and past `--stall` it is closed; the others do not notice.

One that takes few bytes is no such reader: it gets on, however long a message takes.
"""

import json
import re
import socket
import time

import anyio
import pytest
from anyio import to_thread
from websockets.exceptions import ConnectionClosed

from conftest import Serve
from scanstream import server as server_module
from scanstream.client.mirror import Mirror
from support.raw import HOST, TEXT, UPGRADE, connected, frame, get, seconds_until_cut
from support.script import scripting
from support.wire import Socket, deaf, discover, request, status, until_terminal, websocket

pytestmark = pytest.mark.anyio

LARGE = 3000
"""Opportunities: some 2 MB of frames, more than all buffers between two sockets hold."""


async def test_a_reader_that_takes_nothing_is_closed_and_can_resume(serve: Serve) -> None:
    async with serve(stall=0.5, workers=1) as url, scripting() as script:
        async with websocket(url, **deaf(url)) as slow, websocket(url) as quick:
            await slow.send(type="discover", request=script.request(shards=1))
            ack = await slow.receive()
            mirror = Mirror()
            mirror.apply(await slow.receive())
            await quick.send(type="subscribe", scan_id=ack["scan_id"])
            assert (await quick.receive())["type"] == "ack"
            shard = await script.started()
            slow.connection.transport.pause_reading()
            await shard.tell(f"find {LARGE}", "end")
            follower = await quick.until_end(Mirror(), ack["scan_id"])
            assert len(follower.opportunities) == LARGE
            assert (await status(url, ack["scan_id"])).json()["status"] == "complete"
            with anyio.fail_after(30):
                await _until_closed(url, slow, mirror)
        async with websocket(url) as again:
            await again.send(type="subscribe", scan_id=ack["scan_id"], since=mirror.cursor)
            await again.until_end(mirror, ack["scan_id"])
        assert mirror.opportunities == follower.opportunities
        assert mirror.state == follower.state


async def connections(url: str) -> int:
    """How many sockets, streams and long polls the server has."""
    found = re.search(rb"^scanstream_connections ([0-9.]+)", (await request(url, "GET", "/metrics")).body, re.M)
    assert found is not None
    return int(float(found[1]))


async def _until_closed(url: str, slow: Socket, mirror: Mirror) -> None:
    """Wait with closed ears until the server has let go, then hear what was under way, and that it is over."""
    while await connections(url) > 1:  # noqa: ASYNC110  # it is another process, for all this test knows
        await anyio.sleep(0.05)
    slow.connection.transport.resume_reading()
    with pytest.raises(ConnectionClosed) as closed:
        await slow.until_end(mirror, str(mirror.state["scan_id"]))
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1013
    assert not mirror.ended


def streams(scan_id: str) -> dict[str, bytes]:
    """Every answer that has much to say of a scan."""
    follow = json.dumps({"follow": [{"scan_id": scan_id}]}).encode()
    post = b"POST /opportunities/follow HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n" % len(follow)
    return {
        "events": get(f"/opportunities/events/{scan_id}"),
        "results": get(f"/opportunities/results/{scan_id}"),
        "status": get(f"/opportunities/status/{scan_id}?since=none") * 4,
        "follow": post + b"Accept: application/json\r\n\r\n" + follow,
        "follow as events": post + b"Accept: text/event-stream\r\n\r\n" + follow,
        "socket": UPGRADE + b"\r\n" + frame(TEXT, json.dumps({"type": "subscribe", "scan_id": scan_id}).encode()),
    }


async def test_who_takes_nothing_is_cut_off_on_every_door_and_not_before_its_time(serve: Serve) -> None:
    stall = 1.0
    async with serve(stall=stall, workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        await (await script.started()).tell("find 2000", "end")
        await until_terminal(url, scan_id)

        async def starve(what: str, first: bytes) -> None:
            begun = time.monotonic()  # the thread that looks may begin when the server has waited a while
            with connected(url, first, receive_buffer=4096) as connection:
                seconds = await to_thread.run_sync(seconds_until_cut, connection, 30)
                assert seconds is not None, f"{what} is still there"
                assert time.monotonic() - begun >= stall, f"{what} was cut off too early"

        async with anyio.create_task_group() as tasks:
            for what, first in streams(scan_id).items():
                tasks.start_soon(starve, what, first)


async def test_who_takes_little_at_a_time_gets_all_over_one_connection(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message takes longer than the stall, and all of them longer than the patience with a pong, which never
    comes; the rate leaves room for a machine that is busy with other tests."""
    monkeypatch.setattr(server_module, "PING_INTERVAL_SECONDS", 0.5)
    async with serve(stall=2, workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        await (await script.started()).tell("find 600", "end")
        await until_terminal(url, scan_id)
        wanted = streams(scan_id)

        async def sip(what: str, last: bytes) -> None:
            with connected(url, wanted[what], receive_buffer=4096) as connection:
                received, seconds = await to_thread.run_sync(_sipped, connection, last)
                assert last in received, f"{what} ended after {len(received)} bytes"
                assert seconds > 2

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sip, "events", b"event: end")
            tasks.start_soon(sip, "results", b'"cursor":')
            tasks.start_soon(sip, "socket", b'"type":"end"')


async def test_who_takes_a_byte_now_and_then_is_never_closed(serve: Serve) -> None:
    """The reader's system has taken 100 KB at once and long takes nothing more; the reader itself does."""
    stall = 0.5
    async with serve(stall=stall, workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        await (await script.started()).tell("find 2000", "end")
        await until_terminal(url, scan_id)

        def nibble(connection: socket.socket) -> float | None:
            end = time.monotonic() + 6 * stall
            while time.monotonic() < end:
                assert len(connection.recv(1)) == 1
                time.sleep(stall / 5)  # a slow reader: time is the matter of this test
            return seconds_until_cut(connection, 30)

        async def starve_late(what: str, first: bytes) -> None:
            with connected(url, first) as connection:
                seconds = await to_thread.run_sync(nibble, connection)
                assert seconds is not None, f"{what} is still there, although it takes nothing any more"

        async with anyio.create_task_group() as tasks:
            for what, first in streams(scan_id).items():
                tasks.start_soon(starve_late, what, first)


def _sipped(connection: socket.socket, last: bytes) -> tuple[bytes, float]:
    """Read some 80 kB/s until this came."""
    received, begun = b"", time.monotonic()
    while last not in received[-8192:]:
        chunk = connection.recv(4096)
        if not chunk:
            break
        received += chunk
        time.sleep(len(chunk) / 80_000)  # a slow reader: time is the matter of this test
    return received, time.monotonic() - begun

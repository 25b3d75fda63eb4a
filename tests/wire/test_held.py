"""Those who wait over HTTP: no task for any of them, each in its turn, and nothing left of them when they have gone."""

import asyncio
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
import msgspec
import pytest
from anyio import to_thread

from conftest import Serve
from scanstream.push import held, waiter
from scanstream.push.question import Question, question
from support.raw import HOST, connected, everything, get
from support.wire import discover, request

pytestmark = pytest.mark.anyio

CROWD = 60


async def queued(url: str) -> tuple[str, str]:
    """A scan that waits for another one, so that it ends when it is cancelled, with one entry; and its tag."""
    first = (await discover(url)).json()["poll_url"]
    scan_id: str = (await discover(url)).json()["scan_id"]
    with anyio.fail_after(30):
        while (await request(url, "GET", first)).json()["phase"] != "running":  # else its plan is still in the making
            pass
        while "rank" not in (now := await request(url, "GET", f"/opportunities/status/{scan_id}")).json():
            pass
    return scan_id, now.headers["etag"]


async def cancel(url: str, scan_id: str) -> None:
    assert (await request(url, "POST", f"/opportunities/cancel/{scan_id}")).status == 202


def poll(scan_id: str, tag: str, seconds: int = 60) -> bytes:
    path = f"GET /opportunities/status/{scan_id}?wait={seconds} HTTP/1.1\r\n"
    return path.encode() + HOST + f"If-None-Match: {tag}\r\n\r\n".encode()


def follow(scan_id: str, cursor: str, accept: str) -> bytes:
    body = msgspec.json.encode({"follow": [{"scan_id": scan_id, "since": cursor}], "wait": 60})
    head = f"POST /opportunities/follow HTTP/1.1\r\nAccept: {accept}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + HOST + b"\r\n" + body


def with_lines(asked: bytes, *lines: str) -> bytes:
    return asked.replace(b"\r\n", b"\r\n" + "".join(f"{line}\r\n" for line in lines).encode(), 1)


PAGE = "https://page.example"
"""An origin that is allowed."""
LAST_CHUNK = b"0\r\n\r\n"


def waits(scan_id: str, tag: str) -> list[tuple[bytes, bytes]]:
    """All ways to wait for news of a scan, and how what comes then ends."""
    epoch, seq, _ = tag.strip('"').split("-")
    cursor = f"{epoch}-{seq}.0"
    events, lines = get(f"/opportunities/events/{scan_id}"), "Accept: application/x-ndjson"
    results = get(f"/opportunities/results/{scan_id}?wait=60")
    polls = get(f"/opportunities/status/{scan_id}?wait=60&since={cursor}")
    many = [follow(scan_id, cursor, accept) for accept in ("application/json", "text/event-stream")]
    plain = [
        (poll(scan_id, tag), b"}"),
        (polls, b"}"),
        (events, LAST_CHUNK),
        (results, b"}"),
        (with_lines(get(f"/opportunities/results/{scan_id}"), "Prefer: wait=60"), b"}"),
        (with_lines(results, lines), LAST_CHUNK),
        (many[0], b"]}"),
        (many[1], LAST_CHUNK),
    ]
    return plain + [(with_lines(asked, f"Origin: {PAGE}"), last) for asked, last in plain]


async def readers(url: str, count: int) -> None:
    """Wait until so many follow anything, and are connected."""
    with anyio.fail_after(30):
        while True:
            said = (await request(url, "GET", "/metrics")).body
            if all(b"\nscanstream_%b %d.0\n" % (what, count) in said for what in (b"readers", b"connections")):
                return


@contextmanager
def crowd(url: str, first: bytes, count: int) -> Iterator[list[Any]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connected(url, first)) for _ in range(count)]


async def tasks_at_rest() -> int:
    """How many there are once the answers of before are given: their own last a moment longer."""
    with anyio.fail_after(30):
        while any("run_asgi" in repr(task.get_coro()) for task in asyncio.all_tasks()):  # noqa: ASYNC110
            await anyio.sleep(0.01)
    return len(asyncio.all_tasks())


async def test_who_waits_has_no_task_and_all_are_told(serve: Serve) -> None:
    async with serve(workers=0, max_running=1) as url:
        scan_id, tag = await queued(url)
        before = await tasks_at_rest()
        events = get(f"/opportunities/events/{scan_id}")
        with crowd(url, poll(scan_id, tag), CROWD) as polls, crowd(url, events, CROWD) as streams:
            await readers(url, 2 * CROWD)
            assert await tasks_at_rest() == before
            await cancel(url, scan_id)
            for connection, last in [(one, b"}") for one in polls] + [(one, b"0\r\n\r\n") for one in streams]:
                received = await to_thread.run_sync(_until, connection.recv, last)
                assert received.startswith(b"HTTP/1.1 200 OK\r\n")
                assert b'"status":"cancelled"' in received
            await readers(url, 0)
            assert await tasks_at_rest() == before


async def test_whatever_is_waited_for_has_no_task(serve: Serve) -> None:
    """Also of pages from elsewhere, whose requests go through the chain: they may read what they are told."""
    async with serve(workers=0, max_running=1, allow_origin=(PAGE,)) as url:
        scan_id, tag = await queued(url)
        before = await tasks_at_rest()
        ways = waits(scan_id, tag)
        with ExitStack() as stack:
            crowds = [(stack.enter_context(crowd(url, asked, 8)), asked, last) for asked, last in ways]
            await readers(url, 8 * len(ways))
            assert await tasks_at_rest() == before
            await cancel(url, scan_id)
            for connections, asked, last in crowds:
                for connection in connections:
                    received = await to_thread.run_sync(_until, connection.recv, last)
                    assert received.startswith(b"HTTP/1.1 200 OK\r\n"), asked
                    allowed = b"\r\naccess-control-allow-origin: %b\r\n" % PAGE.encode()
                    assert (allowed in received) == (b"Origin" in asked), asked
                    assert b"ndjson" in asked or b'"cancelled"' in received, asked
                    connection.sendall(get("/healthz"))  # and the connection goes on
                    assert (await to_thread.run_sync(_until, connection.recv, b"}")).endswith(b'{"status":"ok"}')
        await readers(url, 0)
        assert await tasks_at_rest() == before


async def test_who_waits_in_any_way_and_leaves_is_forgotten(serve: Serve) -> None:
    async with serve(workers=0, max_running=1, allow_origin=(PAGE,)) as url:
        scan_id, tag = await queued(url)
        ways = waits(scan_id, tag)
        with ExitStack() as stack:
            for asked, _ in ways:
                stack.enter_context(crowd(url, asked, 2))
            await readers(url, 2 * len(ways))
        await readers(url, 0)


async def test_a_restart_ends_every_wait(serve: Serve) -> None:
    with ExitStack() as stack:
        async with serve(workers=0, max_running=1, allow_origin=(PAGE,)) as url:
            scan_id, tag = await queued(url)
            ways = waits(scan_id, tag)
            connections = [stack.enter_context(connected(url, asked)) for asked, _ in ways]
            await readers(url, len(ways))
        for connection, (asked, last) in zip(connections, ways, strict=True):
            received = await to_thread.run_sync(everything, connection)
            assert received.startswith((b"HTTP/1.1 200", b"HTTP/1.1 202", b"HTTP/1.1 304")), asked
            assert received.endswith((last, b"\r\n\r\n", b"}")), asked  # of a 304 and a 202
            assert (b"HTTP/1.1 202" in received) == (b"/results/" in asked)


async def test_a_wait_that_is_over_without_news(serve: Serve) -> None:
    told = {b"/status/": (b" 304 ", b" 200 "), b"/results/": (b" 202 ",), b"/follow ": (b" 200 ",)}
    async with serve(workers=0, max_running=1, allow_origin=(PAGE,)) as url:
        scan_id, tag = await queued(url)
        polls = [asked for asked, _ in waits(scan_id, tag) if b"event" not in asked]
        short = [asked.replace(b"wait=60", b"wait=1").replace(b'"wait":60', b'"wait":1 ') for asked in polls]
        asking = [(asked, told[kind]) for asked in short for kind in told if kind in asked]
        with ExitStack() as stack:
            connections = [stack.enter_context(connected(url, asked)) for asked, _ in asking]
            for connection, (asked, statuses) in zip(connections, asking, strict=True):
                received = await to_thread.run_sync(_first, connection)
                assert received[8:13] in statuses, asked
                assert (b"\r\nretry-after: 1\r\n" in received) == (b"/follow " not in asked), asked
                assert (b"\r\npreference-applied: wait=1\r\n" in received) == (b"Prefer" in asked), asked
                assert b"/follow " not in asked or b'{"frames":[]}' in received


async def test_old_clients_wait_too(serve: Serve) -> None:
    """HTTP/1.0 knows no chunks, and its connections end with the answer."""
    async with serve(workers=0, max_running=1) as url:
        scan_id, tag = await queued(url)
        new = [asked for asked, _ in waits(scan_id, tag) if b"Origin" not in asked]
        ways = [asked.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n") for asked in new]
        with ExitStack() as stack:
            connections = [stack.enter_context(connected(url, asked)) for asked in ways]
            await readers(url, len(ways))
            await cancel(url, scan_id)
            for connection, asked in zip(connections, ways, strict=True):
                received = await to_thread.run_sync(everything, connection)
                assert received.startswith(b"HTTP/1.1 200 OK\r\n"), asked
                assert b"ndjson" in asked or b'"cancelled"' in received, asked
                assert b"chunked" not in received, asked


async def test_a_body_that_comes_while_one_waits(serve: Serve) -> None:
    async with serve(workers=0, max_running=1) as url:
        scan_id, tag = await queued(url)
        gets = [asked for asked, _ in waits(scan_id, tag) if b"POST" not in asked and b"Origin" not in asked]
        with ExitStack() as stack:
            begun = [with_lines(asked, "Content-Length: 5") + b"some" for asked in gets]
            connections = [stack.enter_context(connected(url, asked)) for asked in begun]
            await readers(url, len(connections))
            for connection in connections:
                connection.sendall(b"!" + get("/healthz"))
            await cancel(url, scan_id)
            for connection, asked in zip(connections, gets, strict=True):
                received = await to_thread.run_sync(_until, connection.recv, b'{"status":"ok"}')
                assert received.count(b"HTTP/1.1 200 OK\r\n") == 2, asked


def _until(receive: Callable[[int], bytes], last: bytes) -> bytes:
    received = b""
    while not received.endswith(last):
        chunk = receive(65536)
        assert chunk
        received += chunk
    return received


async def test_what_was_sent_behind_a_poll_that_waits_is_answered_behind_it(serve: Serve) -> None:
    async with serve(workers=0, max_running=1) as url:
        scan_id, tag = await queued(url)
        plain = get(f"/opportunities/status/{scan_id}")
        last = b"GET /nothing HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
        ahead = poll(scan_id, tag) + plain + poll(scan_id, '"other"') + get("/healthz") + poll(scan_id, tag) + last
        with connected(url, ahead) as connection:
            await readers(url, 1)
            await cancel(url, scan_id)
            received = await to_thread.run_sync(everything, connection)
        statuses = re.findall(rb"HTTP/1\.1 (\d+)", received)
        assert statuses == [b"200", b"200", b"200", b"200", b"200", b"404"]
        assert received.count(b'"status":"cancelled","phase"') == 4


async def test_nonsense_behind_a_poll_that_waits_is_refused_behind_it(serve: Serve) -> None:
    async with serve(workers=0, max_running=1) as url:
        scan_id, tag = await queued(url)
        with connected(url, poll(scan_id, tag) + b"nonsense\r\n\r\n") as connection:
            await readers(url, 1)
            await cancel(url, scan_id)
            received = await to_thread.run_sync(everything, connection)
        assert re.findall(rb"HTTP/1\.1 (\d+)", received) == [b"200", b"400"]


async def test_who_leaves_is_forgotten(serve: Serve) -> None:
    async with serve(workers=0, max_running=1) as url:
        scan_id, tag = await queued(url)
        with crowd(url, poll(scan_id, tag), 5), crowd(url, get(f"/opportunities/events/{scan_id}"), 5):
            await readers(url, 10)
        await readers(url, 0)


async def test_a_wait_in_the_queue_looks_at_the_rank_until_its_time_is_over(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiter, "RANK_TICK_SECONDS", 0.1)
    async with serve(workers=0, max_running=1) as url:
        scan_id, tag = await queued(url)
        begun = anyio.current_time()
        with connected(url, poll(scan_id, tag, seconds=1)) as connection:
            received = await to_thread.run_sync(_until, connection.recv, b"\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 304 ")
        assert anyio.current_time() - begun >= 1


async def test_a_defect_in_telling_one_is_the_end_of_that_one(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer = held.Polls.answer
    told: list[object] = []

    def broken(self: held.Polls, *asked: Any) -> bytes:
        told.append(asked)
        if len(told) == 1:
            raise RuntimeError("broken on purpose")
        return answer(self, *asked)

    async with serve(workers=0, max_running=1) as url:
        scan_id, tag = await queued(url)
        with crowd(url, poll(scan_id, tag), 3) as polls:
            await readers(url, 3)
            monkeypatch.setattr(held.Polls, "answer", broken)
            await cancel(url, scan_id)
            received = [await to_thread.run_sync(_first, connection) for connection in polls]
        await readers(url, 0)
    assert sorted(part[:15] for part in received) == [b"", b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK"]
    assert [record.message for record in caplog.records if record.exc_info] == [
        "a defect in telling somebody who waits; the connection is closed"
    ]


def _first(connection: socket.socket) -> bytes:
    """What comes first; of an answer that says how long it is, all: its body may come in a piece of its own."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
            head, end, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)", head)
            if length is None or (end and len(body) >= int(length[1])):
                break
    except ConnectionError:
        pass
    return received


NAMED = b"/opportunities/status/scan_" + b"0" * 42
ASKED = [
    (b"", [], Question("scan_" + "0" * 42, b"")),
    (b"?wait=5", [(b"if-none-match", b'"a"')], Question("scan_" + "0" * 42, b"", tag="a", wait=5)),
    (b"", [(b"prefer", b"wait=5")], Question("scan_" + "0" * 42, b"", wait=5, preferred=True)),
    (b"?wait=5&wait=5", [], None),
    (b"?wait=5", [(b"prefer", b"wait=5")], None),
    (b"?wait=61", [], None),
    (b"?wait=-1", [], None),
    (b"?since=none", [], None),
    (b"?token=a", [], None),
    (b"", [(b"if-none-match", b'"a"'), (b"if-none-match", b'"a"')], None),
    (b"", [(b"cookie", b"a"), (b"cookie", b"b")], Question("scan_" + "0" * 42, b"")),
    (b"", [(b"origin", b"https://page.example")], None),
    (b"", [(b"content-length", b"1")], None),
    (b"", [(b"transfer-encoding", b"chunked")], None),
]


@pytest.mark.parametrize(("query", "fields", "asked"), ASKED)
def test_what_is_plain(query: bytes, fields: list[tuple[bytes, bytes]], asked: Question | None) -> None:
    assert question(NAMED + query, fields) == asked
    below = question(b"/tools" + NAMED + query, fields)
    assert below == (None if asked is None else asked._replace(prefix=b"/tools"))

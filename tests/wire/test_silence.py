"""Who says nothing, does not go on, or has left, is let go; and a server that stops does not wait for them."""

import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from conftest import Serve
from scanstream import server as server_module
from scanstream.push.transport.bounds import PATIENCE
from support.process import ServerProcess
from support.raw import CONTINUATION, HOST, PING, TEXT, UPGRADE, connected, everything, frame, get, seconds_until_cut
from support.script import scripting
from support.wire import discover, request

pytestmark = pytest.mark.anyio

POST = b"POST /opportunities/discover HTTP/1.1\r\n" + HOST
SILENCE = 0.3
HALF = POST + b"Content-Length: 20\r\n\r\n{"


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that looks so often that it can wait a fraction of a second where a real one waits ten, or thirty."""
    hasty = PATIENCE._replace(sweep=0.05)
    monkeypatch.setattr(server_module, "PATIENCE", hasty)


async def heard(connection: socket.socket) -> bytes:
    """What comes next; the server is in this process and must not be waited for in its loop."""
    return await to_thread.run_sync(connection.recv, 4096)


def test_the_times_are_those_of_the_protocol() -> None:
    assert (PATIENCE.silence, PATIENCE.body) == (10, 30)
    assert PATIENCE.silence < PATIENCE.head <= 30


@pytest.mark.usefixtures("_hasty")
async def test_a_connection_that_says_nothing_is_closed(serve: Serve) -> None:
    async with serve(workers=0, silence=SILENCE) as url:
        for first in (b"", b"\r\n"):
            with connected(url, first) as connection:
                assert await to_thread.run_sync(everything, connection) == b""


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(
    "first",
    [
        pytest.param(b"G", id="line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: 127.0.0", id="header"),
        pytest.param(UPGRADE, id="handshake"),
        pytest.param(HALF, id="body"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", id="chunk"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-", id="trailer"),
    ],
)
async def test_a_request_that_does_not_go_on_is_answered_with_a_timeout(serve: Serve, first: bytes) -> None:
    async with serve(workers=0, silence=SILENCE) as url:
        with connected(url, first) as connection:
            received = await to_thread.run_sync(everything, connection)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["code"] == "timeout"


@pytest.mark.usefixtures("_hasty")
async def test_a_head_that_drips_is_not_waited_for(serve: Serve) -> None:
    """Each byte comes in time, the head never does."""

    def drip(connection: socket.socket) -> bytes:
        connection.settimeout(0.1)
        for _ in range(600):
            try:
                connection.sendall(b"a")
                if received := connection.recv(4096):
                    return received
            except TimeoutError:
                continue
        return b""

    async with serve(workers=0, silence=SILENCE) as url:
        with connected(url, b"GET / HTTP/1.1\r\nX: ") as connection:
            assert (await to_thread.run_sync(drip, connection)).startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("_hasty")
async def test_a_body_that_goes_on_is_waited_for(serve: Serve) -> None:
    """It takes more than twice as long as it may stand still."""
    body = b'{"strategy_ids":["tsmom"]}'

    def upload(connection: socket.socket) -> bytes:
        for byte in body:
            connection.sendall(bytes([byte]))
            time.sleep(0.04)  # the client's slowness is the matter of this test
        return connection.recv(4096)

    async with serve(workers=0, silence=SILENCE / 2) as url:
        with connected(url, POST + b"Content-Length: %d\r\n\r\n" % len(body)) as connection:
            assert (await to_thread.run_sync(upload, connection)).startswith(b"HTTP/1.1 202 ")


def dripping(connection: socket.socket) -> bytes:
    """What comes to somebody who sends a byte ten times a second, without end."""
    connection.settimeout(0.1)
    received = b""
    for _ in range(300):
        with suppress(TimeoutError, ConnectionError):
            connection.sendall(b"a")
            while chunk := connection.recv(4096):
                received += chunk
            break
        if b" message" in received:
            break
    return received


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(
    ("first", "says"),
    [
        pytest.param(POST + b"Content-Length: 900\r\n\r\n{", b"HTTP/1.1 408 ", id="body"),
        pytest.param(UPGRADE + b"\r\n" + frame(TEXT, b"a" * 900)[:10], b"\x03\xf0a message", id="frame"),
    ],
)
async def test_what_drips_is_not_waited_for_however_long_it_goes_on(serve: Serve, first: bytes, says: bytes) -> None:
    async with serve(workers=0, silence=SILENCE / 2) as url:
        with connected(url, first) as connection:
            assert says in await to_thread.run_sync(dripping, connection)


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(
    "half",
    [
        pytest.param(b"\x81", id="a byte"),
        pytest.param(frame(TEXT, b"abc")[:-1], id="a frame"),
        pytest.param(frame(TEXT, b"abc", last=False), id="a fragment"),
        pytest.param(frame(TEXT, b"abc", last=False) + frame(CONTINUATION, b"d", last=False), id="fragments"),
    ],
)
async def test_a_message_that_does_not_go_on_ends_its_socket(serve: Serve, half: bytes) -> None:
    """Also where its sender answers pings: a socket that has begun to say something is no reader."""
    async with serve(workers=0, silence=SILENCE / 2) as url:
        with connected(url, UPGRADE + b"\r\n" + half) as connection:
            received = b""
            while b"\x03\xf0a message" not in received:
                chunk = await heard(connection)
                assert chunk, received
                received += chunk
        with connected(url, UPGRADE + b"\r\n" + half) as connection:
            assert (await heard(connection)).startswith(b"HTTP/1.1 101 ")
            rest = {b"\x81": frame(TEXT, b"{}")[1:], frame(TEXT, b"abc")[:-1]: b"c"}.get(
                half, frame(CONTINUATION, b"d")
            )
            connection.sendall(rest)
            assert b"error" in await heard(connection)
            assert await to_thread.run_sync(seconds_until_cut, connection, 1.5) is None


@pytest.mark.usefixtures("_hasty")
async def test_between_two_requests_and_on_a_socket_silence_is_no_fault(serve: Serve) -> None:
    async with serve(workers=0, silence=SILENCE) as url:
        with connected(url, get("/healthz") + b"\r\n") as idle, connected(url, UPGRADE + b"\r\n") as watcher:
            assert (await heard(idle)).startswith(b"HTTP/1.1 200 ")
            assert (await heard(watcher)).startswith(b"HTTP/1.1 101 ")
            for connection in (idle, watcher):
                assert await to_thread.run_sync(seconds_until_cut, connection, 1.0) is None
            idle.sendall(get("/healthz"))
            assert (await heard(idle)).startswith(b"HTTP/1.1 200 ")
            watcher.sendall(frame(TEXT, b'{"type":"ping"}'))
            assert b"pong" in await heard(watcher)


@pytest.mark.usefixtures("_hasty")
async def test_a_socket_whose_client_answers_no_ping_is_closed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its system takes the pings, as it does of a program that is stopped: that is no sign of life."""
    monkeypatch.setattr(server_module, "PING_INTERVAL_SECONDS", 0.3)
    async with serve(workers=0, silence=SILENCE, stall=0.3) as url:
        with connected(url, UPGRADE + b"\r\n") as watcher:
            assert (await heard(watcher)).startswith(b"HTTP/1.1 101 ")
            assert await to_thread.run_sync(seconds_until_cut, watcher, 20) is not None
            assert b"ping" in await to_thread.run_sync(everything, watcher)


async def test_an_idle_connection_is_kept_as_long_as_the_operator_says(serve: Serve) -> None:
    async with serve(workers=0, keep_alive=0.3) as url:
        with connected(url, get("/healthz")) as idle:
            assert (await to_thread.run_sync(everything, idle)).startswith(b"HTTP/1.1 200 ")


async def connections(url: str) -> int:
    """How many sockets, streams and long polls the server has."""
    found = re.search(rb"^scanstream_connections ([0-9.]+)", (await request(url, "GET", "/metrics")).body, re.M)
    assert found is not None
    return int(float(found[1]))


async def until_connections(url: str, count: int) -> None:
    """Wait until the server has so many."""
    with anyio.fail_after(20):
        while await connections(url) != count:  # noqa: ASYNC110  # the server tells nobody
            await anyio.sleep(0.02)


def waiting_for(scan_id: str, cursor: str) -> dict[str, bytes]:
    """Every way to wait for news of a scan."""
    follow = json.dumps({"follow": [{"scan_id": scan_id, "since": cursor}], "wait": 60}).encode()
    post = b"POST /opportunities/follow HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n" % len(follow)
    poll = get(f"/opportunities/status/{scan_id}?since={cursor}&wait=60")
    return {
        "status": poll,
        "results": get(f"/opportunities/results/{scan_id}?wait=60"),
        "two polls, one behind the other": poll + poll,
        "a poll, and much behind it": poll + get("/healthz") * 5000,
        "events": get(f"/opportunities/events/{scan_id}"),
        "follow": post + b"Accept: application/json\r\n\r\n" + follow,
        "follow as events": post + b"Accept: text/event-stream\r\n\r\n" + follow,
        "socket": UPGRADE + b"\r\n" + frame(TEXT, json.dumps({"type": "subscribe", "scan_id": scan_id}).encode()),
    }


async def test_whoever_has_left_is_let_go_on_every_door(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        shard = await script.started()
        cursor = (await request(url, "GET", f"/opportunities/status/{scan_id}")).json()["cursor"]
        for what, first in waiting_for(scan_id, cursor).items():
            with connected(url, first):
                await until_connections(url, 1)
            begun = time.monotonic()
            await until_connections(url, 0)
            assert time.monotonic() - begun < 20, what
        await shard.tell("end")


@pytest.mark.parametrize("path", ["events/{}", "results/{}?wait=60", "status/{}?since={}&wait=60"])
async def test_a_head_is_answered_at_once(serve: Serve, path: str) -> None:
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        shard = await script.started()
        cursor = (await request(url, "GET", f"/opportunities/status/{scan_id}")).json()["cursor"]
        target = "/opportunities/" + path.format(scan_id, cursor)
        with anyio.fail_after(20):
            answer = await request(url, "HEAD", target)
        assert answer.status in (200, 202)
        assert answer.body == b""
        assert await connections(url) == 0
        await shard.tell("end")


@pytest.fixture
def stopping(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that is to be stopped by the test."""
    server = ServerProcess(tmp_path, "--stall", "600", "--workers", "1")
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


def stopped(server: ServerProcess) -> tuple[int, str, float]:
    """SIGTERM: the exit code, what was written on standard error, and how long it took."""
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    _, errors = server.process.communicate(timeout=60)
    return server.process.returncode, errors, time.monotonic() - begun


async def test_a_stop_waits_for_nobody_who_never_reads_and_says_nothing_of_it(stopping: ServerProcess) -> None:
    """The time has room for a loaded machine: without a deadline the long polls alone would take a minute."""
    url = stopping.url
    scripted = {"strategy_ids": ["scripted"], "parameters": {"scripted": {"shards": 60, "found": 40}}}
    ended = (await discover(url, scripted)).json()["scan_id"]
    cursor = (await request(url, "GET", f"/opportunities/results/{ended}?wait=60")).json()["cursor"]
    unfinished = (await discover(url, {**scripted, "parameters": {"scripted": {"shards": 4000}}})).json()["scan_id"]
    silent = [b"", b"GET / HT", HALF, UPGRADE, UPGRADE + b"\r\n", get(f"/opportunities/results/{ended}") * 50]
    floods = [UPGRADE + b"\r\n" + frame(PING, b"p" * 125) * 3000]
    with ExitStack() as stack:
        for first in [*silent, *waiting_for(ended, "0").values(), *waiting_for(unfinished, cursor).values(), *floods]:
            connection = stack.enter_context(connected(url, receive_buffer=4096))
            connection.settimeout(0.2)
            with suppress(TimeoutError):
                connection.sendall(first)
        code, errors, seconds = stopped(stopping)
    assert (code, errors) == (0, "")
    assert seconds < 15


async def test_requests_that_are_broken_off_leave_no_traceback(stopping: ServerProcess) -> None:
    ack = (await discover(stopping.url)).json()
    endings = [HALF, POST + b"Content-Length: 2\r\n\r\n{}", UPGRADE, UPGRADE + b"\r\n", UPGRADE + b"\r\n" + b"\x81"]
    endings += waiting_for(ack["scan_id"], ack["cursor"]).values()
    for first in endings * 3:
        with connected(stopping.url, first):
            pass
        with connected(stopping.url, first) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # with a reset
    await until_connections(stopping.url, 0)
    assert stopped(stopping)[:2] == (0, "")

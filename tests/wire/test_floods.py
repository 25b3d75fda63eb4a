"""What a stranger sends without end costs the server next to nothing, and ends."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from support.plain import NO_TLS
from support.process import ServerProcess, server_process
from support.raw import (
    CONTINUATION,
    HOST,
    PING,
    PONG,
    TEXT,
    UPGRADE,
    connected,
    everything,
    frame,
    get,
    resident,
    seconds_until_cut,
)
from support.wire import request

pytestmark = pytest.mark.anyio

MEGABYTE = 1024 * 1024
MOST_GROWTH = 20 * MEGABYTE
FLOOD = 16 * MEGABYTE
"""Bytes of a flood that the server goes on reading: what it kept of them would show."""
FLOOD_SECONDS = 0.7
STALL = 0.5

GET = b"GET / HTTP/1.1\r\n" + HOST
POST = b"POST /opportunities/discover HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
TRAILERS = POST + b"2\r\n{}\r\n0\r\n"
FIELDS = (b"X-a: " + b"y" * 1000 + b"\r\n") * 64
END = b'"type":"end"'
SCRIPTED = {"strategy_ids": ["scripted"], "parameters": {"scripted": {"shards": 40, "found": 40}}}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """One server for all floods: that it is there for the last is a part of the test."""
    with server_process(":memory:", "--stall", str(STALL), "--workers", "1") as server:
        for _ in range(3):
            ask(server, "GET", "/healthz")
        yield server
        assert server.stop() == 0


def ask(server: ServerProcess, method: str, path: str, body: object = None) -> dict[str, object]:
    """A polite request beside the flood."""
    data = None if body is None else json.dumps(body).encode()
    answer = httpx.request(method, server.url + path, content=data, timeout=90, trust_env=False, verify=NO_TLS)
    document: dict[str, object] = answer.raise_for_status().json()
    return document


@pytest.fixture(scope="module")
def ended(server: ServerProcess) -> str:
    """A scan with some 700 KB of results."""
    scan_id = str(ask(server, "POST", "/opportunities/discover", SCRIPTED)["scan_id"])
    ask(server, "GET", f"/opportunities/results/{scan_id}?wait=60")
    return scan_id


def flooded(connection: socket.socket, block: bytes, server: ServerProcess, seconds: float = FLOOD_SECONDS) -> int:
    """Send without end, without reading, until cut, or for a time; the most that the server grew by."""
    before, most, sent, end = resident(server), 0, 0, time.monotonic() + seconds
    connection.settimeout(0.1)
    while time.monotonic() < end and sent < FLOOD:
        try:
            sent += connection.send(block)
        except TimeoutError:
            pass
        except OSError:
            break
        most = max(most, resident(server) - before)
    connection.settimeout(30)
    return most


@pytest.mark.parametrize(
    ("first", "block", "status"),
    [
        pytest.param(GET, FIELDS, 431, id="headers"),
        pytest.param(GET, b"a:b\r\n" * 10_000, 431, id="many-tiny-headers"),
        pytest.param(GET, b"y" * 65536, 431, id="one-name"),
        pytest.param(GET + b"X: ", b"y" * 65536, 431, id="one-value"),
        pytest.param(GET + b"X: ", b" " * 65536, 431, id="spaces"),
        pytest.param(b"GET /", b"y" * 65536, 431, id="an-address"),
        pytest.param(UPGRADE, FIELDS, 431, id="headers-of-a-handshake"),
        pytest.param(TRAILERS, FIELDS, 431, id="trailers"),
        pytest.param(TRAILERS, b"a:b\r\n" * 10_000, 431, id="many-tiny-trailers"),
        pytest.param(TRAILERS, b"y" * 65536, 431, id="the-name-of-a-trailer"),
        pytest.param(POST + b"1;a=", b"y" * 65536, 431, id="the-extension-of-a-chunk"),
        pytest.param(POST, b"0" * 65536, 431, id="the-length-of-a-chunk"),
        pytest.param(POST, b"1\r\nx\r\n" * 10_000, 413, id="tiny-chunks"),
        pytest.param(b"\x00\x01", b"\x00" * 65536, 400, id="no-http"),
    ],
)
def test_what_has_no_end_is_refused_with_a_problem(
    server: ServerProcess, first: bytes, block: bytes, status: int
) -> None:
    with connected(server.url, first) as connection:
        assert flooded(connection, block, server, 30) < MOST_GROWTH
        head, _, body = everything(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/problem+json" in head
    problem = json.loads(body)
    assert (problem["status"], problem["message"]) == (status, problem["detail"])
    assert problem["type"].endswith(problem["code"])


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(UPGRADE + b"Content-Length: 5\r\n\r\nhello", id="handshake-and-length"),
        pytest.param(UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="handshake-and-chunks"),
        pytest.param(UPGRADE.replace(b"GET", b"POST") + b"Content-Length: 1\r\n\r\nx", id="posted-handshake"),
        pytest.param(POST.replace(b"chunked", b"gzip, chunked") + b"2\r\n{}\r\n0\r\n\r\n", id="a-coding"),
        pytest.param(POST.replace(b"chunked", b"chunked, identity") + b"2\r\n{}\r\n0\r\n\r\n", id="not-the-last"),
        pytest.param(POST[:-2] + b"Content-Length: 9\r\n\r\n2\r\n{}\r\n0\r\n\r\n", id="two-lengths"),
    ],
)
def test_a_body_that_would_be_lost_or_misread_is_refused_at_once(server: ServerProcess, request_: bytes) -> None:
    with connected(server.url, request_) as connection:
        head, _, body = everything(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == "malformed_request"


@pytest.mark.parametrize("length", [b"Content-Length: 99999999999\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_that_nobody_reads_is_not_kept_and_not_taken_for_ever(server: ServerProcess, length: bytes) -> None:
    with connected(server.url, b"GET /healthz HTTP/1.1\r\n" + HOST + length + b"\r\n") as connection:
        block = b"ffff\r\n" + bytes(65535) + b"\r\n"
        assert flooded(connection, block, server, 30) < MOST_GROWTH
        assert everything(connection).startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(get("/healthz") * 500, id="requests"),
        pytest.param(b"\r\n" * 30_000, id="empty-lines"),
        pytest.param(b"GET /ws HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", id="upgrades"),
    ],
)
def test_requests_sent_ahead_are_not_taken_up_ahead(server: ServerProcess, block: bytes) -> None:
    with connected(server.url, receive_buffer=4096) as connection:
        assert flooded(connection, block, server) < MOST_GROWTH


@pytest.mark.parametrize("more", ["", "?wait=60", "?since={}&wait=60"])
def test_polls_sent_ahead_are_not_answered_ahead(server: ServerProcess, ended: str, more: str) -> None:
    """They are answered where they are read, and only while their answers are taken."""
    path = f"/opportunities/status/{ended}"
    cursor = str(ask(server, "GET", path)["cursor"])
    with connected(server.url, receive_buffer=4096) as connection:
        assert (
            flooded(connection, get(path + more.format(cursor.partition("-")[0] + "-0.0")) * 300, server) < MOST_GROWTH
        )


def test_requests_sent_ahead_are_answered_each_in_its_turn(server: ServerProcess) -> None:
    count = 300
    with connected(server.url, get("/healthz") * count + b"\r\n" + get("/nothing") + b"nonsense\r\n\r\n") as connection:
        received = everything(connection)
    assert received.count(b"HTTP/1.1 200 OK") == count
    assert received.index(b"HTTP/1.1 404 ") < received.index(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(frame(PING, b"p" * 125) * 400, id="pings"),
        pytest.param(frame(PING, b"") * 8000, id="tiny-pings"),
        pytest.param(frame(TEXT, b'{"type":"ping"}') * 3000, id="pings-of-ours"),
        pytest.param(frame(TEXT, b'{"type":"discover"}') * 2000, id="discovers"),
        pytest.param(frame(TEXT, b'{"type":"subscribe","scan_id":"latest"}') * 1000, id="subscribes"),
    ],
)
def test_a_socket_that_asks_without_end_and_never_reads_is_let_go(
    server: ServerProcess, ended: str, block: bytes
) -> None:
    """Nothing grows, and once it takes no byte the stall clock runs."""
    with connected(server.url, UPGRADE + b"\r\n", receive_buffer=4096) as connection:
        assert ended
        assert flooded(connection, block, server, 30) < MOST_GROWTH
        assert seconds_until_cut(connection, 30) is not None


@pytest.mark.parametrize(
    ("first", "block"),
    [
        pytest.param(b"", frame(PONG, b"") * 8000, id="pongs"),
        pytest.param(b"", frame(TEXT, b"{}") * 8000, id="malformed-messages"),
        pytest.param(frame(TEXT, b"", last=False), frame(CONTINUATION, b"", last=False) * 8000, id="empty-fragments"),
        pytest.param(frame(TEXT, b"a", last=False), frame(CONTINUATION, b"a", last=False) * 8000, id="tiny-fragments"),
    ],
)
def test_what_a_socket_sends_and_gets_no_answer_to_is_not_kept(
    server: ServerProcess, first: bytes, block: bytes
) -> None:
    with connected(server.url, UPGRADE + b"\r\n" + first) as connection:
        assert flooded(connection, block, server) < MOST_GROWTH


def test_a_message_in_tiny_fragments_is_a_message(server: ServerProcess) -> None:
    message = b'{"type":"ping","id":"whole"}'
    pieces = [frame(TEXT, b"", last=False), *(frame(CONTINUATION, bytes([b]), last=False) for b in message)]
    with connected(server.url, UPGRADE + b"\r\n") as connection:
        connection.sendall(b"".join(pieces) + frame(PING, b"between") + frame(CONTINUATION, b""))
        received = b""
        while b'"whole"' not in received:
            received += connection.recv(4096)
    assert b"between" in received
    assert b'{"type":"pong","id":"whole"}' in received


def test_a_follower_that_is_stuck_and_subscribes_from_everywhere_do_not_fill_the_cache(
    server: ServerProcess, ended: str
) -> None:
    cursor = str(ask(server, "GET", f"/opportunities/status/{ended}")["cursor"]).rpartition(".")[0]
    with connected(server.url, receive_buffer=4096) as stuck, connected(server.url, UPGRADE + b"\r\n") as connection:
        stuck.sendall(get(f"/opportunities/events/{ended}"))
        before = resident(server)
        for n in range(0, 1600, 8):
            since = json.dumps({"type": "subscribe", "scan_id": ended, "since": f"{cursor}.{n}"}).encode()
            connection.sendall(frame(TEXT, since))
            received = b""
            while not received.endswith(b'"status":"complete"}') or b'"type":"end"' not in received:
                received += connection.recv(MEGABYTE)
        assert resident(server) - before < MOST_GROWTH


@pytest.mark.parametrize("accept", [b"application/json", b"application/x-ndjson"])
def test_readers_who_take_none_of_the_results_hold_none_of_them(
    server: ServerProcess, ended: str, accept: bytes
) -> None:
    asking = get(f"/opportunities/results/{ended}")[:-2] + b"Accept: " + accept + b"\r\n\r\n"
    address = f"{server.url}/opportunities/results/{ended}"  # what the first answer of its kind costs is nobody's flood
    assert (
        len(httpx.get(address, headers={"accept": accept.decode()}, timeout=90, trust_env=False, verify=NO_TLS).content)
        > MEGABYTE / 2
    )
    before, most = resident(server), 0
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connected(server.url, asking, receive_buffer=4096))
            ask(server, "GET", "/healthz")
            most = max(most, resident(server) - before)
    assert most < MOST_GROWTH, most


def test_a_socket_on_many_ended_scans_that_reads_little_holds_one_of_them_at_most() -> None:
    """Those that are held are counted: what they weigh shows only where the memory for finished scans is full."""
    count = 12
    with server_process(":memory:", "--workers", "1") as server:
        scans = [ended_scan(server, number) for number in range(count)]
        questions = [json.dumps({"type": "subscribe", "scan_id": scan_id}).encode() for scan_id in scans]
        ends, most_readers, before, most = 0, 0, resident(server), 0
        with connected(server.url, UPGRADE + b"\r\n", receive_buffer=4096) as connection:
            connection.sendall(b"".join(frame(TEXT, question) for question in questions))
            for _ in range(20):
                most_readers = max(most_readers, readers(server))
                most = max(most, resident(server) - before)
            received = b""
            while ends < count:
                received = received[1 - len(END) :] + connection.recv(MEGABYTE)
                if END in received:
                    ends += received.count(END)
                    most_readers = max(most_readers, readers(server))
                most = max(most, resident(server) - before)
        assert most_readers <= 1
        assert most < MOST_GROWTH
        assert server.stop() == 0


def ended_scan(server: ServerProcess, number: int) -> str:
    """One of several scans, each with a thousand opportunities: two frames, and the end."""
    parameters = {"scripted": {"shards": 2, "found": 500}}
    body = {"strategy_ids": ["scripted"], "capital_usd": 1000 + number, "parameters": parameters}
    scan_id = str(ask(server, "POST", "/opportunities/discover", body)["scan_id"])
    while ask(server, "GET", f"/opportunities/status/{scan_id}?wait=60")["status"] != "complete":
        pass
    return scan_id


def readers(server: ServerProcess) -> int:
    """How many readers follow a scan."""
    metrics = httpx.get(server.url + "/metrics", timeout=90, trust_env=False, verify=NO_TLS).raise_for_status().text
    [line] = [line for line in metrics.splitlines() if line.startswith("scanstream_readers")]
    return int(float(line.split()[1]))


async def test_the_server_is_none_the_worse(server: ServerProcess) -> None:
    assert (await request(server.url, "GET", "/healthz")).status == 200

"""Servers and proxies that say what they should not: nothing of it is believed, and nothing of it ends a client."""

import asyncio
import base64
import gc
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from threading import Thread
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from websockets.asyncio.client import ClientConnection, connect

from client.peers import Peer, peers
from client.test_client import SECONDS, added_up, until_found, updates
from client.test_ladder import HALF_A_SECOND, Hasty, behind, until
from scanstream.client import AsyncClient, Scan
from scanstream.client.feeds import Feed
from scanstream.client.ladder import RUNGS, Transport
from scanstream.client.mirror import Mirror
from scanstream.client.websocket import OPEN_SECONDS
from scanstream.conformance.asking import Server, ServerGone
from scanstream.conformance.promise import Broken
from scanstream.conformance.trace import Trace
from scanstream.doctor.examining import examine
from support.process import server_process
from wire.proxy import Attempt, Faults

pytestmark = [pytest.mark.anyio, pytest.mark.clients]

SCANNING = {"status": "scanning", "phase": "init", "total_opportunities": 0}
A = {"id": "a", "confidence_score": 1}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """One for all tests here, with one worker."""
    with server_process(":memory:", "--workers", "1") as process:
        yield process.url


async def begun(peer: Peer) -> dict[str, Any]:
    """The first subscription of a connection; it is acknowledged."""
    asked = await peer.hear()
    await peer.say(type="ack", id=asked["id"], scan_id="s", status="scanning", cursor="k-0.0")
    return asked


async def snapshot(peer: Peer, **more: Any) -> None:
    """What a reader stands on."""
    await peer.say(type="snapshot", scan_id="s", cursor="k-1.0", state=SCANNING, opportunities=[], offset=0, **more)


async def completed(peer: Peer, seq: int, skipped: int) -> None:
    """The last update, and the end."""
    patch = {"status": "complete", "phase": "done", "total_opportunities": 1}
    cursor = f"k-{seq}.1"
    common = {"scan_id": "s", "cursor": cursor}
    await peer.say(type="update", **common, patch=patch, opportunities=[A], offset=0, skipped=skipped)
    await peer.say(type="end", **common, status="complete")


STRANGE: list[dict[str, Any]] = [
    {},
    {"type": None, "scan_id": None},
    {"type": ["update"], "scan_id": "s"},
    {"type": {"update": 1}},
    {"type": "weather", "scan_id": ["s"], "id": {"s1": 1}},
    {"type": "update", "scan_id": ["s"], "cursor": "k-9.0", "patch": {"phase": "another"}},
    {"type": "update", "scan_id": {"s": 1}, "cursor": [], "patch": 1},
    {"type": "end", "scan_id": 7, "cursor": "k-1.0", "status": "complete"},
    {"type": "snapshot", "scan_id": "another", "cursor": "z-9.0", "state": {"status": "failed"}},
    {"type": "end", "scan_id": "another", "cursor": "k-1.0", "status": "failed"},
    {"type": "error", "scan_id": "another", "code": "not_found", "detail": 7, "errors": [1, {"field": 2}], "x": []},
    {"type": "pong", "id": 7},
    {"type": "ack", "id": ["s1"], "scan_id": 7},
]


async def test_messages_of_any_shape_end_nothing() -> None:
    async def behave(peer: Peer) -> None:
        await begun(peer)
        await snapshot(peer, x_unknown=[None, {"deep": []}])
        for message in STRANGE:
            await peer.say(**message)
        await completed(peer, 5, 3)
        await peer.socket.wait_closed()

    async with peers(behave) as url, AsyncClient(url) as client:
        scan = client.follow("s")
        state = await scan.wait(SECONDS)
        assert (state["phase"], scan.opportunities, scan.cursor) == ("done", [A], "k-5.1")
        assert client.connection.transport == "websocket"


MALFORMED: list[dict[str, Any]] = [
    {"type": "update", "cursor": "k-9.1", "patch": {"phase": "gap"}, "opportunities": [A], "offset": 0, "skipped": 3},
    {"type": "update", "cursor": "k-2.1", "patch": {"phase": "gap"}, "skipped": 0},
    {"type": "update", "cursor": "k-2.2", "patch": {"phase": "gap"}, "opportunities": [A], "offset": 1, "skipped": 0},
    {"type": "update", "cursor": "z-2.0", "patch": {"phase": "gap"}, "skipped": 0},
    {"type": "update", "cursor": "k-2.0", "patch": 1},
    {"type": "update", "cursor": 2, "patch": {}},
    {"type": "update", "patch": {"phase": "gap"}},
    {"type": "update", "cursor": "k-2.1", "patch": {}, "opportunities": [7], "offset": 0, "skipped": 0},
    {"type": "snapshot", "cursor": "k-2.0", "state": None},
    {"type": "end", "cursor": "k-9.1", "status": "complete"},
]


@pytest.mark.parametrize("frame", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_frame_that_does_not_follow_is_never_taken_and_asked_for_again(frame: dict[str, Any]) -> None:
    asked: list[dict[str, Any]] = []

    async def behave(peer: Peer) -> None:
        asked.append(await begun(peer))
        if peer.number == 0:
            await snapshot(peer)
            await peer.say(**frame, scan_id="s")
            await completed(peer, 5, 99)  # after it: nothing more of this connection counts
        else:
            await completed(peer, 5, 3)
        await peer.socket.wait_closed()

    async with peers(behave) as url, AsyncClient(url) as client:
        scan = client.follow("s")
        phases = [update.state["phase"] async for update in scan]
        assert (scan.state["phase"], scan.opportunities) == ("done", [A])
    assert [one.get("since") for one in asked] == [None, "k-1.0"]
    assert "gap" not in phases


async def test_what_is_no_message_ends_the_connection_and_not_the_client() -> None:
    nonsense: list[str | bytes] = ["{", "[]", b"\x82\xa4type", "[" * 100_000]

    async def behave(peer: Peer) -> None:
        await begun(peer)
        await snapshot(peer)
        if peer.number < len(nonsense):
            await peer.socket.send(nonsense[peer.number])
        else:
            await completed(peer, 5, 3)
        await peer.socket.wait_closed()

    async with peers(behave) as url, AsyncClient(url) as client:
        state = await client.follow("s").wait(SECONDS)
        assert state["phase"] == "done"


@pytest.mark.parametrize("transport", RUNGS)
async def test_a_scan_without_news_is_live_wherever_it_is_watched_from(server: str, transport: Transport) -> None:
    """Though from its cursor on there is nothing to bring."""
    async with behind(server, Faults()) as (_, script), AsyncClient(server) as first:
        scan = await first.discover(**script.request(shards=1))
        shard = await script.started()
        await until_found(scan, 0)
        async with AsyncClient(server, transports=[transport]) as client:
            again = await client.watch(scan.id, since=scan.cursor)
            await until(client, transport)
            await shard.tell("find 2", "end")
            assert len(added_up(await updates(again))[1]) == 2


@pytest.mark.parametrize("status", [302, 307, 200, 401, 403, 404])
async def test_what_a_proxy_answers_in_place_of_a_server_ends_no_scan(server: str, status: int) -> None:
    """A redirect leads here again: whoever follows it tries ten times at once, and a POST becomes a GET."""
    faults = Faults(bad_gateway_every=2, bad_status=status)
    async with behind(server, faults) as (proxy, script), Hasty(proxy.url) as client:
        scan = await client.discover(**script.request(shards=1))
        await (await script.started()).tell("find 3", "end")
        _, told = added_up(await updates(scan))
        assert sorted(told) == sorted(found["id"] for found in await scan.results())
        assert len(told) == 3
        proxy.faults.bad_gateway_every = 1
        asked = len(proxy.attempts)
        with anyio.move_on_after(1.2):
            await client.follow(scan.id).wait()
        assert len(proxy.attempts) > asked
        for kind in RUNGS:
            assert proxy.most_attempts(HALF_A_SECOND, partial(of, kind)) <= 2


def of(rung: Transport, attempt: Attempt) -> bool:
    """Whether it is one on this rung."""
    return attempt.rung == rung


def jwt(seconds: float, number: int) -> str:
    """A token that says when it expires."""
    claims = json.dumps({"exp": time.time() + seconds, "jti": number}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2ln"


async def test_a_token_is_renewed_on_the_open_socket_before_it_runs_out() -> None:
    given: list[str] = []
    renewed: list[str] = []

    def token() -> str:
        given.append(jwt(2 if len(given) < 2 else 3600, len(given)))
        return given[-1]

    async def behave(peer: Peer) -> None:
        await begun(peer)
        await snapshot(peer)
        while len(renewed) < 2:
            asked = await peer.hear()
            assert asked["type"] == "authenticate"
            renewed.append(asked["token"])
            if len(renewed) == 1:  # a server that does not know how
                await peer.say(type="error", id=asked["id"], code="invalid_message", detail="unknown type")
            else:
                await peer.say(type="ack", id=asked["id"])
        await completed(peer, 5, 3)
        await peer.socket.wait_closed()

    async with peers(behave) as url, AsyncClient(url, token=token) as client:
        assert (await client.follow("s").wait(SECONDS))["phase"] == "done"
    assert renewed == given[1:]
    assert len(given) == 3


def test_a_host_of_which_one_address_is_dead_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(asked_at_two_addresses(monkeypatch))  # in asyncio's own loop, which races


async def asked_at_two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one takes nobody in, and says nothing."""

    async def behave(peer: Peer) -> None:
        await begun(peer)
        await snapshot(peer)
        await completed(peer, 5, 3)
        await peer.socket.wait_closed()

    async with (
        peers(behave) as url,
        AsyncClient(url.replace("127.0.0.1", "two.example"), transports=RUNGS[:1]) as client,
    ):
        port = int(url.rpartition(":")[2])
        with socket.socket() as dead, socket.socket() as first, socket.socket() as second:
            dead.bind(("127.0.0.2", port))
            dead.listen(0)
            for filling in (first, second):  # then nobody is let in, nor told so
                filling.setblocking(False)
                filling.connect_ex(("127.0.0.2", port))
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
            began = time.monotonic()
            assert (await client.follow("s").wait(SECONDS))["phase"] == "done"
            assert time.monotonic() - began < OPEN_SECONDS


EARLY = {
    "an end": lambda connection: connection.eof_received(),
    "an answer": lambda connection: connection.data_received(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
    "what is no answer": lambda connection: connection.data_received(b"busy\r\n" * 3),
    "a reset": lambda connection: connection.transport.abort(),
}
"""What may have come on a connection before its client has said a word: the client is busy, the server full."""


@pytest.mark.parametrize("early", EARLY)
async def test_a_server_that_hangs_up_before_it_was_asked_for_anything_is_only_lost(
    server: str, monkeypatch: pytest.MonkeyPatch, early: str
) -> None:
    left = 2

    async def dial(opening: connect) -> ClientConnection:
        """The first connections are like that."""
        nonlocal left
        connection = await open_tcp_connection(opening)
        if left:
            left -= 1
            EARLY[early](connection)
            await checkpoint()
        return connection

    open_tcp_connection = connect.open_tcp_connection
    monkeypatch.setattr(connect, "open_tcp_connection", dial)
    async with AsyncClient(server) as client:
        scan = await client.discover(strategy_ids=["tsmom"], symbols=["BTC/USDT"], force_refresh=True)
        assert (await scan.wait(SECONDS))["status"] == "complete"
    left = 1
    findings = {finding.check: finding for finding in await examine({"data": ":memory:"}, server, None)}
    assert not findings["websocket"].holds
    left = 1
    with pytest.raises((ServerGone, Broken)):
        await Server([server], None, Trace()).socket().__aenter__()
    assert left == 0


class Nobody:
    """A scan's owner that asks nothing."""

    url = ""

    def _leave(self, scan: Scan) -> None:
        del scan


async def test_a_body_that_sleeps_through_a_hundred_thousand_updates_is_told_the_newest_and_no_queue_grows() -> None:
    feed = Feed("s", Mirror(), None)
    feed.mirror.apply({"type": "snapshot", "cursor": "k-1.0", "state": {**SCANNING, "n": 0}, "opportunities": []})
    scan = Scan(Nobody(), feed, held={})  # type: ignore[arg-type]
    reader = aiter(scan)
    await anext(reader)
    before = len(gc.get_objects())
    for seq in range(2, 100_002):
        feed.mirror.apply({"type": "update", "cursor": f"k-{seq}.0", "patch": {"n": seq}, "skipped": 0})
        feed.bell.ring()
    grown = len(gc.get_objects()) - before
    update = await anext(reader)

    assert (update.state["n"], update.patch, update.skipped) == (100_001, {"n": 100_001}, 99_999)
    assert grown < 1000


FORKING = """
import os, sys
from scanstream.client import Client

with Client(sys.argv[1]) as client:
    assert client.market()["market"] == "synthetic"
    child = os.fork()
    if not child:
        try:
            client.market()
        except RuntimeError as error:
            print(error, flush=True)
        with Client(sys.argv[1]) as own:
            print(own.market()["market"], flush=True)
        client.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print(client.market()["market"])
"""


def test_a_client_from_before_a_fork_says_so_and_hangs_nowhere(server: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, server], capture_output=True, text=True, check=False, timeout=60
    )

    first, *rest = done.stdout.splitlines()
    assert "opened in another process" in first, done.stderr
    assert rest == ["synthetic", "synthetic"]


async def test_a_client_belongs_to_the_loop_that_it_was_opened_in(server: str) -> None:
    told: list[str] = []

    def elsewhere() -> None:
        try:
            asyncio.run(client.market())
        except RuntimeError as error:
            told.append(str(error))

    async with AsyncClient(server) as client:
        thread = Thread(target=elsewhere)
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
    assert told == ["This client was opened in another event loop: open one in this loop"]


def test_without_a_loop_of_asyncio_it_is_said_what_is_needed() -> None:
    with pytest.raises(RuntimeError, match="trio"):
        AsyncClient().__aenter__().send(None)

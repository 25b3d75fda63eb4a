"""All places for connections are taken, by somebody who makes no use of them: whoever else comes is served as ever."""

import select
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import anyio
import msgspec
import pytest
from anyio import to_thread

from conftest import Serve
from scanstream.health import MOST_ASKING, answering_for_health
from scanstream.push.transport.crowd import Crowd, Use
from scanstream.security.seats import network
from scanstream.settings import Settings
from support.metrics import Said
from support.raw import BINARY, HOST, UPGRADE, connected, everything, frame, get
from support.wire import metrics, request, websocket

pytestmark = pytest.mark.anyio

PLACES = 24
FLOODER = "127.0.0.2"
HEAD = b"POST /opportunities/discover HTTP/1.1\r\n" + HOST
ATTACKS = {
    "say nothing": b"",
    "are idle": get("/healthz"),
    "never end their heads": HEAD,
    "never end their bodies": HEAD + b"Content-Length: 100\r\n\r\n{",
}
SENT_AWAY = {
    "stay when they are refused": b"no request of HTTP\r\n\r\n",
    "stay when their sockets were closed": UPGRADE + b"\r\n" + frame(BINARY, b""),
}
"""It says something that ends the connection, and does not go."""
TAKES_NOTHING = {
    "take nothing of an answer": get("/openapi.json"),
    "take nothing of several answers": get("/openapi.json") * 3,
    "take nothing of a last answer": b"GET /openapi.json HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n",
}
"""It asks for more than the systems of both sides hold, and does not read."""


@asynccontextmanager
async def crowded(serve: Serve, monkeypatch: pytest.MonkeyPatch, first: bytes) -> AsyncIterator[str]:
    """Every place is taken from one address, and more is asked for."""
    monkeypatch.setattr("scanstream.server.places", lambda _: PLACES)
    async with serve(workers=0, silence=60) as url:
        with ExitStack() as flood:
            for _ in range(PLACES + 4):
                flood.enter_context(connected(url, first, source=FLOODER))
            with connected(url, source=FLOODER) as late:
                assert b" 503 " in await to_thread.run_sync(everything, late), "nobody makes room for the same address"
            yield url


async def refused(url: str) -> float:
    """How many were sent away by now."""
    return Said(await metrics(url)).of("scanstream_refused_total", code="overloaded")


@pytest.mark.parametrize("attack", ATTACKS)
async def test_whoever_has_most_connections_makes_room_for_others(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    async with crowded(serve, monkeypatch, ATTACKS[attack]) as url:
        before = await refused(url)
        for _ in range(PLACES):
            assert (await request(url, "GET", "/opportunities/market")).status == 200
        async with websocket(url) as one:
            await one.send(type="ping", id="1")
            assert (await one.receive())["type"] == "pong"
            assert await refused(url) > before


@pytest.mark.parametrize("attack", [*SENT_AWAY, *TAKES_NOTHING])
async def test_whoever_does_not_take_what_was_said_makes_room(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    """Who was sent away does so for anybody: no place is theirs any more."""
    monkeypatch.setattr("scanstream.server.places", lambda _: PLACES)
    async with serve(workers=0) as url:
        with ExitStack() as flood:
            said = (SENT_AWAY | TAKES_NOTHING)[attack]
            many = [
                flood.enter_context(connected(url, said, receive_buffer=2304, source=FLOODER)) for _ in range(PLACES)
            ]
            with anyio.fail_after(30):
                while len(await to_thread.run_sync(readable, many)) < PLACES:
                    pass
            for _ in range(PLACES - 1):
                flood.enter_context(connected(url, source="127.0.0.3"))
                assert (await request(url, "GET", "/opportunities/market")).status == 200
            if attack in SENT_AWAY:
                with connected(url, get("/healthz"), source=FLOODER) as late:
                    assert b" 200 " in await to_thread.run_sync(late.recv, 65536)


@pytest.mark.parametrize("attack", SENT_AWAY)
async def test_a_place_is_given_away_once(serve: Serve, monkeypatch: pytest.MonkeyPatch, attack: str) -> None:
    """Of more who come in one moment as many are let in as there are places: descriptors are kept for scans."""
    monkeypatch.setattr("scanstream.server.places", lambda _: PLACES)
    async with serve(workers=0) as url:
        with ExitStack() as flood:
            many = [flood.enter_context(connected(url, SENT_AWAY[attack], source=FLOODER)) for _ in range(PLACES)]
            with anyio.fail_after(30):
                while len(await to_thread.run_sync(readable, many)) < PLACES:
                    pass
            come = [flood.enter_context(connected(url, get("/healthz"), source="127.0.0.3")) for _ in range(2 * PLACES)]
            told = [await to_thread.run_sync(one.recv, 65536) for one in come]
            assert [b" 200 " in one for one in told].count(True) == PLACES


@pytest.mark.parametrize("attack", [*ATTACKS, *SENT_AWAY])
async def test_nobody_keeps_a_supervisor_from_asking_a_worker_how_it_is(attack: str) -> None:
    """Who finds no answer there ends the worker and starts another."""
    with ExitStack() as flood:
        async with answering_for_health(Settings(health_port=0)) as health:
            for _ in range(MOST_ASKING):
                flood.enter_context(connected(health.where, (ATTACKS | SENT_AWAY)[attack], source=FLOODER))
            for _ in range(3):
                assert (await request(health.where, "GET", "/healthz")).status == 200


async def test_long_polls_are_sent_away_before_others_are_and_streams_are_not(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for news only may come again; a stream has a seat, of which there is a bound."""
    monkeypatch.setattr("scanstream.server.places", lambda _: PLACES)
    async with serve(workers=0) as url:
        scan_id = (await request(url, "POST", "/opportunities/discover", b"{}")).json()["scan_id"]
        since = await head(url, scan_id)
        body = msgspec.json.encode({"follow": [{"scan_id": scan_id, "since": since}], "wait": 60})
        follow = b"POST /opportunities/follow HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body) + body
        poll = get(f"/opportunities/status/{scan_id}?wait=60&since={since}")
        for waits in (get(f"/opportunities/results/{scan_id}?wait=60"), poll, follow):
            with ExitStack() as flood:
                many = [flood.enter_context(connected(url, waits, source=FLOODER)) for _ in range(PLACES)]
                for _ in range(3):
                    assert (await request(url, "GET", "/healthz")).status == 200
                sent_away, *_ = await to_thread.run_sync(readable, many)
                assert b" 503 " in await to_thread.run_sync(everything, sent_away)
        with ExitStack() as flood:
            events = get(f"/opportunities/events/{scan_id}")
            many = [flood.enter_context(connected(url, events, source=FLOODER)) for _ in range(PLACES)]
            for one in many:
                assert b" 200 " in await to_thread.run_sync(one.recv, 65536)
            with connected(url, get("/healthz"), source="127.0.0.3") as late:
                assert b" 503 " in await to_thread.run_sync(everything, late)


def readable(connections: list[socket.socket]) -> list[socket.socket]:
    """Those of them on which something has come, as soon as there are any."""
    return select.select(connections, [], [], 10)[0]


async def head(url: str, scan_id: str) -> str:
    """Where a reader is that knows all of a scan of which no more comes for now."""
    before, cursor = "", "0-0.0"
    while cursor != before:
        before = cursor
        answer = await request(url, "GET", f"/opportunities/status/{scan_id}?wait=1&since={before}")
        cursor = answer.json()["cursor"]
    return cursor


class One:
    """A connection that goes when it is to, or not."""

    def __init__(self, address: str, *, idle: bool = True) -> None:
        self.network = network((address, 1))
        self.idle = idle
        self.gone = False

    def make_room(self, use: Use) -> bool:
        self.gone = self.idle or use is not Use.NONE
        return self.gone

    def cut(self) -> None:
        self.gone = True


def test_it_is_the_address_with_most_that_makes_room_and_a_network_of_ipv6_is_one() -> None:
    crowd = Crowd()
    of = {
        "one": [One("192.0.2.1") for _ in range(3)],
        "many": [One(f"2001:db8::{number:x}:1", idle=number != 0) for number in range(5)],
    }
    for some in of.values():
        for one in some:
            crowd.join(one)
    new = One("::ffff:192.0.2.1")
    crowd.join(new)
    assert crowd.makes_room(new)
    assert [one.gone for one in of["many"]] == [False, True, False, False, False]
    assert not crowd.makes_room(new), "they have as many by now"
    for one in (*of["one"], new, *of["many"]):
        crowd.leave(one)
        crowd.leave(one)
    assert (crowd._of, crowd._most) == ({}, 0)


def test_whoever_was_sent_away_makes_room_first_for_anybody_and_once() -> None:
    crowd = Crowd()
    told, stays, new = (One("192.0.2.1") for _ in range(3))
    crowd.join(stays)
    crowd.dismiss(told)
    crowd.join(new)
    assert crowd.makes_room(new)
    assert (told.gone, stays.gone) == (True, False)
    assert not crowd.makes_room(new), "its place is given away"
    crowd.dismiss(told)
    crowd.gone(told)
    crowd.gone(told)
    assert not crowd.makes_room(new), "it is gone by itself"

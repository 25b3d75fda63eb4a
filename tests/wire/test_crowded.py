"""All places for connections are taken, by somebody who makes no use of them: whoever else comes is served as ever."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import pytest
from anyio import to_thread

from conftest import Serve
from scanstream.push.transport.crowd import Crowd, network
from support.raw import HOST, connected, everything, get
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


@pytest.mark.parametrize("attack", ATTACKS)
async def test_whoever_has_most_connections_makes_room_for_others(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    async with crowded(serve, monkeypatch, ATTACKS[attack]) as url:
        for _ in range(PLACES):
            assert (await request(url, "GET", "/opportunities/market")).status == 200
        async with websocket(url) as one:
            await one.send(type="ping", id="1")
            assert (await one.receive())["type"] == "pong"
            text = await metrics(url)
        count = next(
            line for line in text.splitlines() if line.startswith('scanstream_refused_total{code="overloaded"')
        )
        assert float(count.split()[-1]) >= 5


async def test_what_is_being_answered_is_left_alone(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who waits for an answer is hung up on for somebody else."""
    monkeypatch.setattr("scanstream.server.places", lambda _: PLACES)
    async with serve(workers=0) as url:
        scan_id = (await request(url, "POST", "/opportunities/discover", b"{}")).json()["scan_id"]
        waits = get(f"/opportunities/results/{scan_id}?wait=60")
        with ExitStack() as flood:
            many = [flood.enter_context(connected(url, waits, source=FLOODER)) for _ in range(PLACES)]
            with connected(url, get("/healthz"), source="127.0.0.3") as late:
                assert b" 503 " in await to_thread.run_sync(everything, late)
            for one in many:
                one.setblocking(False)
                with pytest.raises(BlockingIOError):
                    one.recv(1)


class One:
    """A connection that goes when it is to, or not."""

    def __init__(self, address: str, *, idle: bool = True) -> None:
        self.network = network((address, 1))
        self.idle = idle
        self.gone = False

    def make_room(self) -> bool:
        self.gone = self.idle
        return self.idle


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

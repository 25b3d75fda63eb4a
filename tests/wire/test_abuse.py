"""The table of limits (docs/operations.md): each is run into on a real server, says what it is, and is counted."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from anyio import to_thread
from websockets.exceptions import ConnectionClosed, InvalidStatus

from conftest import Serve
from docs.pages import code, table
from scanstream.errors import TABLE
from scanstream.limits import Limits
from support.certificates import Authority, over
from support.guards import Ring, bearer, guarded
from support.raw import HOST, UPGRADE, connected, everything, get
from support.wire import Answer, discover, metrics, request, websocket

pytestmark = pytest.mark.anyio

Refusal = tuple[str, float | None]
"""(code, after how many seconds to come again)."""


def wanted(number: int) -> dict[str, Any]:
    """A request unlike those of other numbers."""
    return {"symbols": ["BTC/USDT"], "strategy_ids": ["tsmom"], "capital_usd": number + 1}


def of(answer: Answer) -> Refusal:
    """What an answer refuses."""
    body = answer.json()
    assert answer.status == TABLE[body["code"]].status
    again = answer.headers.get("retry-after")
    return body["code"], None if again is None else float(again)


def of_raw(received: bytes) -> Refusal:
    """The same of the bytes of one."""
    head, _, body = received.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    problem = msgspec.json.decode(body)
    assert int(head.split()[1]) == TABLE[problem["code"]].status == problem["status"]
    again = fields.get(b"retry-after")
    return problem["code"], None if again is None else float(again)


async def of_last(url: str, count: int) -> Refusal:
    """Of so many discovers all but the last one are taken; what an existing scan answers is, still."""
    answers = [await discover(url, wanted(number)) for number in range(count)]
    assert [answer.status for answer in answers[:-1]] == [202] * (count - 1)
    assert (await discover(url, wanted(0))).json()["reused"] == "running"
    return of(answers[-1])


async def too_many_scans(url: str) -> Refusal:
    return await of_last(url, 3)


async def too_many_discovers(url: str) -> Refusal:
    refusal = await of_last(url, 4)
    assert refusal[1] is not None
    assert 1 <= refusal[1] <= 20
    return refusal


async def too_many_sockets(url: str) -> Refusal:
    async with AsyncExitStack() as sockets:
        for _ in range(2):
            await sockets.enter_async_context(websocket(url))
        with pytest.raises(InvalidStatus) as refused:
            await sockets.enter_async_context(websocket(url))
        scan_id = (await discover(url, wanted(0))).json()["scan_id"]  # plain requests are answered as ever
        events = await request(url, "GET", f"/opportunities/events/{scan_id}")
        assert events.json()["code"] in {"overloaded", "rate_limited"}
    while True:
        with anyio.fail_after(20):
            try:
                async with websocket(url) as again:
                    await again.send(type="ping", id="1")
                    assert (await again.receive())["type"] == "pong"
                    break
            except InvalidStatus:  # its server has not seen yet that the others have left
                await anyio.sleep(0.05)
    response = refused.value.response
    problem = msgspec.json.decode(response.body or b"")
    assert response.status_code == TABLE[problem["code"]].status
    return problem["code"], float(response.headers["retry-after"])


async def too_many_subscriptions(url: str) -> Refusal:
    async with websocket(url) as one:
        for number in range(3):
            await one.send(type="discover", id=str(number), request=wanted(number))
        while (answer := await one.receive())["type"] != "error":
            pass
        assert answer["id"] == "2"
        return answer["code"], answer["retry_after"]


async def too_many_messages(url: str) -> Refusal:
    async with websocket(url) as one:
        for number in range(40):
            await one.send(type="ping", id=str(number))
        answers = [await one.receive() for _ in range(40)]
        refused = [answer for answer in answers if answer["type"] == "error"]
        assert 0 < len(refused) <= 30
        assert [answer["id"] for answer in answers] == [str(number) for number in range(40)]
        await anyio.sleep(refused[-1]["retry_after"])
        await one.send(type="ping", id="later")
        assert (await one.receive())["type"] == "pong"
        return refused[0]["code"], refused[0]["retry_after"]


async def too_large_a_body(url: str) -> Refusal:
    return of(await request(url, "POST", "/opportunities/discover", b" " * 3000))


async def too_large_a_head(url: str) -> Refusal:
    return of_raw(await said(url, get("/healthz")[:-2] + b"X: " + b"x" * 2000 + b"\r\n\r\n"))


async def too_long_a_silence(url: str) -> Refusal:
    return of_raw(await said(url, b"GET / HTTP/1.1\r\n" + HOST))


async def too_many_handshakes(url: str) -> Refusal:
    """Who has begun two has no third, and is hung up on; whoever else comes is let in as ever."""
    plain = "http" + url.removeprefix("https")
    with connected(plain, b"\x16\x03") as one, connected(plain, b""), connected(plain) as third:
        assert await to_thread.run_sync(everything, third) == b""
        assert "scanstream_handshakes_under_way 2.0" in await metrics(url)
        third.close()
        one.close()
        with anyio.fail_after(20):
            while "scanstream_handshakes_under_way 1.0" not in await metrics(url):  # noqa: ASYNC110
                await anyio.sleep(0.02)
    return "rate_limited", None


async def said(url: str, first: bytes) -> bytes:
    """All that comes to somebody who says this and no more."""

    def say() -> bytes:
        with connected(url, first) as connection:
            return everything(connection)

    return await to_thread.run_sync(say)


Attack = Callable[[str], Awaitable[Refusal]]
ATTACKS: dict[str, tuple[dict[str, Any], Attack]] = {
    "--max-scans": ({"max_scans": 2}, too_many_scans),
    "--max-own-scans": ({"max_own_scans": 2}, too_many_scans),
    "--max-discovers": ({"max_discovers": 3}, too_many_discovers),
    "--max-sockets": ({"max_sockets": 2}, too_many_sockets),
    "--max-own-sockets": ({"max_own_sockets": 2}, too_many_sockets),
    "--max-own-handshakes": ({"max_own_handshakes": 2, "silence": 60.0}, too_many_handshakes),
    "--max-subscriptions": ({"max_subscriptions": 2}, too_many_subscriptions),
    "--max-messages": ({"max_messages": 10}, too_many_messages),
    "--max-message": ({"max_message": 2048}, too_large_a_body),
    "--max-head": ({"max_head": 1024}, too_large_a_head),
    "--silence": ({"silence": 0.3}, too_long_a_silence),
}
TOLD = {code(row["Setting"])[0]: row for row in table("operations.md", "Setting", "What may be", "Error")}
TOGETHER = ("--max-sockets", "--max-message", "--max-head", "--silence", "--max-messages", "--max-subscriptions")
"""What one server can be held to at once."""
BY_TLS = ("--max-own-handshakes",)


def test_the_table_is_whole() -> None:
    assert TOLD.keys() == {"--" + name.replace("_", "-") for name in Limits.__dataclass_fields__} == ATTACKS.keys()
    assert {code(row["Metric"])[0] for row in TOLD.values()} == {"scanstream_refused_total"}


async def refused(url: str) -> dict[str, float]:
    """What has been refused, by code."""
    lines = (await metrics(url)).splitlines()
    found = [line for line in lines if line.startswith("scanstream_refused_total{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in found}


async def attack(url: str, setting: str) -> None:
    before = await refused(url)
    assert before.keys() == {code for code, row in TABLE.items() if row.fault != "operator"}
    kind, again = await ATTACKS[setting][1](url)
    row = TOLD[setting]
    assert code(row["Error"])[0] == kind
    assert (again is None) == (row["Come again"] == "–"), (row, again)
    assert (await refused(url))[kind] > before[kind]


@asynccontextmanager
async def together(serve: Serve) -> AsyncIterator[str]:
    changes: dict[str, Any] = {}
    for setting in TOGETHER:
        changes |= ATTACKS[setting][0]
    async with serve(workers=0, **changes) as url:
        yield url


async def test_limits_of_connections_are_run_into(serve: Serve) -> None:
    async with together(serve) as url:
        for setting in TOGETHER:
            await attack(url, setting)


@pytest.mark.parametrize("setting", sorted(ATTACKS.keys() - {*TOGETHER}))
async def test_limits_of_work_and_of_one_caller_are_run_into(serve: Serve, setting: str, tmp_path: Path) -> None:
    tls = over(Authority(tmp_path).signs("server")) if setting in BY_TLS else {}
    async with serve(workers=0, **ATTACKS[setting][0], **tls) as url:
        await attack(url, setting)


async def test_who_does_not_heed_it_that_messages_come_too_fast_is_hung_up_on(serve: Serve) -> None:
    async with serve(workers=0, max_messages=1) as url, websocket(url, ping_interval=None) as one:
        with anyio.fail_after(60), suppress(ConnectionClosed):
            while True:
                await one.connection.send('{"type":"ping"}')
                await one.connection.recv()
    assert one.connection.close_code == 1008


async def test_addresses_are_told_apart_where_principals_are_not(serve: Serve) -> None:
    """Behind a proxy that is trusted by what it says, else by their own."""
    async with serve(workers=0, max_own_sockets=1, trusted_proxy=("127.0.0.1",)) as url, AsyncExitStack() as open_:
        ours = [("192.0.2.1", "::ffff:192.0.2.1"), ("192.0.2.2", "192.0.2.2"), ("2001:db8::1", "2001:db8::f:0:0:2")]
        for address, again in [*ours, ("2001:db8:0:1::1", "2001:db8:0:1::1")]:
            await open_.enter_async_context(websocket(url, additional_headers={"X-Forwarded-For": address}))
            forged = {"X-Forwarded-For": f"198.51.100.7, {again}"}  # in front of what the proxy has seen
            with pytest.raises(InvalidStatus) as told:
                await open_.enter_async_context(websocket(url, additional_headers=forged))
            assert told.value.response.status_code == 429
    trusted = ("127.0.0.1", "10.0.0.0/8")  # one behind the other
    async with serve(workers=0, max_own_sockets=1, trusted_proxy=trusted) as url, AsyncExitStack() as open_:
        for number, proxy in enumerate(("10.1.2.3", "::ffff:10.1.2.3", "::ffff:a01:203", "[::ffff:10.1.2.3]:80")):
            said = {"X-Forwarded-For": f"192.0.2.{number}, {proxy}"}
            await open_.enter_async_context(websocket(url, additional_headers=said))
    async with serve(workers=0, max_own_sockets=1) as url, websocket(url, additional_headers={"X-Forwarded-For": "a"}):
        with pytest.raises(InvalidStatus):
            async with websocket(url, additional_headers={"X-Forwarded-For": "192.0.2.9"}):
                pass


async def test_a_socket_beyond_the_limit_costs_nothing_that_lasts(serve: Serve) -> None:
    async with serve(workers=0, max_sockets=1) as url, websocket(url):
        for _ in range(200):
            with connected(url, b"") as one:
                assert isinstance(one, socket.socket)
        with pytest.raises(InvalidStatus):
            async with websocket(url):
                pass
        text = (await request(url, "GET", "/metrics")).body.decode()
        assert "scanstream_sockets 1.0" in text


async def test_a_place_is_free_again_however_its_connection_ends(serve: Serve) -> None:
    """The streams of the fast way and of the chain, both forms, sockets in use and sockets that were let go."""

    async def taken(url: str) -> int:
        text = (await request(url, "GET", "/metrics")).body.decode()
        return int(float(text.partition("\nscanstream_sockets ")[2].split()[0]))

    async with serve(workers=0) as url:
        scan_id = (await discover(url, wanted(0))).json()["scan_id"]
        follow = msgspec.json.encode({"follow": [{"scan_id": scan_id}]})
        post = b"POST /opportunities/follow HTTP/1.1\r\n" + HOST + b"Accept: text/event-stream\r\n"
        asked = [
            get(f"/opportunities/events/{scan_id}"),
            get("/opportunities/events/latest"),
            post + b"Content-Length: %d\r\n\r\n" % len(follow) + follow,
            UPGRADE + b"\r\n",
        ]
        for first in asked:
            with connected(url, first) as one:
                assert await to_thread.run_sync(one.recv, 4096)
                with anyio.fail_after(20):
                    while await taken(url) != 1:  # noqa: ASYNC110  # the server tells nobody
                        await anyio.sleep(0.02)
            with anyio.fail_after(20):
                while await taken(url):  # noqa: ASYNC110
                    await anyio.sleep(0.02)
        head = await request(url, "HEAD", f"/opportunities/events/{scan_id}")
        assert (head.status, await taken(url)) == (200, 0)


async def test_whoever_may_not_come_in_takes_no_place() -> None:
    ring = Ring()
    async with guarded(ring, workers=0, max_sockets=2) as url, AsyncExitStack() as strangers:
        for _ in range(4):
            one = await strangers.enter_async_context(websocket(url))
            assert (await one.receive())["code"] == "unauthorized"
        async with websocket(url, additional_headers=bearer(ring.key("a"))) as friend:
            await friend.send(type="ping", id="1")
            assert (await friend.receive())["type"] == "pong"

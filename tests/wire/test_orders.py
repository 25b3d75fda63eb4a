"""A discover that is registered where it was read is answered, byte for byte, as the chain of rules and routes does."""

import re
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from anyio import to_thread

from scanstream.push.orders import Orders
from scanstream.scans.desk import ScanDesk
from scanstream.security.caller import Right
from scanstream.server import serving
from scanstream.settings import Settings
from support.certificates import TOLD_STRICTLY, Authority, over
from support.guards import Ring, bearer, guarded
from support.raw import connected
from support.wire import ONE_QUICK_SCAN, discover, request, status

pytestmark = pytest.mark.anyio

PREFIX = "/tools/scan"
PATH = "/opportunities/discover"
CHAIN = ("Content-Encoding: identity",)
"""Says nothing, and is not plain: with it the chain answers."""
BODY = msgspec.json.encode(ONE_QUICK_SCAN)
FRESH = re.compile(rb"scan_[0-9a-f]{42}|(?<=sst_)[\w-]+|\"cursor\":\"[^\"]+\"|\r\ndate: [^\r]+|\"estimated[^,]+,")
"""What differs from one new scan to the next."""


@pytest.fixture(scope="module")
async def plain() -> AsyncIterator[str]:
    """A server where one scan runs and has no end: all others wait, and stay as they are."""
    async with serving(Settings(port=0, data=":memory:", workers=0, max_running=1, max_message=2000)) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        while (await status(url, scan_id)).json()["phase"] != "running":
            pass
        for wanted in ({}, ONE_QUICK_SCAN | {"force_refresh": False}):
            await discover(url, wanted)
        yield url


@pytest.fixture(scope="module")
async def placed() -> AsyncIterator[str]:
    """A server below a path, behind a proxy."""
    there: dict[str, Any] = {"root_path": PREFIX, "trusted_proxy": ("127.0.0.1",), "allow_host": ("scans.example",)}
    async with serving(Settings(port=0, data=":memory:", workers=0, **there)) as url:
        yield url


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies of those that were taken where they were read."""
    seen: list[bytes] = []
    take = Orders.take

    def noted(self: Orders, asked: Any, body: bytes, line: Any) -> Any:
        seen.append(body)
        return take(self, asked, body, line)

    monkeypatch.setattr(Orders, "take", noted)
    return seen


def posted(target: str, lines: Sequence[str], body: bytes) -> bytes:
    sized = [*lines, f"Content-Length: {len(body)}"] if not any("ength" in line for line in lines) else lines
    return "\r\n".join([f"POST {target} HTTP/1.1", *sized, "", ""]).encode("latin-1") + body


def answer(connection: socket.socket) -> bytes:
    """The next one, but for what is new in it each time."""
    received = b""
    while not (size := re.search(rb"(?i)content-length: (\d+)", received)) or len(
        received.partition(b"\r\n\r\n")[2]
    ) < int(size[1]):
        chunk = connection.recv(65536)
        if not chunk:
            break
        received += chunk
    return FRESH.sub(b"", received)


def asked(url: str, *sent: bytes) -> list[bytes]:
    """The answers, one after the other on one connection."""
    with connected(url) as connection:
        answers = []
        for one in sent:
            connection.sendall(one)
            answers.append(answer(connection))
        return answers


async def both_ways(
    url: str, orders: list[bytes], body: bytes, *lines: str, target: str = PATH, host: str = ""
) -> tuple[bytes, bool]:
    """The answer, the same both ways, and whether the discover was taken where it was read."""
    named = [f"Host: {host or urlsplit(url).netloc}", *lines]
    short = await to_thread.run_sync(asked, url, posted(target, named, body))
    taken = len(orders)
    long = await to_thread.run_sync(asked, url, posted(target, [*named, *CHAIN], body))
    assert len(orders) == taken, "the chain was to answer"
    assert short == long, (body, lines)
    orders.clear()
    return short[0], taken > 0


async def test_over_tls_a_name_is_told_to_be_asked_by_that_only(tmp_path: Path, orders: list[bytes]) -> None:
    tls = over(Authority(tmp_path).signs("server"), allow_host=("scans.example",))
    async with serving(Settings(port=0, data=":memory:", workers=0, max_running=1, **tls)) as url:
        for host, strict in (("127.0.0.1", False), ("localhost", False), ("scans.example", True)):
            for body, code in ((b'{"force_refresh":true}', b"202"), (b'{"unknown":1}', b"422")):
                said, taken = await both_ways(url, orders, body, host=host)
                assert (said.split()[1], said.count(TOLD_STRICTLY), taken) == (code, strict, True), said


BODIES = [
    (BODY, b"202"),
    (b"", b"202"),
    (b" ", b"202"),
    (b"\xef\xbb\xbf{}", b"202"),
    (b'{"symbols":["NO/SUCH"]}', b"422"),
    (b'{"symbols":7}', b"422"),
    (b'{"capital_usd":-1', b"400"),
    (b'{"parameters":{"tsmom":7}}', b"422"),
    (b'{"parameters":{"tsmom":{"walk_forward":null}}}', b"202"),
    (b'{"unknown":1}', b"422"),
    (b"[]", b"422"),
    (b"no JSON", b"400"),
    ('{"symbols":["BTC/USDT"]}'.encode("utf-16"), b"400"),
]
LINES = [
    (("Accept: application/json", "User-Agent: curl/8", "Cookie: a=b"), True),
    (("Content-Type: text/plain",), True),
    (("Connection: keep-alive",), True),
    (("Idempotency-Key: k1",), True),
    (("Idempotency-Key: schlüssel",), True),
    (("Idempotency-Key:",), True),
    ((f"Idempotency-Key: {'k' * 256}",), True),
    (("Idempotency-Key: k1", "Idempotency-Key: k1"), False),
    (("Idempotency-Key: k1", "Idempotency-Key: k2"), False),
    (("Origin: https://page.example",), False),
    (("X-Forwarded-Prefix: /elsewhere", "X-Forwarded-Host: foreign.example"), True),
    (tuple(f"X-{number}: {number}" for number in range(70)), True),
    (tuple(f"X-{number}: {number}" for number in range(90)), False),  # more than is looked at in one piece
]


async def test_bodies(plain: str, orders: list[bytes]) -> None:
    for body, expected in BODIES:
        told, taken = await both_ways(plain, orders, body)
        assert (told.split()[1], taken) == (expected, True), body
    long = b'{"symbols":["' + b"x" * 1000 + b'"]}'  # with its head more than is looked at in one piece
    told, taken = await both_ways(plain, orders, long)
    assert (told.split()[1], taken) == (b"422", False)
    assert (await both_ways(plain, orders, b" " * 2100))[0].split()[1] == b"413"


async def test_headers(plain: str, orders: list[bytes]) -> None:
    for key in ("k1", "schlüssel"):
        named = [f"Host: {urlsplit(plain).netloc}", f"Idempotency-Key: {key}"]
        await to_thread.run_sync(asked, plain, posted(PATH, named, BODY))
    orders.clear()
    for lines, at_once in LINES:
        _, taken = await both_ways(plain, orders, BODY, *lines)
        assert taken is at_once, lines
    told, taken = await both_ways(plain, orders, BODY, host="foreign.example")
    assert (told.split()[1], taken) == (b"403", False)


async def test_targets(plain: str, placed: str, orders: list[bytes]) -> None:
    for target in (f"{PATH}?", f"{PATH}?a=1", f"{PATH}/", "/x" + PATH, "/opportunities/discove%72"):
        _, taken = await both_ways(plain, orders, BODY, target=target)
        assert not taken, target
    for target, at_once in ((PREFIX + PATH, True), (PATH, True), ("/tools" + PATH, False)):
        told, taken = await both_ways(placed, orders, BODY, target=target, host="scans.example")
        assert taken is at_once, target
        assert (b"location: /tools/scan/opportunities" in told) is at_once
    told, _ = await both_ways(placed, orders, BODY, "X-Forwarded-Prefix: /from/proxy", host="scans.example")
    assert b"location: /from/proxy/opportunities" in told
    assert (await both_ways(placed, orders, BODY, "X-Forwarded-Prefix: no path"))[0].split()[1] == b"400"


async def test_a_body_in_pieces_and_requests_one_behind_the_other_are_answered_alike(
    plain: str, orders: list[bytes]
) -> None:
    one = posted(PATH, [f"Host: {urlsplit(plain).netloc}"], BODY)

    def in_pieces() -> list[bytes]:
        with connected(plain) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in (one[:20], one[20:-5], one[-5:]):
                connection.sendall(piece)
            return [answer(connection)]

    whole = await to_thread.run_sync(asked, plain, one, one, one)
    assert len(orders) == 3
    assert len(set(whole)) == 1
    assert await to_thread.run_sync(in_pieces) == whole[:1]

    def both() -> bytes:
        received = b""
        with connected(plain, one + one) as connection:
            while received.count(b'"filters"') < 2:
                received += connection.recv(65536)
        return received

    assert (await to_thread.run_sync(both)).count(b"HTTP/1.1 202") == 2


async def test_who_leaves_before_the_ack_has_a_scan_that_may_start(
    plain: str, orders: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    register = ScanDesk.register

    async def noted(*asked: Any, **named: Any) -> Any:
        ack = await register(*asked, **named)
        names.append(ack.scan_id)
        return ack

    monkeypatch.setattr(ScanDesk, "register", noted)
    with connected(plain, posted(PATH, [f"Host: {urlsplit(plain).netloc}"], BODY)):
        pass
    while not names or (await status(plain, names[0])).json()["phase"] == "init":
        await request(plain, "GET", "/healthz")
    assert orders == [BODY]


async def test_a_defect_is_told(plain: str, orders: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any, **__: Any) -> Any:
        raise LookupError("a defect")

    monkeypatch.setattr(ScanDesk, "register", fails)
    told, taken = await both_ways(plain, orders, BODY)
    assert (told.split()[1], taken) == (b"500", True)


async def test_who_asks(orders: list[bytes]) -> None:
    """A credential that was shown before is known where the discover was read; the rest the chain looks at."""
    ring = Ring()
    key, operator, late = ring.key("ann"), ring.key("ann", Right.OPERATE), ring.key("ann")
    async with guarded(ring, workers=0, max_running=1) as url:
        for _ in range(2):  # the second one waits, as all others will
            ack = (await request(url, "POST", PATH, BODY, bearer(key))).json()
        for shown in (operator, late, ack["scan_token"]):
            await request(url, "GET", "/nothing", None, bearer(shown))
        ring.revoke(late)
        for lines, expected, at_once in (
            ((f"Authorization: Bearer {key}",), b"202", True),
            ((f"authorization: BEARER {key}",), b"202", True),
            ((f"Authorization: Bearer {operator}",), b"403", True),
            ((f"Authorization: Bearer {ack['scan_token']}",), b"403", True),
            ((), b"401", False),
            ((f"Authorization: Bearer {late}",), b"401", False),
            (("Authorization: Bearer unknown",), b"401", False),
            (("Authorization: Basic YTpi",), b"401", False),
            ((f"Authorization: Bearer {key}", f"Authorization: Bearer {key}"), b"401", False),
        ):
            told, taken = await both_ways(url, orders, BODY, *lines)
            assert (told.split()[1], taken) == (expected, at_once), lines
            assert (b'"scan_token":"sst_' in told) == (expected == b"202")
        for target in (f"{PATH}?token={key}", f"{PATH}?token={ack['scan_token']}"):
            told, taken = await both_ways(url, orders, BODY, target=target)
            assert (told.split()[1], taken) == (b"401", False)

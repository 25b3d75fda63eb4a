"""The numbers that clients and operators rely on (protocol, section 9), by TLS and where a credential is asked for.

Without these each has its own test: docs/testing.md, "Trusted", says where.
"""

import re
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import msgspec
import pytest
from anyio import to_thread

from scanstream import server as server_module
from scanstream.push.transport.bounds import PATIENCE
from scanstream.security.caller import Right
from scanstream.server import serving
from scanstream.settings import Settings
from support.certificates import Authority, over
from support.guards import bearer, key_in
from support.raw import HOST, UPGRADE, connected, everything
from support.wire import Answer, metrics, request, websocket

pytestmark = pytest.mark.anyio

SILENCE = 0.5


class House(NamedTuple):
    """A server, and who may do what there."""

    url: str
    ann: str
    olga: str

    def head(self, line: str, *more: str) -> bytes:
        """Of a request of Ann's, but for its last line."""
        lines = [f"{line} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {self.ann}", *more, ""]
        return "\r\n".join(lines).encode()

    async def said(self, first: bytes) -> bytes:
        """All that comes until the server has hung up."""

        def exchange() -> bytes:
            with connected(self.url, first) as connection:
                return everything(connection)

        return await to_thread.run_sync(exchange)

    async def ask(self, method: str, path: str, wanted: dict[str, Any] | None = None) -> Answer:
        """The answer to Ann."""
        body = None if wanted is None else msgspec.json.encode(wanted)
        return await request(self.url, method, path, body, bearer(self.ann))

    async def metric(self, name: str) -> float:
        """What it is now."""
        text = (await request(self.url, "GET", "/metrics", None, bearer(self.olga))).body.decode()
        found = re.search(rf"^{name} ([0-9.]+)$", text, re.M)
        assert found is not None, name
        return float(found[1])


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    place: Path = tmp_path_factory.mktemp("numbers")
    keys = place / "keys.toml"
    ann, olga = key_in(keys, "ann"), key_in(keys, "olga", Right.OPERATE)
    tls = over(Authority(place).signs("server"), auth="required", keys=str(keys))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_module, "PATIENCE", PATIENCE._replace(sweep=0.05))
        settings = Settings(
            port=0, data=":memory:", workers=0, silence=SILENCE, keep_alive=SILENCE, max_scans=2, max_own_scans=0, **tls
        )
        async with serving(settings) as url:
            yield House(url, ann, olga)


async def test_a_head_and_trailers_are_bounded(house: House) -> None:
    large = "X: " + "x" * 33_000
    for first in (
        house.head("GET /healthz", large) + b"\r\n",
        house.head("GET /healthz", *(f"X-{number}: 1" for number in range(101))) + b"\r\n",
        house.head("POST /opportunities/discover", "Transfer-Encoding: chunked")
        + b"\r\n2\r\n{}\r\n0\r\n"
        + large.encode()
        + b"\r\n\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    ):
        assert (await house.said(first)).startswith(b"HTTP/1.1 431 "), (first[:60], first[-60:])


async def test_who_does_not_go_on_is_told_so_and_who_says_nothing_is_closed(house: House) -> None:
    assert await house.said(b"") == b""
    half = house.head("POST /opportunities/discover", "Content-Length: 9") + b"\r\n{"
    for first in (house.head("GET /healthz"), half):
        assert (await house.said(first)).startswith(b"HTTP/1.1 408 ")
    idle = await house.said(house.head("GET /healthz") + b"\r\n")  # closed after --keep-alive, and no more is said
    assert (idle[:13], idle.count(b"HTTP/1.1 ")) == (b"HTTP/1.1 200 ", 1)


async def test_whoever_has_left_is_let_go_and_a_head_is_answered_at_once(house: House) -> None:
    scan_id = (await house.ask("POST", "/opportunities/discover", {"symbols": ["BTC/USDT"]})).json()["scan_id"]
    events, status = (f"/opportunities/{what}/{scan_id}" for what in ("events", "status"))
    with anyio.fail_after(20):
        while (told := (await house.ask("GET", status)).json())["phase"] != "running":  # then nothing more happens
            pass
    cursor = told["cursor"]
    poll = f"{status}?since={cursor}&wait=60"
    upgrade = UPGRADE.replace(HOST, HOST + f"Authorization: Bearer {house.ann}\r\n".encode())
    for first in (house.head(f"GET {events}") + b"\r\n", house.head(f"GET {poll}") + b"\r\n", upgrade + b"\r\n"):
        with ExitStack() as open_, anyio.fail_after(20):
            await to_thread.run_sync(open_.enter_context, connected(house.url, first))
            while await house.metric("scanstream_connections") != 1:
                pass
        with anyio.fail_after(20):
            while await house.metric("scanstream_connections"):
                pass
    head = await house.ask("HEAD", events)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")


async def test_at_capacity_new_work_is_refused_and_nothing_fails(house: House) -> None:
    for number in range(3):
        refused = await house.ask("POST", "/opportunities/discover", {"capital_usd": number + 1.0})
    assert (refused.status, refused.json()["code"]) == (429, "too_many_scans")
    assert float(refused.headers["retry-after"]) > 0
    async with websocket(house.url, additional_headers=bearer(house.ann)) as one:
        await one.send(type="discover", id="1", request={"capital_usd": 99.0})
        error = await one.receive()
        assert (error["code"], error["retry_after"] > 0) == ("too_many_scans", True)
    for name in ("scanstream_connections", "scanstream_readers", "scanstream_scans_unfinished"):
        assert await house.metric(name) >= 0
    assert "scanstream_" not in await metrics(house.url)

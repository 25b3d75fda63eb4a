"""A server below a path of a proxy: every address that it gives stays there, and only trusted proxies may say which."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from conftest import Serve
from scanstream.client.mirror import Mirror
from scanstream.core import open_core
from scanstream.push.forwarded import OWN
from scanstream.routes import application
from scanstream.server import serving
from scanstream.settings import Settings
from support.wire import ONE_QUICK_SCAN, request, websocket

pytestmark = pytest.mark.anyio

PREFIX = "/tools/scan"
FORWARDED = {"x-forwarded-prefix": PREFIX}


@pytest.fixture(scope="module")
async def rooted() -> AsyncIterator[str]:
    """A server that stands below a path."""
    async with serving(Settings(port=0, data=":memory:", root_path=f"{PREFIX}/")) as url:
        yield url


@pytest.fixture(scope="module")
async def trusting() -> AsyncIterator[str]:
    """A server that trusts proxies of this machine."""
    async with serving(Settings(port=0, data=":memory:", trusted_proxy=("10.0.0.0/8,127.0.0.1",))) as url:
        yield url


@pytest.fixture(params=["by a setting", "by a header"])
def below(request: pytest.FixtureRequest, rooted: str, trusting: str) -> tuple[str, dict[str, str]]:
    """A server, and what the proxy in front of it adds."""
    return (trusting, FORWARDED) if request.param == "by a header" else (rooted, {})


def addresses(scan_id: str, prefix: str = PREFIX) -> dict[str, str]:
    """All that a client is told to go to."""
    return {f"{kind}_url": f"{prefix}/opportunities/{path}/{scan_id}" for kind, path in KINDS.items()}


KINDS = {"poll": "status", "results": "results", "events": "events"}


@pytest.mark.parametrize("arrives", ["", PREFIX], ids=["stripped", "kept"])
async def test_every_address_is_below_the_path_on_every_door(below: tuple[str, dict[str, str]], arrives: str) -> None:
    url, headers = below
    wanted = msgspec.json.encode(ONE_QUICK_SCAN)
    ack = await request(url, "POST", f"{arrives}/opportunities/discover", wanted, headers)
    assert ack.status == 202
    scan_id = ack.json()["scan_id"]
    expected = addresses(scan_id)
    assert {name: ack.json()[name] for name in expected} == expected
    assert ack.headers["location"] == expected["poll_url"]
    base = url + arrives
    async with websocket(base, additional_headers=headers) as socket:
        await socket.send(type="subscribe", scan_id=scan_id)
        again = await socket.receive()
        assert {name: again[name] for name in expected} == expected
        mirror = await socket.until_end(Mirror(), scan_id)
    state = (await request(url, "GET", f"{arrives}/opportunities/status/{scan_id}", headers=headers)).json()
    assert state["poll_url"] == expected["poll_url"] == mirror.state["poll_url"]
    assert state["results_url"] == expected["results_url"]
    assert {name: state[name] for name in mirror.state} == mirror.state
    events = await request(url, "GET", f"{arrives}/opportunities/events/{scan_id}", headers=headers)
    assert f'"poll_url":"{expected["poll_url"]}"'.encode() in events.body
    listed = (await request(url, "GET", f"{arrives}/opportunities/scans", headers=headers)).json()["scans"]
    assert {scan["poll_url"].removesuffix(scan["scan_id"]) for scan in listed} == {f"{PREFIX}/opportunities/status/"}


@pytest.mark.parametrize("arrives", ["", PREFIX], ids=["stripped", "kept"])
async def test_page_contracts_and_health_are_there_too(below: tuple[str, dict[str, str]], arrives: str) -> None:
    url, headers = below
    page = await request(url, "GET", f"{arrives}/", headers=headers)
    assert page.status == 200
    for source in (b'src="', b'href="'):
        for piece in page.body.split(source)[1:]:
            assert not piece.startswith(b"/"), piece[:40]
    assert (await request(url, "GET", f"{arrives}/static/page/main.js", headers=headers)).status == 200
    document = (await request(url, "GET", f"{arrives}/openapi.json", headers=headers)).json()
    assert document["servers"] == [{"url": PREFIX}]
    sockets = (await request(url, "GET", f"{arrives}/asyncapi.json", headers=headers)).json()["servers"]
    assert [server["pathname"] for server in sockets.values()] == [PREFIX]
    assert (await request(url, "GET", f"{arrives}/healthz", headers={**headers, "host": "nodes_backend"})).status == 200
    missing = await request(url, "GET", f"{arrives}/nowhere", headers=headers)
    assert (missing.status, missing.headers["content-type"]) == (404, "application/problem+json")


async def test_the_path_without_its_slash_leads_to_the_page(below: tuple[str, dict[str, str]]) -> None:
    url, headers = below
    answer = await request(url, "GET", f"{PREFIX}?x=1", headers=headers)
    assert (answer.status, answer.headers["location"]) == (307, f"{PREFIX}/?x=1")
    for path in (f"{PREFIX}ner/healthz", f"{PREFIX}x", "/tools/healthz"):
        assert (await request(url, "GET", path, headers=headers)).status == 404


async def test_a_reused_scan_is_acknowledged_with_the_addresses_of_whoever_asks(trusting: str) -> None:
    wanted = msgspec.json.encode({**ONE_QUICK_SCAN, "force_refresh": False, "symbols": ["ETH/USDT"]})
    direct = (await request(trusting, "POST", "/opportunities/discover", wanted)).json()
    scan_id = direct["scan_id"]
    assert {name: direct[name] for name in addresses(scan_id)} == addresses(scan_id, "")
    proxied = (await request(trusting, "POST", "/opportunities/discover", wanted, FORWARDED)).json()
    assert proxied["scan_id"] == scan_id
    assert {name: proxied[name] for name in addresses(scan_id)} == addresses(scan_id)
    states = [
        (await request(trusting, "GET", f"/opportunities/status/{scan_id}", headers=headers)).json()["poll_url"]
        for headers in ({}, FORWARDED)
    ]
    assert states == [direct["poll_url"]] * 2


@pytest.mark.parametrize("prefix", ["", "/"])
async def test_no_path_is_no_path(trusting: str, prefix: str) -> None:
    answer = await request(trusting, "GET", "/openapi.json", headers={"x-forwarded-prefix": prefix})
    assert "servers" not in answer.json()


@pytest.mark.parametrize(
    "prefix", ["//evil.example", "/a/../b", "evil", "/a b", "/a%2f", "/opportunities/x", "/" * 300 + "a"]
)
async def test_a_path_that_is_none_is_refused(trusting: str, prefix: str) -> None:
    answer = await request(trusting, "GET", "/openapi.json", headers={"x-forwarded-prefix": prefix})
    assert (answer.status, answer.json()["code"]) == (400, "invalid_address")


SAID = {
    "x-forwarded-prefix": "/evil",
    "x-forwarded-host": "evil.example",
    "x-forwarded-proto": "https",
    "x-forwarded-for": "203.0.113.9",
}


async def test_nobody_else_may_say_so(serve: Serve) -> None:
    async with serve(workers=0, trusted_proxy=("127.0.0.2", "10.0.0.0/8"), root_path=PREFIX) as url:
        answer = await request(url, "GET", "/asyncapi.json", headers=SAID)
        assert answer.status == 200
        [server] = answer.json()["servers"].values()
        assert server == {"host": url.removeprefix("http://"), "protocol": "ws", "pathname": PREFIX}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-forwarded-host": "localhost"}, ("localhost", "ws")),
        ({"x-forwarded-host": "evil.example, localhost:81"}, ("localhost:81", "ws")),
        ({"x-forwarded-host": "localhost", "x-forwarded-proto": "https"}, ("localhost", "wss")),
        ({"host": "localhost", "x-forwarded-port": "8080"}, ("localhost:8080", "ws")),
        ({"host": "localhost", "x-forwarded-port": "443", "x-forwarded-proto": "https"}, ("localhost", "wss")),
        ({"x-forwarded-host": "[::1]", "x-forwarded-port": "8080"}, ("[::1]:8080", "ws")),
    ],
)
async def test_a_trusted_proxy_says_where_the_browser_is(
    trusting: str, headers: dict[str, str], expected: tuple[str, str]
) -> None:
    answer = await request(trusting, "GET", "/asyncapi.json", headers={**FORWARDED, **headers})
    [server] = answer.json()["servers"].values()
    assert (server["host"], server["protocol"]) == expected
    scheme = "https" if server["protocol"] == "wss" else "http"
    own = {**FORWARDED, **headers, "origin": f"{scheme}://{server['host']}"}
    assert (await request(trusting, "POST", "/opportunities/cancel/scan_x", b"", own)).status == 404
    foreign = {**own, "origin": f"{own['origin']}.evil.example"}
    assert (await request(trusting, "POST", "/opportunities/cancel/scan_x", b"", foreign)).status == 403


async def test_the_host_that_a_proxy_forwards_is_checked_as_any_other(trusting: str) -> None:
    for host, status in (("evil.example", 403), ("a b", 400), ("10.0.0.1", 200)):
        answer = await request(trusting, "GET", "/opportunities/scans", headers={"x-forwarded-host": host})
        assert answer.status == status


@pytest.mark.parametrize("said", ["x-forwarded-host", "x-forwarded-port"])
async def test_whatever_a_proxy_says_the_host_that_is_asked_for_is_checked_too(trusting: str, said: str) -> None:
    """A page whose name was made to point here sends its own `Host`, and any other header as it likes."""
    headers = {said: {"x-forwarded-host": "localhost", "x-forwarded-port": "80"}[said]}
    scan_id = (await request(trusting, "POST", "/opportunities/discover", b"{}")).json()["scan_id"]
    for path in ("scans", f"status/{scan_id}", f"results/{scan_id}", f"events/{scan_id}"):
        answer = await request(trusting, "GET", f"/opportunities/{path}", None, headers | {"host": "evil.example"})
        assert (answer.status, "--allow-host evil.example" in answer.json()["detail"]) == (403, True)
    for host in ("localhost", "127.0.0.1:8000", "scans.localhost"):
        answer = await request(trusting, "GET", f"/opportunities/status/{scan_id}", None, headers | {"host": host})
        assert answer.status == 200


async def test_no_path_of_the_servers_own_can_be_the_one_that_it_stands_below() -> None:
    settings = Settings(port=0, data=":memory:", workers=0)
    async with open_core(settings) as core:
        app: Any = application(settings, core)
    while not isinstance(app, Starlette):
        app = app.inner
    paths = {route.path for route in app.routes if isinstance(route, Route | Mount)} - {"/"}

    assert {path.split("/")[1] for path in paths} == set(OWN)

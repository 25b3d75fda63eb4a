"""Which hosts and which web pages may use a server, on every door: DNS rebinding, foreign origins, CORS."""

import itertools
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import anyio
import msgspec
import pytest
from websockets.exceptions import InvalidStatus

from conftest import Serve
from scanstream.server import serving
from scanstream.settings import Settings
from support.wire import ONE_QUICK_SCAN, Answer, request, websocket

pytestmark = pytest.mark.anyio

FRIEND = "http://localhost:5173"
EVIL = "https://evil.example"

LOOPBACK = ["localhost", "LOCALHOST:8000", "localhost.", "app.localhost:1", "127.0.0.1", "127.8.9.1:8000", "[::1]:8000"]
ADDRESSES = ["10.1.2.3", "192.168.1.5:8000", "[fe80::1]", "[2001:db8::1]:443", "127.1", "0.0.0.0:8000"]
ALLOWED = ["scans.example.org", "Scans.Example.Org.:8443", "a.b.tools.example", "xn--bcher-kva.example"]
FOREIGN = ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "nodes_backend", "tools.example"]
NO_HOST = ["[", "a b", "host:notaport", "user@localhost", "localhost:99999", "[::1", "localhost/x", "http://localhost"]


async def raw(url: str, head: str, body: bytes = b"") -> Answer:
    """What the server answers to these lines, as they stand."""
    address = urlsplit(url)
    assert address.hostname is not None
    with anyio.fail_after(20):
        async with await anyio.connect_tcp(address.hostname, address.port or 80) as stream:
            await stream.send(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
            received = bytearray()
            async for chunk in stream:
                received += chunk
    first, _, payload = bytes(received).partition(b"\r\n\r\n")
    status, *fields = first.decode("latin-1").split("\r\n")
    named = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return Answer(int(status.split()[1]), named, payload)


async def named(url: str, host: str, path: str = "/opportunities/strategies") -> int:
    """The status of a request for this host."""
    return (await raw(url, f"GET {path} HTTP/1.1\nHost: {host}\nConnection: close")).status


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    """A server that allows some names, and one origin beside its own."""
    settings = Settings(
        port=0,
        data=":memory:",
        workers=0,
        max_message=2048,
        allow_host=("scans.example.org,*.tools.example", "bücher.example"),
        allow_origin=("http://LOCALHOST:5173/, https://friend.example:443",),
    )
    async with serving(settings) as url:
        yield url


@pytest.mark.parametrize("host", [*LOOPBACK, *ADDRESSES, *ALLOWED])
async def test_addresses_loopback_and_allowed_names_are_answered(url: str, host: str) -> None:
    assert await named(url, host) == 200


@pytest.mark.parametrize("host", FOREIGN)
async def test_every_other_name_is_refused_on_every_path_but_those_of_health(url: str, host: str) -> None:
    for path in ("/", "/opportunities/scans", "/metrics", "/openapi.json", "/static/page/main.js", "/nowhere"):
        assert await named(url, host, path) == 403, path
    for path in ("/healthz", "/readyz"):
        assert await named(url, host, path) == 200
    answer = await request(url, "POST", "/opportunities/discover", b"{}", {"host": host})
    assert (answer.status, answer.json()["code"]) == (403, "forbidden")
    assert f"--allow-host {host.partition(':')[0]}" in answer.json()["detail"]


@pytest.mark.parametrize("host", NO_HOST)
async def test_what_is_no_host_is_400_everywhere(url: str, host: str) -> None:
    for path in ("/", "/healthz", "/opportunities/scans"):
        answer = await raw(url, f"GET {path} HTTP/1.1\nHost: {host}\nConnection: close")
        assert (answer.status, answer.json()["code"]) == (400, "invalid_address")
        assert answer.headers["content-type"] == "application/problem+json"


async def test_the_host_of_a_request_is_one(url: str) -> None:
    twice = "GET / HTTP/1.1\nHost: localhost\nHost: localhost\nConnection: close"
    assert (await raw(url, twice)).status == 400
    for head in ("GET / HTTP/1.1\nConnection: close", "GET / HTTP/1.1\nHost:\nConnection: close"):
        assert (await raw(url, head)).status == 400
    assert (await raw(url, "GET / HTTP/1.0")).status == 200


ABSOLUTE = [
    ("http://localhost/opportunities/scans", "evil.example", 200),
    ("HTTP://127.0.0.1:8000/opportunities/scans?limit=1", "evil.example", 200),
    ("http://localhost", "evil.example", 200),
    ("http://localhost?x=1", "evil.example", 200),
    ("http://evil.example/opportunities/scans", "localhost", 403),
    ("http://me@localhost/opportunities/scans", "localhost", 400),
    ("http:///opportunities/scans", "localhost", 400),
]


@pytest.mark.parametrize(("target", "host", "status"), ABSOLUTE)
async def test_the_host_of_an_absolute_target_counts_instead_of_the_header(
    url: str, target: str, host: str, status: int
) -> None:
    """RFC 9112, section 3.2.2."""
    assert (await raw(url, f"GET {target} HTTP/1.1\nHost: {host}\nConnection: close")).status == status


@pytest.mark.parametrize(("target", "status"), [("http://localhost/ws", 101), ("http://evil.example/ws", 403)])
async def test_so_it_does_for_a_socket(url: str, target: str, status: int) -> None:
    upgrade = (
        "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: " + "A" * 22 + "=="
    )
    address = urlsplit(url)
    assert address.hostname is not None
    with anyio.fail_after(20):
        async with await anyio.connect_tcp(address.hostname, address.port or 80) as stream:
            await stream.send(f"GET {target} HTTP/1.1\nHost: localhost\n{upgrade}\n\n".replace("\n", "\r\n").encode())
            assert (await stream.receive()).split()[1] == str(status).encode()


@pytest.mark.parametrize("head", ["HTTP/1.0", "HTTP/1.1\nConnection: close", "HTTP/1.1\nHost:\nConnection: close"])
async def test_health_is_told_to_a_balancer_that_names_no_host(url: str, head: str) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await raw(url, f"GET {path} {head}")).status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.2", "127.1", "LOCALHOST"])  # noqa: S104
async def test_the_check_does_not_depend_on_what_is_listened_on(serve: Serve, host: str) -> None:
    async with serve(workers=0, host=host, insecure=True) as url:
        assert await named(url, "evil.example") == 403
        assert await named(url, "localhost") == 200


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://localhost", "localhost"),
        ("http://localhost", "LOCALHOST:80"),
        ("https://scans.example.org", "scans.example.org"),
        ("https://scans.example.org", "scans.example.org:443"),
        ("HTTPS://Scans.Example.Org:443/", "scans.example.org"),
        ("http://[::1]:8000", "[0:0::1]:8000"),
        (FRIEND, "127.0.0.1:8000"),
        ("https://friend.example", "127.0.0.1"),
    ],
)
async def test_pages_of_our_own_and_of_allowed_origins_may_do_everything(url: str, origin: str, host: str) -> None:
    headers = {"origin": origin, "host": host}
    answer = await request(url, "POST", "/opportunities/cancel/scan_x", b"", headers)
    assert answer.status == 404


@pytest.mark.parametrize("origin", [None, FRIEND, "https://friend.example/"])
async def test_their_sockets_open(url: str, origin: str | None) -> None:
    async with websocket(url, origin=origin or url) as socket:
        await socket.send(type="ping", id="1")
        assert (await socket.receive())["id"] == "1"


STRANGERS = [EVIL, "null", "", "http://localhost:5174", "https://localhost:5173", "http://[", "capacitor://localhost"]


@pytest.mark.parametrize("origin", STRANGERS)
async def test_other_pages_may_start_cancel_and_follow_nothing(
    url: str, origin: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"origin": origin, "content-type": "text/plain"}
    posts = ["discover", "cancel/latest", "follow"]
    for path, accept in itertools.product(posts, ("application/json", "text/event-stream")):
        body = msgspec.json.encode(ONE_QUICK_SCAN)
        answer = await request(url, "POST", f"/opportunities/{path}", body, {**headers, "accept": accept})
        assert (answer.status, answer.json()["code"]) == (403, "forbidden"), path
        assert not [name for name in answer.headers if name.startswith("access-control")]
    for method in ("GET", "HEAD"):
        events = await request(url, method, "/opportunities/events/latest", headers=headers)
        assert events.status == 403
    with pytest.raises(InvalidStatus) as refused:
        async with websocket(url, origin=origin):
            pass
    assert refused.value.response.status_code == 403
    assert msgspec.json.decode(refused.value.response.body)["code"] == "forbidden"
    read = await request(url, "GET", "/opportunities/scans", headers=headers)
    assert read.status == 200
    assert read.json()["scans"] == []
    assert not [name for name in read.headers if name.startswith("access-control")]
    assert "origin" in read.headers["vary"].lower()
    assert caplog.records == []


ROUTES = ["discover", "status/x", "results/x", "events/x", "follow", "cancel/x", "scans", "market", "strategies"]
PATHS = [*(f"/opportunities/{route}" for route in ROUTES), "/healthz", "/metrics", "/openapi.json", "/", "/nowhere"]
WANTED = ["Content-Type", "Idempotency-Key", "Authorization", "If-None-Match", "Last-Event-ID", "Prefer"]


@pytest.mark.parametrize("path", PATHS)
async def test_an_allowed_page_is_told_so_before_it_asks(url: str, path: str) -> None:
    for method, wanted in itertools.product(("GET", "POST"), (WANTED, ["prefer"], [])):
        asked = {"access-control-request-method": method}
        if wanted:
            asked["access-control-request-headers"] = ",".join(wanted)
        answer = await request(url, "OPTIONS", path, headers={"origin": FRIEND, **asked})
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == FRIEND
        assert method in answer.headers["access-control-allow-methods"]
        assert {*WANTED} <= {*answer.headers["access-control-allow-headers"].split(", ")}
        assert "Origin" in answer.headers["vary"]


async def test_preflights_for_more_than_that_are_refused(url: str) -> None:
    asked = {"access-control-request-method": "POST"}
    foreign = await request(url, "OPTIONS", "/opportunities/discover", headers={"origin": EVIL, **asked})
    assert (foreign.status, foreign.json()["code"]) == (403, "forbidden")
    assert "access-control-allow-origin" not in foreign.headers
    assert foreign.headers["vary"] == "Origin"
    for more in ({"access-control-request-method": "PUT"}, {**asked, "access-control-request-headers": "X-Other"}):
        answer = await request(url, "OPTIONS", "/opportunities/discover", headers={"origin": FRIEND, **more})
        assert (answer.status, answer.json()["code"], answer.headers["vary"]) == (403, "forbidden", "Origin")
    rebound = {"origin": FRIEND, "host": "evil.example", **asked}
    assert (await request(url, "OPTIONS", "/opportunities/discover", headers=rebound)).status == 403


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/opportunities/strategies", None, 200),
        ("GET", "/opportunities/status/none", None, 404),
        ("GET", "/opportunities/events/none", None, 404),
        ("POST", "/opportunities/discover", b"{", 400),
        ("POST", "/opportunities/discover", b'{"nope": 1}', 422),
        ("POST", "/opportunities/discover", b" " * 4000, 413),
        ("GET", "/opportunities/discover", None, 405),
        ("GET", "/nowhere", None, 404),
        ("GET", "/static/nothing", None, 404),
    ],
)
async def test_an_allowed_page_may_read_every_answer_errors_too(
    url: str, method: str, path: str, body: bytes | None, status: int
) -> None:
    answer = await request(url, method, path, body, {"origin": FRIEND})
    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == FRIEND
    assert answer.headers["access-control-expose-headers"] == "ETag, Location, Retry-After"
    assert "Origin" in answer.headers["vary"]


async def test_an_allowed_page_may_read_refusals_of_its_host(url: str) -> None:
    answer = await request(url, "GET", "/opportunities/scans", headers={"origin": FRIEND, "host": "evil.example"})
    assert answer.status == 403
    assert answer.headers["access-control-allow-origin"] == FRIEND


async def test_an_allowed_page_reads_a_scan_to_its_end(serve: Serve) -> None:
    async with serve(allow_origin=(FRIEND,)) as url:
        headers = {"origin": FRIEND}
        ack = await request(url, "POST", "/opportunities/discover", msgspec.json.encode(ONE_QUICK_SCAN), headers)
        assert ack.status == 202
        scan_id = ack.json()["scan_id"]
        events = await request(url, "GET", f"/opportunities/events/{scan_id}", headers=headers)
        assert b"event: end" in events.body
        state = await request(url, "GET", f"/opportunities/status/{scan_id}", headers=headers)
        same = {**headers, "if-none-match": state.headers["etag"]}
        unchanged = await request(url, "GET", f"/opportunities/status/{scan_id}", headers=same)
        assert unchanged.status == 304
        for answer in (ack, events, state, unchanged):
            assert answer.headers["access-control-allow-origin"] == FRIEND

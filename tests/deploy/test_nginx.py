"""The server behind the real nginx with deploy/nginx.conf: every door, for all of a host and below a path."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import msgspec
import pytest
from anyio import to_thread
from websockets.exceptions import InvalidStatus

from client.programs import QUICK, run
from scanstream.client.mirror import Mirror
from scanstream.server import serving
from scanstream.settings import Settings
from support.plain import NO_TLS
from support.proxy import proxied
from support.script import scripting
from support.wire import ONE_QUICK_SCAN, request, results, until_terminal, websocket

pytestmark = pytest.mark.anyio

PREFIX = "/tools/scan"
PUBLIC = "scans.example.org"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of nginx; its log is there."""
    return tmp_path_factory.mktemp("nginx")


@pytest.fixture(scope="module")
async def fronts(directory: Path) -> AsyncIterator[tuple[str, str]]:
    """nginx as we have it before one server, and nginx with nothing but a proxy_pass before another."""
    configured = Settings(port=0, data=":memory:", workers=1, allow_host=(PUBLIC,), trusted_proxy=("127.0.0.1",))
    rooted = Settings(port=0, data=":memory:", workers=1, root_path=PREFIX)
    async with serving(configured) as url, serving(rooted) as other:
        with proxied(url, directory, other) as fronts:
            yield fronts


@pytest.fixture(params=["", PREFIX], ids=["host", "path"])
def prefix(request: pytest.FixtureRequest) -> str:
    """Where the server is, for a browser."""
    prefix: str = request.param
    return prefix


async def test_a_scan_from_its_ack_to_its_results(fronts: tuple[str, str], prefix: str) -> None:
    front, _ = fronts
    wanted = msgspec.json.encode(ONE_QUICK_SCAN)
    ack = await request(front, "POST", f"{prefix}/opportunities/discover", wanted)
    assert ack.status == 202
    body = ack.json()
    scan_id = body["scan_id"]
    assert ack.headers["location"] == body["poll_url"] == f"{prefix}/opportunities/status/{scan_id}"
    state = await until_terminal(front + prefix, scan_id)
    assert state["poll_url"] == body["poll_url"]
    found = await request(front, "GET", body["results_url"])
    assert found.json()["total_opportunities"] == state["total_opportunities"]
    events = await request(front, "GET", body["events_url"])
    assert events.headers["content-type"].startswith("text/event-stream")
    assert events.body.count(b"event: end\n") == 1
    async with websocket(front + prefix, origin=front) as socket:
        await socket.send(type="subscribe", scan_id=scan_id)
        assert (await socket.receive())["poll_url"] == body["poll_url"]
        mirror = await socket.until_end(Mirror(), scan_id)
    assert {name: state[name] for name in mirror.state} == mirror.state


async def test_news_comes_at_once_on_every_door(fronts: tuple[str, str], prefix: str) -> None:
    """While the scan goes on: nothing is held back until there is more."""
    base = fronts[0] + prefix
    async with scripting() as script, httpx.AsyncClient(timeout=30, trust_env=False, verify=NO_TLS) as client:
        ack = (await client.post(f"{base}/opportunities/discover", json=script.request(2, force_refresh=True))).json()
        scan_id = ack["scan_id"]
        shard = await script.started()
        tag = (await client.get(f"{base}/opportunities/status/{scan_id}")).headers["etag"]
        with anyio.fail_after(30):
            async with (
                client.stream("GET", f"{base}/opportunities/events/{scan_id}") as events,
                websocket(base, origin=fronts[0]) as socket,
            ):
                lines = events.aiter_lines()
                await socket.send(type="subscribe", scan_id=scan_id)
                assert [(await socket.receive())["type"] for _ in range(2)] == ["ack", "snapshot"]
                while await anext(lines) != "event: snapshot":
                    pass
                await shard.tell("find 1", "end")
                assert (await socket.receive())["type"] == "update"
                while await anext(lines) != "event: update":
                    pass
                polled = await client.get(
                    f"{base}/opportunities/status/{scan_id}?wait=20", headers={"if-none-match": tag}
                )
                assert (polled.status_code, polled.json()["status"]) == (200, "scanning")
                await (await script.started()).tell("end")
                while await anext(lines) != "event: end":
                    pass


async def test_the_page_and_its_files_are_there(fronts: tuple[str, str], prefix: str) -> None:
    front, _ = fronts
    page = await request(front, "GET", f"{prefix}/")
    assert page.status == 200
    assert b'src="static/page/main.js"' in page.body
    assert (await request(front, "GET", f"{prefix}/static/page/main.js")).status == 200
    servers = (await request(front, "GET", f"{prefix}/openapi.json")).json().get("servers", [{"url": ""}])
    assert servers == [{"url": prefix}]


async def test_who_may_come_in_is_the_same_behind_a_proxy(fronts: tuple[str, str], prefix: str) -> None:
    front, _ = fronts
    path = f"{prefix}/opportunities/cancel/scan_x"
    for host, origin, status in (
        (urlsplit(front).netloc, front, 404),
        (PUBLIC, f"http://{PUBLIC}", 404),
        (PUBLIC, f"https://{PUBLIC}", 404),
        (PUBLIC, front, 403),
        (PUBLIC, "null", 403),
        ("evil.example", "http://evil.example", 403),
    ):
        answer = await request(front, "POST", path, b"", {"host": host, "origin": origin})
        assert answer.status == status, (host, origin)
    with pytest.raises(InvalidStatus) as refused:
        async with websocket(front + prefix, origin="http://evil.example"):
            pass
    assert refused.value.response.status_code == 403


async def test_a_client_cannot_speak_for_the_proxy(fronts: tuple[str, str], prefix: str) -> None:
    said = {"x-forwarded-prefix": "/evil", "x-forwarded-host": "localhost", "x-forwarded-port": "1", "host": PUBLIC}
    answer = await request(fronts[0], "GET", f"{prefix}/asyncapi.json", headers=said)
    servers = answer.json().get("servers", {})
    assert [(server["host"], server["pathname"]) for server in servers.values()] == [(PUBLIC, prefix)] * bool(prefix)


async def test_what_is_too_large_is_refused_by_the_server_itself(fronts: tuple[str, str], prefix: str) -> None:
    answer = await request(fronts[0], "POST", f"{prefix}/opportunities/discover", b" " * 1_100_000)
    assert (answer.status, answer.json()["code"]) == (413, "too_large")


async def test_the_commands_go_through_it(fronts: tuple[str, str], prefix: str) -> None:
    where = ("--url", f"{fronts[0]}{prefix}/")
    shown = await to_thread.run_sync(lambda: run("discover", "--force-refresh", *QUICK, *where))
    assert (shown.returncode, shown.stderr) == (0, "")
    shown = await to_thread.run_sync(lambda: run("status", "latest", *where))
    assert shown.returncode == 0


async def test_nothing_but_a_proxy_pass_does_for_everything_but_sockets(fronts: tuple[str, str]) -> None:
    """With `--root-path`: HTTP/1.0 to the server, and the server's address for a host."""
    _, front = fronts
    for path in ("/", "/static/page/main.js", "/healthz", "/openapi.json"):
        assert (await request(front, "GET", PREFIX + path)).status == 200
    ack = await request(front, "POST", f"{PREFIX}/opportunities/discover", msgspec.json.encode(ONE_QUICK_SCAN))
    body = ack.json()
    assert ack.headers["location"] == body["poll_url"] == f"{PREFIX}/opportunities/status/{body['scan_id']}"
    await until_terminal(front + PREFIX, body["scan_id"])
    assert (await request(front, "GET", body["events_url"])).body.count(b"event: end\n") == 1
    assert (await results(front + PREFIX, body["scan_id"])).status == 200
    redirected = await request(front, "GET", PREFIX)
    assert redirected.status == 301
    assert urlsplit(redirected.headers["location"]).path == f"{PREFIX}/"


async def test_the_token_of_a_link_is_in_no_log(fronts: tuple[str, str], directory: Path, prefix: str) -> None:
    front, _ = fronts
    path = f"{prefix}/opportunities/status/latest"
    told = {"referer": "https://elsewhere.example/?token=sst_s3cret"}
    answer = await request(front, "GET", f"{path}?to%6ben=sst_s3cret&token=sst_s3cret", None, told)
    log = directory / "access.log"
    with anyio.fail_after(30):
        while f'"GET {path} HTTP/1.1" {answer.status} ' not in log.read_text():  # noqa: ASYNC110  # nginx tells nobody
            await anyio.sleep(0.02)
    assert "s3cret" not in log.read_text()


def test_the_file_says_what_the_page_on_operations_says() -> None:
    """Timeouts, sizes and headers that the table there names."""
    text = (Path(__file__).parent.parent.parent / "deploy" / "nginx.conf").read_text()
    for line in ("proxy_buffering    off;", "proxy_read_timeout 75s;", "keepalive_timeout 60s;"):
        assert line in text

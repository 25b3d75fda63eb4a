"""scanstream within somebody's own application, Starlette's or FastAPI's, on an ordinary uvicorn and a real socket."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from websockets.exceptions import ConnectionClosed

from scanstream.app import HOSTS_OWN, SEVERAL, Options, Scanstream
from scanstream.client.mirror import Mirror
from scanstream.errors import DataLocked, MarketError, SettingError
from scanstream.scans.sweeper import Sweeper
from scanstream.settings import Settings
from support.hosting import host_process, hosted
from support.plain import NO_TLS
from support.readers import READERS, Reader
from support.script import Script, scripting
from support.wire import ONE_QUICK_SCAN, discover, request, results, until_terminal, websocket

pytestmark = pytest.mark.anyio

BELOW = "/scans"


class Hosted(NamedTuple):
    """A server of somebody's application."""

    root: str
    scans: Scanstream
    script: Script

    @property
    def url(self) -> str:
        """Where scanstream is."""
        return self.root + BELOW


async def own(_: Request) -> Response:
    """A route of the host."""
    return PlainTextResponse("the host's own")


def starlette(scans: Scanstream) -> ASGIApp:
    """An application of Starlette."""
    return Starlette(routes=[Route("/own", own), Mount(BELOW, scans)], lifespan=scans.lifespan)


def fastapi(scans: Scanstream) -> ASGIApp:
    """An application of FastAPI, with a middleware as people write them."""
    framework = pytest.importorskip("fastapi", reason="FastAPI is not installed")
    app = framework.FastAPI(lifespan=scans.lifespan)

    @app.middleware("http")  # type: ignore[untyped-decorator,unused-ignore]
    async def timed(asked: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        answer = await go_on(asked)
        answer.headers["x-of-the-host"] = "1"
        return answer

    @app.get("/own")  # type: ignore[untyped-decorator,unused-ignore]
    async def own() -> str:
        return "the host's own"

    app.mount(BELOW, scans)
    result: ASGIApp = app
    return result


@pytest.fixture(scope="module", params=[starlette, fastapi], ids=lambda make: make.__name__)
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Hosted]:
    """A host, running, for all that it is asked here."""
    scans = Scanstream(data=":memory:", workers=1, allow_host="scans.example")
    async with hosted(request.param(scans)) as root, scripting() as script:
        yield Hosted(root, scans, script)


@pytest.mark.parametrize("door", READERS, ids=lambda door: door.name)
async def test_a_scan_is_followed_below_the_mount_on_every_door(host: Hosted, door: type[Reader]) -> None:
    ack = await discover(host.url, host.script.request(shards=1, force_refresh=True))
    assert (ack.status, ack.headers["location"]) == (202, ack.json()["poll_url"])
    scan_id = ack.json()["scan_id"]
    addresses = {f"{kind}_url": f"{BELOW}/opportunities/{path}/{scan_id}" for kind, path in KINDS.items()}
    assert {name: ack.json()[name] for name in addresses} == addresses
    with anyio.fail_after(30):
        shard = await host.script.started()
        async with door.open(host.url, scan_id) as reader:
            await reader.until(lambda mirror: mirror.state.get("phase") == "running")
            await shard.tell("find 3", "end")
            await reader.until_end()
    final = await until_terminal(host.url, scan_id)
    assert {name: final[name] for name in reader.mirror.state} == reader.mirror.state
    assert (final["status"], final["poll_url"]) == ("complete", addresses["poll_url"])
    found = (await results(host.url, scan_id)).json()["opportunities"]
    assert len(found) == 3
    assert sorted(reader.mirror.opportunities, key=lambda one: str(one["id"])) == sorted(
        found, key=lambda one: one["id"]
    )


KINDS = {"poll": "status", "results": "results", "events": "events"}


async def test_the_page_the_contracts_and_refusals_are_below_the_mount(host: Hosted) -> None:
    page = await request(host.url, "GET", "/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (await request(host.root, "GET", BELOW)).status == 307
    document = (await request(host.url, "GET", "/openapi.json")).json()
    assert document["servers"] == [{"url": BELOW}]
    assert (await request(host.url, "GET", "/readyz")).json() == {"status": "ready"}
    candles = (await request(host.url, "GET", "/opportunities/market/candles?symbol=BTC/USDT")).json()
    assert candles["symbol"] == "BTC/USDT"
    missing = await request(host.url, "GET", "/nowhere")
    assert (missing.status, missing.json()["code"]) == (404, "no_such_route")
    for status, headers in ((403, {"host": "evil.example"}), (200, {"host": "scans.example"})):
        assert (await request(host.url, "GET", "/opportunities/market", headers=headers)).status == status


async def test_what_is_the_hosts_stays_the_hosts(host: Hosted) -> None:
    assert b"the host's own" in (await request(host.root, "GET", "/own")).body
    for path in ("/opportunities/market", "/healthz", "/ws", f"{BELOW}ner/healthz"):
        answer = await request(host.root, "GET", path)
        assert (answer.status, b"no_such_route" in answer.body) == (404, False), path


async def test_who_leaves_is_let_go(host: Hosted, caplog: pytest.LogCaptureFixture) -> None:
    """Also behind a middleware of the host: a stream, a long poll and a WebSocket, all of a scan that says nothing."""
    scan_id = (await discover(host.url, host.script.request(shards=1, force_refresh=True))).json()["scan_id"]
    running = host.scans._running
    assert running is not None
    drain = running.core.drain
    with anyio.fail_after(30):
        shard = await host.script.started()
        for path in (f"events/{scan_id}", f"status/{scan_id}?since=none&wait=60"):
            async with httpx.AsyncClient(verify=NO_TLS) as client, anyio.create_task_group() as tasks:
                at = (await request(host.url, "GET", f"/opportunities/status/{scan_id}")).json()["cursor"]
                tasks.start_soon(_ask, client, f"{host.url}/opportunities/{path.replace('none', at)}")
                await _until(lambda: len(drain) == 1)
                tasks.cancel_scope.cancel()
            await _until(lambda: len(drain) == 0)
        async with websocket(host.url) as socket:
            await socket.send(type="subscribe", scan_id=scan_id)
            await socket.receive()
            assert len(drain) == 1
        await _until(lambda: len(drain) == 0)
        await shard.tell("end")
        await until_terminal(host.url, scan_id)
    assert "Traceback" not in caplog.text


async def _ask(client: httpx.AsyncClient, address: str) -> None:
    async with client.stream("GET", address, timeout=60) as answer:
        async for _ in answer.aiter_raw():
            pass


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # it is told to nobody
        await anyio.sleep(0.02)


PROXIED = [
    ("/api/scans", {"root_path": "/api"}, {}, {}),
    ("/tools/scans", {}, {"trusted_proxy": "127.0.0.1"}, {"x-forwarded-prefix": "/tools"}),
    ("/tools/scans", {}, {"root_path": "/tools"}, {}),
    ("/api/scans", {"root_path": "/api"}, {"root_path": "/api"}, {}),
]


@pytest.mark.parametrize(("prefix", "of_uvicorn", "options", "headers"), PROXIED)
async def test_a_host_below_a_path_of_a_proxy(
    prefix: str, of_uvicorn: dict[str, Any], options: Any, headers: dict[str, str]
) -> None:
    scans = Scanstream(data=":memory:", workers=0, **options)
    async with hosted(starlette(scans), **of_uvicorn) as root:
        ack = await request(root + BELOW, "POST", "/opportunities/discover", b"{}", headers)
        assert ack.status == 202
        assert ack.headers["location"] == f"{prefix}/opportunities/status/{ack.json()['scan_id']}"
        state = await request(
            root, "GET", ack.headers["location"].removeprefix(prefix.removesuffix(BELOW)), None, headers
        )
        assert state.json()["poll_url"] == ack.headers["location"]


async def test_a_server_that_says_a_path_which_is_not_in_what_is_asked() -> None:
    """As where a proxy strips it: ASGI servers differ in that."""
    scans = Scanstream(data=":memory:", workers=0)
    inner = starlette(scans)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope if scope["type"] == "lifespan" else {**scope, "root_path": "/api"}, receive, send)

    async with hosted(app) as root:
        for front in (BELOW, f"/api{BELOW}"):
            ack = await request(root + front, "POST", "/opportunities/discover", b"{}")
            assert (ack.status, ack.json()["poll_url"][:11]) == (202, "/api/scans/")
            async with websocket(root + front) as socket:
                await socket.send(type="ping")
                assert (await socket.receive())["type"] == "pong"


async def test_an_odd_path_of_the_mount_is_no_header_of_its_own() -> None:
    scans = Scanstream(data=":memory:", workers=0)
    app = Starlette(routes=[Mount("/{tenant}", scans)], lifespan=scans.lifespan)
    async with hosted(app) as root:
        ack = await request(f"{root}/a%0d%0aX-Evil:%201%C3%BC", "POST", "/opportunities/discover", b"{}")
        assert (ack.status, "x-evil" in ack.headers) == (202, False)
        assert ack.headers["location"].startswith("/a%0D%0AX-Evil%3A%201%C3%BC/opportunities/status/")
        state = await request(root, "GET", ack.headers["location"])
        assert state.json()["poll_url"] == ack.headers["location"]


@pytest.mark.parametrize("outer", ["", "/a"])
async def test_mounts_of_nothing_and_within_each_other(outer: str) -> None:
    scans = Scanstream(data=":memory:", workers=0)
    inner: list[BaseRoute] = [Mount("/b" if outer else "/", scans)]
    routes = [Route("/own", own), *([Mount(outer, routes=inner)] if outer else inner)]
    below = f"{outer}/b" if outer else ""
    async with hosted(Starlette(routes=routes, lifespan=scans.lifespan)) as root:
        ack = await discover(root + below, {})
        assert (ack.status, ack.json()["poll_url"]) == (202, f"{below}/opportunities/status/{ack.json()['scan_id']}")
        assert (await request(root, "GET", ack.json()["poll_url"])).status == 200
        async with websocket(root + below) as socket:
            await socket.send(type="ping")
            assert (await socket.receive())["type"] == "pong"
        assert (await request(root, "GET", "/own")).body == b"the host's own"


async def test_it_is_an_application_by_itself_too() -> None:
    async with hosted(Scanstream(data=":memory:", workers=1)) as root:
        scan_id = (await discover(root, ONE_QUICK_SCAN)).json()["scan_id"]
        assert (await until_terminal(root, scan_id))["status"] == "complete"


async def test_a_lifespan_of_ones_own_around_it() -> None:
    scans = Scanstream(data=":memory:", workers=0)
    order: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
        async with scans.lifespan(app):
            order.append("started")
            yield {"pool": "the host's"}
        order.append("stopped")

    async def pool(asked: Request) -> Response:
        return PlainTextResponse(asked.state.pool)

    app = Starlette(routes=[Route("/pool", pool), Mount(BELOW, scans)], lifespan=lifespan)
    async with hosted(app) as root:
        assert (await request(root, "GET", "/pool")).body == b"the host's"
        assert (await request(root + BELOW, "GET", "/readyz")).status == 200
        assert order == ["started"]
    assert order == ["started", "stopped"]


async def test_what_the_host_raises_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="the host's"):
        async with Scanstream(data=":memory:", workers=0).lifespan():
            raise KeyError("the host's")


async def test_it_can_be_started_again_and_twice_side_by_side(tmp_path: Path) -> None:
    one, other = Scanstream(data=tmp_path / "one", workers=0), Scanstream(data=tmp_path / "other", workers=0)
    for _ in range(2):
        async with one.lifespan(), other.lifespan():
            with pytest.raises(SettingError, match="runs already: make one for each application"):
                await one.lifespan().__aenter__()
    async with one.lifespan():
        with pytest.raises(DataLocked, match="name another directory with data="):
            await Scanstream(data=tmp_path / "one", workers=0).lifespan().__aenter__()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"workers": -1}, "^workers=-1: it must be at least 0$"),
        ({"max_in_loop_per_scan": 0}, "^max_in_loop_per_scan=0: it must be at least 1$"),
        ({"fresh": 10, "retention": 5}, "^fresh=10: it must be between 0 and retention=$"),
        ({"allow_origin": "nonsense"}, "^allow_origin=nonsense: write scheme and host"),
        ({"allow_origin": ["https://a.example", "nonsense"]}, "^allow_origin=nonsense"),
        ({"trusted_proxy": "x"}, "^trusted_proxy=x: write an address"),
        ({"port": 1}, "^port= is a matter of the server that runs your application$"),
        ({"stall": 1}, "^stall= is a matter"),
        ({"colour": 1}, "^There is no setting colour="),
        ({"engine": "paper"}, "^engine=paper: write sqlite"),
    ],
)
def test_settings_are_arguments_and_are_told_as_such(options: Any, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        Scanstream(**options)


def test_the_options_are_the_settings() -> None:
    names = set(Settings.__dataclass_fields__)
    assert Options.__annotations__.keys() == names - HOSTS_OWN
    assert names > HOSTS_OWN
    assert {name for name in names if isinstance(getattr(Settings, name), tuple)} == SEVERAL


async def test_a_market_that_cannot_be_read_is_told_by_itself(tmp_path: Path) -> None:
    with pytest.raises(MarketError, match=r"nothing\.csv"):
        async with Scanstream(data=":memory:", market=f"files:{tmp_path / 'nothing.csv'}").lifespan():
            pass


async def test_one_that_was_not_started_says_what_to_do() -> None:
    forgotten = Starlette(routes=[Mount(BELOW, Scanstream(data=":memory:"))])
    transport = httpx.ASGITransport(forgotten)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with pytest.raises(RuntimeError, match=r"was not started.*lifespan=scans\.lifespan"):
            await client.get(f"{BELOW}/")


async def test_one_that_has_stopped_asks_to_come_back() -> None:
    scans = Scanstream(data=":memory:", workers=0)
    async with scans.lifespan():
        pass
    async with httpx.AsyncClient(transport=httpx.ASGITransport(scans), base_url="http://localhost") as client:
        answer = await client.get("/opportunities/market")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "restarting", "1")


async def test_a_part_that_dies_ends_the_hosts_lifespan(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's server says so in its log, and goes on; whoever asks for scans is told to come back."""
    dies = anyio.Event()

    async def mortal(_: Sweeper) -> None:
        await dies.wait()

    monkeypatch.setattr(Sweeper, "run", mortal)
    scans = Scanstream(data=":memory:", workers=0)
    ended: list[BaseException] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            async with scans.lifespan(app):
                yield
        except Exception as error:
            ended.append(error)
            raise

    async with hosted(Starlette(routes=[Route("/own", own), Mount(BELOW, scans)], lifespan=lifespan)) as root:
        dies.set()
        await _until(lambda: bool(ended))
        answer = await request(root + BELOW, "GET", "/readyz")
        assert (answer.status, answer.json()["code"]) == (503, "restarting")
        assert (await request(root, "GET", "/own")).status == 200
    assert isinstance(ended[0], RuntimeError)
    assert "was to go on as long as the server" in str(ended[0])


def test_other_event_loops_are_refused() -> None:
    scans = Scanstream(data=":memory:", workers=0)

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(scans), base_url="http://localhost") as client:
            await client.get("/opportunities/market")

    async def run() -> None:
        async with scans.lifespan():
            with pytest.raises(RuntimeError, match="another event loop"):
                await anyio.to_thread.run_sync(lambda: asyncio.run(ask()))

    asyncio.run(run())


def test_other_kinds_of_event_loops_are_refused() -> None:
    stopped = Scanstream(data=":memory:").lifespan().__aenter__()
    with pytest.raises(SettingError, match="loops of asyncio"):
        stopped.send(None)


MODULE = """
from starlette.applications import Starlette
from starlette.routing import Mount
from scanstream.app import Scanstream

scans = Scanstream(data="kept", workers=1)
app = Starlette(routes=[Mount("/scans", scans)], lifespan=scans.lifespan)
"""


async def test_a_signal_ends_it_with_everybody_told_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """A WebSocket, a stream and a long poll are open: the host's server need not wait for them, nor cut them."""
    async with scripting() as script:
        with host_process(tmp_path, MODULE) as host, anyio.fail_after(60):
            url = host.until_serving() + "/scans"
            scan_id = (await discover(url, script.request(shards=2))).json()["scan_id"]
            await (await script.started()).tell("find 2", "end")
            await script.started()
            mirror = Mirror()
            async with websocket(url) as socket, anyio.create_task_group() as tasks:
                await socket.send(type="subscribe", scan_id=scan_id)
                while len(mirror.opportunities) < 2:
                    if (message := await socket.receive())["type"] != "ack":
                        mirror.apply(message)
                ended: list[httpx.Response] = []
                tasks.start_soon(_read, f"{url}/opportunities/events/{scan_id}", ended)
                tasks.start_soon(_read, f"{url}/opportunities/status/{scan_id}?since={mirror.cursor}&wait=60", ended)
                await _until_connected(url, 3)
                status, said = await anyio.to_thread.run_sync(host.ended)
                error = await socket.receive()
                assert (error["code"], error["retry_after"]) == ("restarting", 1)
                with pytest.raises(ConnectionClosed):
                    await socket.receive()
                assert socket.connection.close_code == 1012
            assert [answer.status_code for answer in ended] == [200, 200]
            assert ("Traceback" in said, "Application shutdown complete" in said) == (False, True), said
            assert status in (0, -15)
        with host_process(tmp_path, MODULE) as host, anyio.fail_after(60):
            url = host.until_serving() + "/scans"
            shard = await script.started()
            async with READERS[0].open(url, scan_id, mirror) as reader:
                await shard.tell("find 3", "end")
                await reader.until_end()
                assert not any(frame["type"] == "snapshot" for frame in reader.frames)
            found = [one["id"] for one in mirror.opportunities]
            assert (len(found), len(set(found)), mirror.state["status"]) == (5, 5, "complete")


async def test_the_host_hears_a_signal_once_everybody_was_told() -> None:
    """It may close its connections in the same turn of the loop: with 1012, and without a word of when to come back."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        scans = Scanstream(data=":memory:", workers=0)
        async with hosted(starlette(scans)) as root, websocket(root + BELOW) as socket:
            await socket.send(type="ping", id="1")
            assert (await socket.receive())["type"] == "pong"
            signal.raise_signal(signal.SIGTERM)
            assert heard == []
            error = await socket.receive()
            assert (error["code"], error["retry_after"]) == ("restarting", 1)
            with anyio.fail_after(20):
                while not heard:  # noqa: ASYNC110  # a signal wakes nobody here
                    await anyio.sleep(0.02)
            signal.raise_signal(signal.SIGTERM)
            assert heard == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, before)


async def _read(address: str, ended: list[httpx.Response]) -> None:
    async with httpx.AsyncClient(timeout=60, verify=NO_TLS) as client:
        ended.append(await client.get(address))


async def _until_connected(url: str, count: int) -> None:
    wanted = f"scanstream_connections {count}"
    while not any(  # noqa: ASYNC110  # it is told to nobody
        line.startswith(wanted) for line in (await request(url, "GET", "/metrics")).body.decode().splitlines()
    ):
        await anyio.sleep(0.05)


@pytest.mark.parametrize("data", ['":memory:"', '"kept"'])
async def test_several_worker_processes_are_refused_in_words(tmp_path: Path, data: str) -> None:
    module = MODULE.replace('"kept"', data)
    with host_process(tmp_path, module, "--workers", "2") as host:
        told = await anyio.to_thread.run_sync(host.until_said, r"SettingError: (.*)")
        assert "several worker processes" in told
        assert "--workers 1" in told


async def test_signals_that_nobody_takes_are_left_alone() -> None:
    import signal

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with Scanstream(data=":memory:", workers=0).lifespan():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

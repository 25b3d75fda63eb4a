"""`scanstream doctor`: what holds is said to hold, what does not is named with what to do, and nothing is changed."""

import asyncio
import json
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as listen
from websockets.http11 import Request, Response

from client.test_through_a_proxy import forwarding
from conftest import Serve
from scanstream import routes
from scanstream.doctor import running
from scanstream.doctor.examining import examine
from scanstream.doctor.finding import Finding, lines
from scanstream.doctor.machine import versions
from scanstream.engines.nats.connection import connected
from scanstream.server import serving
from scanstream.settings import Settings
from support.certificates import Authority, Certificate, directory_of, over
from support.nats import NatsServer

pytestmark = pytest.mark.anyio

SECRET = "open-sesame-4711"  # noqa: S105  # it opens nothing


async def found(url: str | None = None, secret: str | None = None, **flags: Any) -> dict[str, Finding]:
    """What is found, by what was looked at; the port is any, unless given."""
    given = {"port": 0, "data": ":memory:", **flags}
    findings = await examine(given, url, secret)
    assert all(one.do for one in findings if not one.holds), findings
    return {one.check: one for one in findings}


def failing(findings: dict[str, Finding]) -> set[str]:
    return {name for name, one in findings.items() if not one.holds}


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(directory.rglob("*"))}


async def test_all_holds_where_a_server_would_work(tmp_path: Path) -> None:
    data = tmp_path / "scans"
    told = await found(data=str(data))
    assert failing(told) == set()
    assert "made at the start" in told["data"].says
    assert contents(tmp_path) == {}
    async with serving(Settings(port=0, data=str(data), workers=0)):
        told = await found(data=str(data))
        assert failing(told) == set()
        assert "a server uses the directory" in told["lock"].says
        assert "write-ahead log" in told["database"].says
    before = contents(data)
    told = await found(data=str(data))
    assert (failing(told), told["lock"].says) == (set(), "free")
    assert contents(data) == before


def test_what_is_installed_is_told_with_its_version() -> None:
    told = {one.check: one.says for one in versions()}
    assert "msgspec" in told["libraries"]
    assert "starlette" in told["installed: server"]
    assert told["python"].startswith(".".join(map(str, sys.version_info[:3])))


@contextmanager
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def test_what_does_not_hold_is_named(tmp_path: Path) -> None:
    assert failing(await found(workers=-1)) == {"settings"}
    assert failing(await found(market="horoscope")) == {"market"}
    assert failing(await found(market=f"files:{tmp_path / 'nowhere'}")) == {"market"}
    with taken() as port:
        assert failing(await found(port=port)) == {"port"}
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "scanstream.db").write_text("no database, but long enough to be one" * 10)
    assert failing(await found(data=str(tmp_path / "A"))) == {"database"}
    (tmp_path / "B").mkdir()
    with sqlite3.connect(tmp_path / "B" / "scanstream.db") as database:
        database.execute("PRAGMA user_version = 99")
        database.execute("CREATE TABLE one (two)")
    database.close()
    told = await found(data=str(tmp_path / "B"))
    assert (failing(told), "schema 99" in told["database"].says) == ({"database"}, True)
    assert failing(await found(auth="required", keys=str(tmp_path / "no.keys"))) & {"settings", "credentials"}
    assert "no shard is run" in (await found(workers=0))["settings"].do
    (tmp_path / "file").touch()
    told = await found(data=str(tmp_path / "file"))
    assert (failing(told), told["data"].says) == ({"data"}, f"{tmp_path / 'file'} is no directory")
    told = await found(market="ccxt:kraken, nosuchexchange")
    assert (failing(told), "knows no exchange 'nosuchexchange'" in told["market"].says) == ({"market"}, True)


@pytest.mark.parametrize(
    ("host", "says", "do"),
    [
        ("127.0.0.1", "in use", "stop who listens there"),
        ("192.0.2.1", "assign", "name an address of this machine"),
        ("no-such-name.invalid", "not known", "name an address of this machine"),
    ],
)
async def test_why_a_port_cannot_be_had_is_told_with_what_helps_against_that(host: str, says: str, do: str) -> None:
    with taken() as port:
        told = (await found(port=port, host=host, insecure=True))["port"]
    assert (told.holds, says in told.says, told.says.count(host)) == (False, True, 1), told
    assert told.do.startswith(do)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look at a directory as somebody who may not")
async def test_a_directory_that_may_not_be_looked_at_is_named_and_ends_nothing(tmp_path: Path) -> None:
    inside = tmp_path / "closed" / "in"
    inside.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    await found(data=str(tmp_path))  # what it imports may be where only root may look
    os.seteuid(65534)
    try:
        told = await found(data=str(inside))
    finally:
        os.seteuid(0)
    assert str(inside) in told["data"].says
    assert "room" in told


async def test_an_installation_without_the_page_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(routes, "__file__", str(tmp_path / "scanstream" / "routes.py"))
    assert failing(await found()) == {"page"}


async def test_nats_is_asked_and_not_written_to(nats: NatsServer) -> None:
    told = await found(engine=nats.url, namespace="doctor")
    assert failing(told) == set()
    assert "is not there yet" in told["stream"].says
    again = await found(engine=nats.url, namespace="doctor")
    assert "is not there yet" in again["stream"].says
    async with serving(Settings(port=0, data=":memory:", workers=0, engine=nats.url, namespace="doctor")):
        told = await found(engine=nats.url, namespace="doctor")
    assert failing(told) == set()
    assert all("messages" in told[stream].says for stream in ("stream", "shards", "deliveries"))
    assert "clocks" in told


@pytest.mark.parametrize("stream", ["SCANS", "JOBS", "DELIVERIES"])
async def test_a_stream_that_somebody_has_changed_is_named(nats: NatsServer, stream: str) -> None:
    namespace = f"doctor-{stream.lower()}"
    given = Settings(port=0, data=":memory:", workers=0, engine=nats.url, namespace=namespace)
    async with serving(given):
        pass
    assert given.nats is not None
    async with connected(given.nats) as connection:
        name = connection.names.stream(stream)
        config = (await connection.request_api(f"STREAM.INFO.{name}"))["config"]
        await connection.request_api(f"STREAM.UPDATE.{name}", {**config, "discard": "old"})
    told = await found(engine=nats.url, namespace=namespace)
    assert failing(told) == {"nats"}
    assert name in told["nats"].says


async def test_no_secret_is_told() -> None:
    with taken() as port:
        pass
    told = await found(engine=f"nats://me:{SECRET}@127.0.0.1:{port}")
    assert failing(told) == {"nats"}
    assert SECRET not in str(told)
    told = await found(f"http://me:{SECRET}@127.0.0.1:{port}", SECRET)
    assert failing(told) == {"server"}
    assert SECRET not in str(told)


async def test_a_server_that_runs_is_asked(serve: Serve) -> None:
    async with serve(workers=0) as url:
        told = await found(url)
        assert failing(told) == set()
        assert {"server", "ready", "metrics", "strategies", "websocket", "clock"} <= told.keys()
        assert 'engine="sqlite"' in told["metrics"].says
    assert failing(await found(url)) == {"server"}
    assert failing(await found("no url at all")) == {"url"}


async def test_what_is_no_server_of_ours_is_told_so() -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            told = await found(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()
    assert failing(told) == {"server"}
    assert "no scanstream server" in told["server"].says


Answers = Callable[[ServerConnection, str], Awaitable[str]]
"""What is said at a path, over this connection."""


@asynccontextmanager
async def in_front(answers: Answers, said: str, closes: int = 0) -> AsyncIterator[str]:
    """What lives, and has these answers to all else; it takes a WebSocket and says this on it, or
    nothing, or closes it. Its URL."""

    async def looked_at(connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/ws":
            return None
        told = "ok" if request.path == "/healthz" else await answers(connection, request.path)
        return connection.respond(HTTPStatus.OK, told)

    async def met(connection: ServerConnection) -> None:
        if closes:
            await connection.close(closes, "so it is")
        if said:
            await connection.send(said)
        await connection.wait_closed()

    listening = listen(
        met, "127.0.0.1", 0, process_request=looked_at, subprotocols=[running.SUBPROTOCOL], open_timeout=5
    )
    async with listening as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def somebody_elses(_: ServerConnection, path: str) -> str:
    return "<h1>Welcome</h1>" if path != "/openapi.json" else '{"swagger": "2.0"}'


async def cut_off(connection: ServerConnection, _: str) -> str:
    connection.transport.abort()
    return ""


async def never(connection: ServerConnection, path: str) -> str:
    if path == "/openapi.json":
        await connection.wait_closed()
    return await somebody_elses(connection, path)


@pytest.mark.parametrize(
    ("answers", "said", "more"),
    [(somebody_elses, "[]", set()), (cut_off, '{"type": "hello"}', {"ready"}), (never, "", set())],
    ids=["another's", "cut off", "silent"],
)
async def test_what_is_in_front_and_passes_little_on_is_found(
    answers: Answers, said: str, more: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not said:
        monkeypatch.setattr(running, "SECONDS", 1.0)
    async with in_front(answers, said) as url:
        with anyio.fail_after(30):
            told = await found(url)
    assert failing(told) == {"metrics", "strategies", "contract", "websocket", *more}


@asynccontextmanager
async def showing(certificate: Certificate) -> AsyncIterator[str]:
    """Somebody who shows this certificate, whether it can be used or not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that says nothing of the way to servers."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", *(f"{kind}_proxy" for kind in ("http", "https", "all", "no"))):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.usefixtures("_alone")
async def test_a_certificate_is_judged_as_clients_judge_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    good, past = authority.signs("good"), authority.signs("past", days=-1)
    anothers = authority.signs("anothers", host="DNS:scans.example.org")
    settings = Settings(port=0, data=":memory:", workers=0, **over(good))
    async with serving(settings) as url:
        told = await found(url)
        assert failing(told) == {"certificate"}
        assert "by an authority that is not known here" in told["certificate"].says
        assert "SSL_CERT_FILE" in told["certificate"].do
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        assert failing(await found(url)) == set()
        for certificate, says in ((past, "has expired"), (anothers, "is for another name: IP address mismatch")):
            async with showing(certificate) as elsewhere:
                told = await found(elsewhere)
            assert (failing(told), says in told["certificate"].says) == ({"certificate"}, True), told
        monkeypatch.delenv("SSL_CERT_FILE")
        monkeypatch.setenv("SSL_CERT_DIR", str(directory_of(authority, tmp_path / "hashed")))
        assert failing(await found(url)) == set()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
        assert "SSL_CERT_FILE" in (await found(url))["way"].says


@pytest.mark.usefixtures("_alone")
async def test_it_goes_the_way_that_clients_go(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "scans.example"
    async with serve(workers=0, allow_host=(name,)) as url, forwarding(url) as (proxy, asked):
        monkeypatch.setenv("HTTP_PROXY", proxy.replace("//", f"//me:{SECRET}@"))
        told = await found(f"http://{name}:8000")
        assert failing(told) == set()
        assert proxy.removeprefix("http://") in told["way"].says
        assert {line.split()[0] for line in asked} == {"GET", "CONNECT"}
        monkeypatch.setenv("HTTP_PROXY", "gopher://proxy.example")
        told = await found(f"http://{name}:8000")
        assert (failing(told), "HTTP_PROXY" in told["way"].says) == ({"way"}, True)
    monkeypatch.setenv("HTTP_PROXY", proxy.replace("//", f"//me:{SECRET}@"))
    told = await found(f"http://{name}:8000")
    assert (failing(told), "through the proxy" in told["server"].says) == ({"server"}, True)
    assert SECRET not in str(told)


def test_lines_are_for_people_and_json_for_programs(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "scanstream",
        "doctor",
        "--data",
        ":memory:",
        "--port",
        "0",
        "--market",
        "horoscope",
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 1
    assert "NOT  market: --market horoscope" in shown.stdout
    assert shown.stdout.splitlines()[-1].endswith("do not hold.")
    told = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60, check=False)
    document = json.loads(told.stdout)
    assert (told.returncode, document["ok"]) == (1, False)
    assert [one["check"] for one in document["checks"] if not one["holds"]] == ["market"]
    nasty = Finding(check="x", holds=False, says="a", do="b")
    assert list(lines([nasty])) == ["NOT  x: a", "     → b"]


def test_where_only_a_client_is_installed_that_is_said() -> None:
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('numpy', 'starlette', 'uvicorn')))\n"
        "from scanstream.cli import main\n"
        "main(['doctor', '--data', ':memory:'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "NOT  settings: the server is not installed" in done.stdout
    assert "pip install 'scanstream[server]'" in done.stdout

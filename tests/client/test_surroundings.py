"""Where a client lives: what its import brings, below a path, in threads and processes, with a token."""

import asyncio
import json
import logging
import subprocess
import sys
import traceback
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus
from multiprocessing import get_context
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from client.test_client import QUICK, SECONDS, updates
from scanstream.client import AsyncClient, Client, Unreachable
from scanstream.client.backoff import SHORTEST_SECONDS
from scanstream.client.failures import Lost
from scanstream.client.ladder import RUNGS, Transport
from scanstream.client.token import Token
from scanstream.errors import Unauthorized
from support.process import server_process

OURS = {
    *("causes", "client", "errors", "legible", "log", "log.cursor", "log.patch", "message", "model", "proxies"),
    "undecodable",
}
LIBRARIES = "anyio, httpx, msgspec, websockets.asyncio.client, anyio.from_thread, anyio._backends._asyncio"
PATH = "/tools/scan"
CLOCK_SECONDS = 0.01
"""So inexact may timers be."""


def brought(modules: str) -> set[str]:
    """What is there after an import, in a fresh interpreter."""
    program = f"import {modules}\nimport sys\nprint(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


def test_an_import_brings_the_http_and_websocket_libraries_only() -> None:
    more = brought("scanstream.client") - brought(LIBRARIES) - sys.stdlib_module_names
    names = {name for name in more if name.partition(".")[0] not in sys.stdlib_module_names}
    foreign = {name for name in names if name.partition(".")[0] != "scanstream"}
    ours = {name.removeprefix("scanstream.") for name in names - foreign - {"scanstream"}}

    assert {
        name for name in foreign if name.partition(".")[0] not in ("anyio", "httpx", "msgspec", "websockets")
    } == set()
    assert {name for name in ours if not name.startswith("client.")} <= OURS


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """One for all tests here, below a path."""
    with server_process(":memory:", "--workers", "1", "--root-path", PATH) as process:
        yield process.url + PATH


@pytest.mark.anyio
@pytest.mark.parametrize("transport", RUNGS)
async def test_a_server_below_a_path_is_a_server(server: str, transport: Transport) -> None:
    async with AsyncClient(server, transports=[transport]) as client:
        scan = await client.discover(**QUICK)
        assert (await updates(scan))[-1].state["status"] == "complete"
        assert len(await scan.results()) == len(scan.opportunities)
        assert scan.state["poll_url"].startswith(PATH)


async def scanned(url: str) -> str:
    """A whole scan, by a client of one's own."""
    async with AsyncClient(url) as client:
        scan = await client.discover(**QUICK)
        await scan.wait(SECONDS)
        return scan.id


def in_a_loop(url: str) -> str:
    """As frameworks without a loop do it."""
    return asyncio.run(scanned(url))


def without_a_loop(url: str) -> str:
    """As scripts do it."""
    with Client(url) as client:
        return str(client.discover(**QUICK).wait(SECONDS)["scan_id"])


@pytest.mark.parametrize("work", [in_a_loop, without_a_loop])
def test_clients_live_in_threads_and_in_worker_processes(server: str, work: Any) -> None:
    with ThreadPoolExecutor(3) as threads, ProcessPoolExecutor(1, get_context("spawn")) as processes:
        scans = [*threads.map(work, [server] * 3), processes.submit(work, server).result(SECONDS)]
    assert len(set(scans)) == 4


class Gate:
    """A server that lets in who has the token, which it changes at times."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.asked_at: list[float] = []
        """When something was asked over HTTP."""
        self.changes_to = ""
        """The token from the first frame on."""

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Everything over HTTP; None lets a WebSocket in, or leads to its close."""
        if request.path == "/ws":
            return None
        self.asked_at.append(anyio.current_time())
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            problem = {"type": "urn:scanstream:error:unauthorized", "code": "unauthorized", "detail": "No valid token"}
            return _json(connection, HTTPStatus.UNAUTHORIZED, problem)
        return _json(connection, HTTPStatus.OK, {"scan_id": "scan_1", "status": "scanning", "cursor": "e-1.0"})

    def lets_in(self, connection: ServerConnection) -> bool:
        """Whether a WebSocket came with the token."""
        offered = connection.request.headers["Sec-WebSocket-Protocol"] if connection.request else ""
        sent = urlsafe_b64encode(self.token.encode()).decode().rstrip("=")
        return f"scanstream.bearer.{sent}" in offered.split(", ")

    async def follow(self, connection: ServerConnection) -> None:
        """One WebSocket."""
        if not self.lets_in(connection):
            await connection.close(4401, "token missing or expired")
            return
        asked = json.loads(await connection.recv())
        await connection.send(json.dumps({"type": "ack", "id": asked["id"], "scan_id": "scan_1", "cursor": "e-1.0"}))
        if self.changes_to:
            self.token, self.changes_to = self.changes_to, ""
            await connection.close(4401, "token missing or expired")
            return
        ended = {"scan_id": "scan_1", "cursor": "e-2.0"}
        await connection.send(json.dumps({"type": "update", **ended, "patch": {"status": "complete"}}))
        await connection.send(json.dumps({"type": "end", **ended, "status": "complete"}))
        await connection.wait_closed()


class Login(Gate):
    """A proxy before it that wants a name and a password, with everything."""

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """See `Gate`."""
        if request.headers.get("Authorization") != "Basic " + b64encode(b"name:pass/word").decode():
            return connection.respond(HTTPStatus.UNAUTHORIZED, "Who are you?")
        del request.headers["Authorization"]
        request.headers["Authorization"] = f"Bearer {self.token}"
        return super().answer(connection, request)

    def lets_in(self, connection: ServerConnection) -> bool:
        """Whoever came so far."""
        return True


def _json(connection: ServerConnection, status: HTTPStatus, body: Any) -> Response:
    answer = connection.respond(status, json.dumps(body))
    del answer.headers["Content-Type"]
    answer.headers["Content-Type"] = "application/json"
    return answer


@asynccontextmanager
async def guarded(gate: Gate) -> AsyncIterator[str]:
    """Its address."""
    protocols = [Subprotocol("scanstream.v1.json")]
    async with serve(gate.follow, "127.0.0.1", 0, subprotocols=protocols, process_request=gate.answer) as server:
        yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@pytest.mark.anyio
async def test_a_token_goes_along_with_everything() -> None:
    gate = Gate("ssk_0123")
    async with guarded(gate) as url, AsyncClient(url, token=gate.token) as client:
        scan = await client.watch("latest")
        assert (await scan.wait(SECONDS))["status"] == "complete"


@pytest.mark.anyio
@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_function_is_asked_for_the_token_and_again_when_it_is_taken_no_more(asynchronous: bool) -> None:
    gate, given = Gate("first"), iter(["old", "first", "second"])

    async def later() -> str:
        await anyio.lowlevel.checkpoint()
        return next(given)

    gate.changes_to = "second"
    async with guarded(gate) as url, AsyncClient(url, token=later if asynchronous else given.__next__) as client:
        scan = await client.watch("latest")
        assert (await scan.wait(SECONDS))["status"] == "complete"
    assert next(given, None) is None
    refused, again = gate.asked_at
    assert again - refused >= SHORTEST_SECONDS - CLOCK_SECONDS


@pytest.mark.anyio
async def test_an_empty_token_is_none() -> None:
    """As of a variable that is not set."""
    assert not Token("")
    assert not Token(" \n")
    assert await Token("").now() is None


@pytest.mark.anyio
@pytest.mark.parametrize("asked", [False, True], ids=["text", "function"])
async def test_a_token_that_is_not_taken_is_final(asked: bool) -> None:
    async with guarded(Gate("right")) as url, AsyncClient(url, token=(lambda: "no") if asked else "no") as client:
        with pytest.raises(Unauthorized):
            await client.watch("latest")
    gate = Gate("right")
    token = (lambda: "right") if asked else "right"
    gate.changes_to = "another"
    async with guarded(gate) as url, AsyncClient(url, token=token) as client:
        scan = await client.watch("latest")
        with pytest.raises(Unauthorized, match="expired"):
            await scan.wait(SECONDS)


@pytest.mark.anyio
async def test_a_name_and_a_password_in_the_address_go_along_with_everything() -> None:
    async with guarded(Login("right")) as url:
        async with AsyncClient(url.replace("://", "://name:pass%2Fword@")) as client:
            scan = await client.watch("latest")
            assert (await scan.wait(SECONDS))["status"] == "complete"
            assert client.connection.transport == "websocket"
        async with AsyncClient(url.replace("://", "://name:wrong@")) as client:
            with pytest.raises(Unreachable, match=r"name:\*\*\*@.*HTTP 401") as unreachable:
                await client.watch("latest", timeout=0.5)
            assert "wrong" not in str(unreachable.value)


@pytest.mark.anyio
@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " \t{} "])
async def test_a_token_out_of_a_file_has_no_newline(around: str) -> None:
    assert await Token(around.format("ssk_s3cret")).now() == "ssk_s3cret"
    assert await Token(lambda: around.format("ssk_s3cret")).now() == "ssk_s3cret"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "wrong",
    ["ssk_s3cret\nx", "ssk_ s3cret", "s3cret\0x", "s3crét", "s3cret\ud800", "Bearer s3cret", b"s3cret", 7, True],
)
async def test_what_can_be_no_token_is_refused_without_a_word_of_it(wrong: Any) -> None:
    """httpx would write the whole header into its error, and the log has its trace."""
    with pytest.raises((TypeError, ValueError)) as refused:
        AsyncClient(token=wrong)
    with pytest.raises(Lost, match="there is no token to be had") as lost:
        await Token(lambda: wrong).now()
    for error in (refused.value, lost.value):
        assert "3cr" not in "".join(traceback.format_exception(error))


@pytest.mark.anyio
@pytest.mark.parametrize("token", [None, "s3cret" * 8])
@pytest.mark.parametrize("transport", ["websocket", "stream"])
async def test_no_credential_is_logged_where_all_is(
    server: str, transport: Transport, token: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor by the libraries below: they tell of addresses, of handshakes, of what is sent."""
    with caplog.at_level(logging.DEBUG):
        url = server.replace("http://", "http://me:s3cret-word@")
        async with AsyncClient(url, token=token, transports=(transport,)) as client:
            scan = await client.discover(**QUICK)
            assert (await scan.wait(SECONDS))["status"] == "complete"
    assert "HTTP Request" in caplog.text
    for secret in (b"s3cret", b"me:s3cret-word", b"s3cret" * 8):
        assert secret.decode()[:12] not in caplog.text
        assert b64encode(secret).decode().rstrip("=")[:16] not in caplog.text

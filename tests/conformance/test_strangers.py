"""`scanstream conformance` where something else answers, or nobody any more: true words, the right code, in time."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from conformance.judged import scripted
from conformance.test_command import QUICK, beside
from conformance.test_server import often
from scanstream.conformance import judging
from scanstream.server import serving
from scanstream.settings import Settings
from support.certificates import Authority, over
from support.guards import key_in
from support.wire import discover

pytestmark = pytest.mark.anyio

Behaviour = Callable[[SocketStream], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
LONG_SECONDS = 25.0
"""More than any of these may take, and less than what is told to take long."""


@pytest.fixture(autouse=True)
def _breaking(breaking: None) -> None:
    """Nothing here is held to the contracts."""


async def silent(stream: SocketStream) -> None:
    """Takes what is said, and says nothing."""
    while await stream.receive():
        pass


def answering(body: bytes, head: bytes = HEAD) -> Behaviour:
    """The same to everybody."""

    async def answer(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

    return answer


async def endless(stream: SocketStream) -> None:
    """An answer that goes on and on."""
    await stream.receive()
    await stream.send(HEAD + b"\r\n[")
    while True:
        await stream.send(b" " * 1_000_000)


async def garbage(stream: SocketStream) -> None:
    """Something that is no HTTP."""
    await stream.send(b"220 smtp.example ESMTP ready\r\n")
    await stream.receive()


@asynccontextmanager
async def somebody(behaves: Behaviour) -> AsyncIterator[str]:
    """A server of that kind."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            try:
                await behaves(stream)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"  # noqa: S610  # no Django
        tasks.cancel_scope.cancel()


STRANGERS: dict[str, tuple[Behaviour, str]] = {
    "says nothing": (silent, "has not answered within 2 s"),
    "goes on and on": (endless, "is no scanstream server: expected at most 64 MiB in one answer"),
    "speaks something else": (garbage, ""),
    "a page": (answering(b"<html>It works!\x1b[2J\r\n</html>"), "is no scanstream server: expected strict JSON"),
    "another list": (answering(b"[1, 2]"), "is no scanstream server"),
    "another object": (answering(b'{"strategies": {"symbols": 5}}'), "is no scanstream server"),
    "not found": (answering(b"no", b"HTTP/1.1 404 Not Found\r\n"), "is no scanstream server: expected 200"),
    "a proxy without its server": (answering(b"no", b"HTTP/1.1 502 Bad Gateway\r\n"), "seen: 502"),
    "a proxy that is full": (answering(b"<p>", b"HTTP/1.1 503 No\r\nRetry-After: 1\r\n"), "is no scanstream server"),
    "a login": (answering(b"<p>", b"HTTP/1.1 401 No\r\n"), "is no scanstream server"),
}


@pytest.mark.parametrize("who", often({"a page", "goes on and on"}, [*STRANGERS]))
async def test_what_is_no_server_of_ours_is_3_and_told_in_a_line(who: str) -> None:
    behaves, says = STRANGERS[who]
    began = time.monotonic()
    async with somebody(behaves) as url:
        done = await beside(url, "--timeout", "2")
    assert done.exit_code == 3, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert says in done.output
    assert done.output.startswith("scanstream: ")
    assert done.output.count("\n") == 1
    assert done.output.rstrip("\n").isprintable()
    assert time.monotonic() - began < LONG_SECONDS


@pytest.mark.clients
async def test_a_certificate_that_is_not_taken_is_told_with_what_to_do(tmp_path: Path) -> None:
    certificate = Authority(tmp_path).signs("server")
    async with serving(Settings(port=0, data=":memory:", workers=0, **over(certificate))) as url:
        done = await beside(url)
    assert done.exit_code == 3, done.output
    assert "certificate of https://127.0.0.1:" in done.output
    assert "SSL_CERT_FILE" in done.output


async def test_a_server_that_asks_who_is_there_is_2_and_the_flag_is_named(tmp_path: Path) -> None:
    key_in(tmp_path / "keys.toml", "ann")
    settings = Settings(port=0, data=":memory:", workers=0, auth="required", keys=str(tmp_path / "keys.toml"))
    async with serving(settings) as url:
        without, wrong = await beside(url), await beside(url, "--token", "ssk_wrong")
    assert (without.exit_code, wrong.exit_code) == (2, 2), without.output + wrong.output
    assert "--token" in without.output
    assert "401, unauthorized" in wrong.output
    assert "ssk_wrong" not in wrong.output


@pytest.mark.clients
async def test_a_server_that_takes_no_new_scan_is_waited_for_and_then_told() -> None:
    settings = Settings(port=0, data=":memory:", workers=1, worker_priority="low", max_scans=1)
    async with serving(settings) as url:
        await discover(url, scripted(shards=8, pause=25.0))  # longer than anything here may take
        done = await beside(url, *QUICK, "--timeout", "2", *(f"--only={name}" for name in ("ack", "resume", "routes")))
    assert done.exit_code == 3, done.output
    assert done.output.count("not tried") >= 3
    assert "0 promises hold, none is broken, 3 not tried" in done.output
    assert "the server takes no new scan (429, too_many_scans" in done.output


class Behind:
    """Passes on to a server, for so many connections; then it does something else."""

    def __init__(self, port: int, most: int, then: Behaviour) -> None:
        self._port = port
        self._left = most
        self._then = then

    async def __call__(self, stream: SocketStream) -> None:
        """One connection."""
        self._left -= 1
        if self._left < 0:
            await self._then(stream)
            return
        async with await anyio.connect_tcp("127.0.0.1", self._port) as upstream, anyio.create_task_group() as tasks:
            tasks.start_soon(self._pass_on, stream, upstream)
            await self._pass_on(upstream, stream)
            tasks.cancel_scope.cancel()

    async def _pass_on(self, one: SocketStream, other: SocketStream) -> None:
        try:
            async for data in one:
                await other.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return


async def gone(stream: SocketStream) -> None:
    """Hangs up at once."""


@pytest.mark.clients
@pytest.mark.parametrize(
    ("then", "says", "seconds"),
    [(gone, "since routes was tried", 60), (silent, "has stopped answering", 10)],
    ids=["dies", "hangs"],
)
async def test_a_server_that_is_there_no_more_is_3_and_what_held_before_is_told(
    then: Behaviour, says: str, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What held has so many seconds as well: a scan, on a machine that may be busy."""
    monkeypatch.setattr(judging, "ALIVE_SECONDS", 1.0)
    names = [f"--only={name}" for name in ("ack", "replies", "routes")]
    async with (
        serving(Settings(port=0, data=":memory:", workers=1, worker_priority="low")) as there,
        somebody(Behind(int(there.rpartition(":")[2]), 12, then)) as url,
    ):
        done = await beside(url, *QUICK, "--timeout", str(seconds), *names)
    assert done.exit_code == 3, done.output
    assert says in done.output
    assert "Until then: 1 promise holds, none is broken, 0 not tried" in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output


@pytest.mark.clients
async def test_a_password_in_an_address_is_told_nowhere() -> None:
    done = await beside("http://ann:hunter2@127.0.0.1:9", "--only", "ack")
    async with serving(Settings(port=0, data=":memory:", workers=1, worker_priority="low")) as url:
        there = url.replace("//", "//ann:hunter2@")
        more = await beside(there, *QUICK, "--only", "routes", "--only", "replies", "--json")
    assert "hunter2" not in done.output + more.output
    assert "ann:***@" in done.output
    assert json.loads(more.stdout.splitlines()[0])["outcome"] == "holds", more.output

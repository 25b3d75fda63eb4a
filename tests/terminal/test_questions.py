"""One question over HTTP."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketStream

from conftest import Serve
from scanstream.client.failures import Lost, Unreachable
from scanstream.errors import NotFound, ScanstreamError, TooManyScans
from scanstream.terminal import patience as module
from scanstream.terminal.patience import Gone, Nobody, Patience
from scanstream.terminal.questions import Elsewhere, Silent, ask, discover, results, status, strategies

pytestmark = pytest.mark.anyio

ACK = b'{"scan_id": "scan_1"}'
RESTARTING = (
    b'{"type": "urn:scanstream:error:restarting", "code": "restarting", "detail": "The server restarts", "status": 503}'
)


def ignored(words: str, lost: bool) -> None:
    """For what need not be known."""


def response(status: str, body: bytes, headers: bytes = b"") -> bytes:
    """A whole one, after which the connection is closed."""
    head = b"HTTP/1.1 %s\r\n%scontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (status.encode(), headers, len(body)) + body


def problem(code: bytes) -> bytes:
    """What a scanstream server refuses with, in its shortest form."""
    return b'{"type": "urn:scanstream:error:%s", "code": "%s", "title": "Not Found"}' % (code, code)


@asynccontextmanager
async def answering(*answers: bytes, port: int = 0) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives these answers, the last one for ever (nothing: it hangs up); its address, what it heard."""
    heard: list[bytes] = []

    async def greet(stream: SocketStream) -> None:
        async with stream:
            heard.append(await stream.receive())
            if answer := answers[min(len(heard), len(answers)) - 1]:
                await stream.send(answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610  # not Django
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, greet)
        yield f"http://127.0.0.1:{port}", heard
        tasks.cancel_scope.cancel()


async def test_a_discover_that_was_cut_off_is_asked_again() -> None:
    told: list[bool] = []
    answers = (b"", response("503 Service Unavailable", RESTARTING), response("202 Accepted", ACK))
    with anyio.fail_after(20):
        async with answering(*answers) as (url, heard):
            patience = Patience(url, 10, tell=lambda words, lost: told.append(lost))
            ack = await discover(url, {"strategy_ids": ["tsmom"]}, patience)
    assert ack == {"scan_id": "scan_1"}
    assert told == [True, False]
    assert [text.partition(b" ")[0] for text in heard] == [b"POST"] * 3


def a_free_port() -> int:
    """One where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_server_that_is_just_coming_is_waited_for(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_SECONDS", 20)
    told: list[tuple[str, bool]] = []
    port, asked = a_free_port(), anyio.Event()

    def tell(words: str, lost: bool) -> None:
        told.append((words, lost))
        asked.set()

    async def come(task_status: anyio.abc.TaskStatus[None]) -> None:
        task_status.started()
        await asked.wait()
        async with answering(response("202 Accepted", ACK), port=port):
            await anyio.sleep_forever()

    url = f"http://{host}:{port}"
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            await tasks.start(lambda *, task_status: come(task_status))
            assert await discover(url, {}, Patience(url, 30, tell=tell)) == {"scan_id": "scan_1"}
            tasks.cancel_scope.cancel()
    [(first, lost), last] = told
    assert first.startswith(f"There is no scanstream server at {url} (")
    assert first.endswith("; trying for 20 s")
    assert (lost, last) == (True, ("Connected", False))


async def test_where_nobody_comes_a_discover_is_given_up_soon_however_patient_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert module.FIRST_SECONDS <= 4  # with the start of the program no more than 5
    monkeypatch.setattr(module, "FIRST_SECONDS", 0.3)
    url, told = f"http://127.0.0.1:{a_free_port()}", list[str]()
    with anyio.fail_after(20), pytest.raises(Nobody, match="There is no scanstream server at"):
        await discover(url, {}, Patience(url, 1000, tell=lambda words, lost: told.append(words)))
    assert [words.partition("; ")[2] for words in told] == ["trying for 0.3 s"]
    with anyio.fail_after(20), pytest.raises(Nobody):
        await discover(url, {}, Patience(url, 0, tell=lambda words, lost: told.append(words)))
    assert len(told) == 1


@pytest.mark.parametrize("url", ["http://nobody.invalid:1", "http://[2001:db8::1]:1"])
async def test_an_address_that_leads_nowhere_is_told_at_once(url: str) -> None:
    told: list[str] = []
    with anyio.fail_after(20), pytest.raises(Unreachable, match="There is no scanstream server at"):
        await discover(url, {}, Patience(url, 1000, tell=lambda words, lost: told.append(words)))
    assert told == []


async def test_a_discover_is_given_up_after_a_while() -> None:
    with anyio.fail_after(20):
        async with answering(b"") as (url, _):
            with pytest.raises(Gone):
                await discover(url, {}, Patience(url, 0.3, tell=ignored))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", Lost),
        (response("503 Service Unavailable", RESTARTING), Lost),
        (response("200 OK", b"<html>"), Unreachable),
        (response("404 Not Found", b"{}"), Unreachable),
        (response("502 Bad Gateway", b"<html>"), Lost),
        (response("503 Service Unavailable", b"<html>"), Lost),
        (response("504 Gateway Timeout", b""), Lost),
        (response("404 Not Found", b'{"code": "NotFound", "message": "of another program"}'), Unreachable),
        (response("404 Not Found", b'{"code": 404, "type": "urn:scanstream:error:x"}'), Unreachable),
        (response("404 Not Found", b'{"status": "not_found"}'), Unreachable),
        (response("301 Moved", b"", b"location: https://there.example/\r\n"), Unreachable),
        (response("401 Unauthorized", b"<html>", b"retry-after: tomorrow\r\n"), Unreachable),
        (b"220 mail.example ready\r\n\r\n", Unreachable),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nno", Unreachable),
        (response("404 Not Found", problem(b"no_such_route")), Elsewhere),
        (response("429 Too Many Requests", problem(b"too_many_scans")), TooManyScans),
    ],
)
async def test_what_is_no_answer(answer: bytes, error: type[Exception]) -> None:
    async with answering(answer) as (url, _):
        with pytest.raises(error):
            await ask(url, "GET", "/opportunities/strategies")


@pytest.mark.parametrize("scan_id", ["scan_1", "a/b", "a?b#c", "Ω %", "a b/é", "..", ""])
async def test_whatever_an_id_holds_the_server_gets_it_whole(serve: Serve, scan_id: str) -> None:
    async with serve(workers=0) as url:
        with pytest.raises(NotFound, match="No scan found") as absent:
            await status(url, scan_id)
    assert absent.value.scan_id == scan_id


async def test_a_problem_without_a_detail_is_told_by_its_title() -> None:
    async with answering(response("404 Not Found", problem(b"strange"))) as (url, _):
        with pytest.raises(ScanstreamError, match=r"^Not Found$"):
            await status(url, "scan_1")


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """A server that accepts, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_a_server_that_never_answers_is_given_up() -> None:
    with anyio.fail_after(10):
        async with silent() as url:
            with pytest.raises(Silent, match=rf"{url} has not answered within 0\.2 s"):
                await ask(url, "GET", "/opportunities/strategies", seconds=0.2)


async def test_a_discover_without_an_answer_is_given_up_with_patience() -> None:
    with anyio.fail_after(10):
        async with silent() as url:
            with pytest.raises(Silent, match="has not answered within 1 s"):
                await discover(url, {}, Patience(url, 0, tell=ignored))


ANOTHER = [
    response("200 OK", b"<html>welcome"),
    response("200 OK", b"{}"),
    response("200 OK", b'["of", "another"]'),
    response("202 Accepted", b'{"id": "x", "status": "scanning"}'),
    response("404 Not Found", b"<html>nginx"),
    response("302 Found", b"", b"location: /login\r\n"),
]


@pytest.mark.parametrize("answer", ANOTHER)
async def test_another_server_is_neither_an_absent_scan_nor_a_defect(answer: bytes) -> None:
    async with answering(answer) as (url, _):
        for question in (
            status(url, "x"),
            results(url, "x", 1),
            strategies(url),
            discover(url, {}, Patience(url, 0, tell=ignored)),
        ):
            with pytest.raises(Unreachable, match="What answers at"):
                await question


async def test_a_gateway_without_its_server_is_waited_out() -> None:
    answers = (response("502 Bad Gateway", b"<html>"), response("504 Gateway Timeout", b""), response("202 OK", ACK))
    with anyio.fail_after(20):
        async with answering(*answers) as (url, _):
            assert await discover(url, {}, Patience(url, 10, tell=ignored)) == {"scan_id": "scan_1"}

"""Whatever comes as HTTP is answered as the contract says, or ends the connection, and costs nothing."""

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from functools import partial
from itertools import count

import anyio
import msgspec
import pytest
from anyio import to_thread

from conftest import Serve
from fuzz.odd_requests import AMBIGUOUS, SMUGGLED, Caller
from fuzz.speaking import MOST_GROWTH, OPENED_LATER, SOAK_SECONDS, descriptors, seeds, told
from scanstream.push.problem import PROBLEM_MEDIA_TYPE
from support.judge import judge
from support.process import ServerProcess, server_process
from support.raw import HOST, UPGRADE, connected, resident
from support.traffic import Answered, Line, exchanges
from support.until import until

pytestmark = pytest.mark.anyio

CALLERS, WARM = 240, 60
"""In the normal run; the first ones are before what is measured."""
AT_ONCE = 12


def answers(said: bytes) -> list[Answered]:
    """What a server has said, each answer as the contract of all has it: nothing of them is a defect."""
    line = Line()
    line.said += said
    found: list[Answered] = []
    for one in exchanges(line):
        if not isinstance(one, Answered):
            continue
        found.append(one)
        if one.body.startswith(b"HTTP/1."):
            break  # that to a HEAD had none, which only whoever has asked can know
        kind = {name.lower(): value for name, value in one.headers}.get("content-type", "")
        assert one.status not in (500, 502), one
        if kind == PROBLEM_MEDIA_TYPE and one.whole and one.body.startswith(b"{"):  # none to a HEAD
            problem = msgspec.json.decode(one.body)
            assert (problem["status"], problem["message"]) == (one.status, problem["detail"])
            assert judge().problem(problem) == []
    return found


def call(url: str, seed: int) -> None:
    """One connection from its seed."""
    try:
        answers(told(url, Caller(seed).requests()))
    except Exception as error:
        raise AssertionError(f"seed {seed}") from error


async def crowds(url: str, seeds: range) -> None:
    """One connection for each seed, some at once."""
    for first in range(seeds.start, seeds.stop, AT_ONCE):
        async with anyio.create_task_group() as crowd:
            for seed in range(first, min(first + AT_ONCE, seeds.stop)):
                crowd.start_soon(to_thread.run_sync, call, url, seed)


async def test_callers_leave_nothing_behind(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """No task, no descriptor, no word in the log; some at a time, so that they meet each other."""
    caplog.set_level(logging.WARNING)
    async with serve(workers=0) as url:
        await crowds(url, range(WARM))  # some files are opened with the first question that needs them
        tasks, files = len(asyncio.all_tasks()), descriptors()
        await crowds(url, range(WARM, CALLERS))
        await until(lambda: len(asyncio.all_tasks()) <= tasks and descriptors() <= files + OPENED_LATER)
    said = [record.getMessage() for record in caplog.records if record.name != "asyncio"]
    assert [message for message in said if not message.startswith("removed ")] == []  # what other tests' servers left


async def test_what_is_ambiguous_is_refused_and_ends_the_connection(serve: Serve) -> None:
    async with serve(workers=0) as url:
        taken = {}
        for name, request in AMBIGUOUS.items():
            said = await to_thread.run_sync(partial(told, url, (request + SMUGGLED).encode("latin-1")))
            statuses = [one.status for one in answers(said)]
            if statuses != [400]:
                taken[name] = statuses
    assert taken == {}


def whole(connection: socket.socket) -> bytes:
    """An answer that is an object in JSON."""
    said = b""
    while not said.endswith(b"}"):
        said += connection.recv(65536)
    return said


async def test_a_handshake_does_not_overtake_the_answers_before_it(serve: Serve) -> None:
    async with serve(workers=0) as url:
        for first in (b"/opportunities/status/latest", b"/healthz", b"/opportunities/scans"):
            asked = b"GET " + first + b" HTTP/1.1\r\n" + HOST + b"\r\n"
            found = answers(await to_thread.run_sync(told, url, asked + UPGRADE + b"\r\n"))
            assert [one.status for one in found] == [404 if b"status" in first else 200, 400]
            with connected(url) as connection:  # behind its answer it is one as any other
                connection.sendall(asked)
                await to_thread.run_sync(whole, connection)
                connection.sendall(UPGRADE + b"\r\n")
                assert (await to_thread.run_sync(connection.recv, 65536)).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(("method", "status"), [("HEAD", 426), ("POST", 405), ("OPTIONS", 204), ("PUT", 405)])
async def test_no_other_method_opens_a_websocket(serve: Serve, method: str, status: int) -> None:
    async with serve(workers=0) as url:
        asked = UPGRADE.replace(b"GET", method.encode()) + b"\r\n"
        (answer,) = answers(await to_thread.run_sync(told, url, asked))
    assert answer.status == status
    assert method != "HEAD" or not answer.body


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A server of its own, which is there at the end and has said nothing."""
    with server_process(":memory:", "--workers", "0") as server:
        yield server
        code, _, errors = server.ended()
        assert (code, "Traceback" in errors) == (0, False), errors


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS * 4)
def test_callers_for_minutes(server: ServerProcess) -> None:
    for seed in range(200):
        call(server.url, seed)
    before, end, first = resident(server), time.monotonic() + SOAK_SECONDS, seeds()
    for seed in count(first):
        call(server.url, seed)
        if time.monotonic() > end:
            break
    print(f"{seed - first} callers from seed {first}")
    assert resident(server) - before < MOST_GROWTH

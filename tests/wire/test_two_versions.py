"""Two versions of the code side by side, as in a rolling restart: the later one's scans are left to it, in words."""

import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from anyio import to_thread

from conftest import Serve
from scanstream.engines.nats.connection import connected
from scanstream.engines.nats.names import token
from scanstream.log.entry import FOLD_VERSION
from scanstream.server import serving
from scanstream.settings import Settings
from support.nats import NatsServer, options
from support.process import ServerProcess
from support.wire import ONE_QUICK_SCAN, Answer, discover, request, results, status, until_terminal, websocket

pytestmark = pytest.mark.anyio

NEWER = f"""
from functools import partial
from scanstream.log import entry
from scanstream.scans import desk
entry.FOLD_VERSION = {FOLD_VERSION + 1}
desk.Registered = partial(entry.Registered, fold={FOLD_VERSION + 1})
"""
"""A later version: its fold is another, and so says each scan that it registers."""
UNKNOWN = b'{"type":"shard_paused","at":1,"why":"lunch"}'
"""An entry of a later version."""


@pytest.fixture
def namespace() -> str:
    """A cluster of our own."""
    return f"t{secrets.token_hex(4)}"


@asynccontextmanager
async def ours(nats: NatsServer, namespace: str, **settings: Any) -> AsyncIterator[str]:
    """A node of this version."""
    chosen = {"port": 0, "data": ":memory:", "workers": 1, "lease": 3.0, **settings}
    async with serving(Settings(engine=nats.url, namespace=namespace, **chosen)) as url:
        yield url


@contextmanager
def theirs(nats: NatsServer, namespace: str, data: Path) -> Iterator[ServerProcess]:
    """A node of a later version, in a process of its own."""
    flags = ("--engine", nats.url, "--namespace", namespace, "--workers", "1", "--lease", "3")
    server = ServerProcess(data, *flags, before=NEWER)
    try:
        server.until_serving()
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def is_left(answer: Answer, word: str) -> bool:
    """Whether a node says that others know this scan, naming who wrote it."""
    problem = answer.json()
    assert (answer.status, problem["code"]) == (503, "store_unavailable"), answer
    assert int(answer.headers["retry-after"]) >= 1
    return word in problem["detail"]


async def reached(url: str, scan_id: str, phase: str) -> str:
    """The scan's cursor when it is that far."""
    with anyio.fail_after(60):
        while (state := (await status(url, scan_id)).json())["phase"] != phase:  # noqa: ASYNC110  # as a client does
            await anyio.sleep(0.01)
    cursor: str = state["cursor"]
    return cursor


@pytest.mark.cluster
async def test_the_scans_of_a_later_version_are_left_to_it_and_all_others_are_anybodys(
    nats: NatsServer, namespace: str, tmp_path: Path
) -> None:
    async with ours(nats, namespace) as here:
        with theirs(nats, namespace, tmp_path) as later:
            wanted = [{**ONE_QUICK_SCAN, "symbols": [symbol]} for symbol in ("BTC/USDT", "ETH/USDT", "SOL/USDT")]
            for one in wanted:
                of_later, of_ours = [(await discover(url, one)).json()["scan_id"] for url in (later.url, here)]
                with anyio.fail_after(60):
                    assert (await until_terminal(later.url, of_later))["status"] == "complete"
                    assert (await until_terminal(later.url, of_ours))["status"] == "complete"
                assert (await results(here, of_ours)).json()["status"] == "complete"
                assert is_left(await status(here, of_later), f"fold {FOLD_VERSION + 1}")
            listed = (await request(later.url, "GET", "/opportunities/scans")).json()["scans"]
            assert len(listed) == 2 * len(wanted)
            again = {**wanted[0], "force_refresh": False}
            assert (await discover(later.url, again)).json()["reused"] == "fresh"


async def test_whoever_follows_a_scan_that_a_later_version_takes_over_hears_so_and_nothing_old(
    nats: NatsServer, namespace: str
) -> None:
    async with ours(nats, namespace, workers=0) as url, connected(options(nats, namespace=namespace)) as connection:
        scan_id = (await discover(url)).json()["scan_id"]
        other = (await discover(url)).json()["scan_id"]
        cursor = await reached(url, scan_id, "queued")
        waiting: dict[str, Answer] = {}
        wanted = msgspec.json.encode({"follow": [{"scan_id": scan_id}, {"scan_id": other}]})
        asked: dict[str, tuple[Any, ...]] = {
            "results": ("GET", f"results/{scan_id}?wait=60", None, {}),
            "events": ("GET", f"events/{scan_id}", None, {}),
            "status": ("GET", f"status/{scan_id}?wait=60&since={cursor}", None, {}),
        }

        async def ask(name: str, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> None:
            waiting[name] = await request(url, method, f"/opportunities/{path}", body, headers)

        async with websocket(url) as socket, anyio.create_task_group() as tasks:
            for followed in (scan_id, other):
                await socket.send(type="subscribe", scan_id=followed)
                assert [(await socket.receive())["type"] for _ in range(2)] == ["ack", "snapshot"]
            for name, question in asked.items():
                tasks.start_soon(ask, name, *question)
            await anyio.sleep(0.2)
            names = connection.names
            slot = await slot_of(connection, names.stream("SCANS"), scan_id)
            subject = names.scan(slot, token(scan_id), "ev")
            await connection.publish(subject, UNKNOWN, stream=names.stream("SCANS"))
            with anyio.fail_after(20):
                last = await socket.receive()
                assert (last["type"], last["scan_id"], last["code"]) == ("error", scan_id, "store_unavailable")
                assert last["retry_after"] >= 1
                await socket.send(type="cancel", id="c", scan_id=other)
                told = [await socket.receive() for _ in range(2)]
                assert {message.get("scan_id") for message in told} == {other}
                while waiting.keys() != asked.keys():  # noqa: ASYNC110  # each ends by itself
                    await anyio.sleep(0.01)
        assert is_left(waiting["results"], "shard_paused")
        assert is_left(waiting["status"], "shard_paused")
        assert b"event: end" not in waiting["events"].body
        follow = await request(url, "POST", "/opportunities/follow", wanted)
        assert is_left(follow, "shard_paused")


async def slot_of(connection: Any, stream: str, scan_id: str) -> str:
    """The slot of a scan, as it stands in subjects."""
    subjects = connection.names.scan("*", token(scan_id), "reg")
    found = await connection.request_api(f"STREAM.INFO.{stream}", {"subjects_filter": subjects})
    [subject] = found["state"]["subjects"]
    return str(subject).split(".")[-3]


async def test_a_node_that_conducts_such_a_scan_gives_it_back_and_does_not_spin(
    nats: NatsServer, namespace: str
) -> None:
    busy = {**ONE_QUICK_SCAN, "strategy_ids": ["pairs"], "symbols": None, "parameters": {}}
    async with ours(nats, namespace) as url, connected(options(nats, namespace=namespace)) as connection:
        names = connection.names
        scan_id = (await discover(url, busy)).json()["scan_id"]
        await reached(url, scan_id, "running")
        subject = names.scan(await slot_of(connection, names.stream("SCANS"), scan_id), token(scan_id), "ev")
        await connection.publish(subject, UNKNOWN, stream=names.stream("SCANS"))
        assert is_left(await status(url, scan_id), "shard_paused")
        await anyio.sleep(1.5)
        used, begun = time.thread_time(), time.monotonic()
        await anyio.sleep(2)
        assert time.thread_time() - used < 0.5 * (time.monotonic() - begun)
        waits = await connection.request_api(f"CONSUMER.INFO.{names.stream('SCANS')}.{names.stream('planner')}")
        assert waits["num_ack_pending"] + waits["num_pending"] == 1, "it is not taken for over"
        assert await complete(url)


async def complete(url: str) -> bool:
    """Whether a scan is run as always."""
    scan_id = (await discover(url)).json()["scan_id"]
    with anyio.fail_after(60):
        return bool((await until_terminal(url, scan_id))["status"] == "complete")


async def test_an_older_version_on_the_same_directory_leaves_a_scan_alone(serve: Serve, tmp_path: Path) -> None:
    """Back from a later version: its scans are said to be its, and what this one writes is as always."""
    server = ServerProcess(tmp_path, "--workers", "0", before=NEWER)
    try:
        server.until_serving()
        scan_id = (await discover(server.url)).json()["scan_id"]
    finally:
        server.process.terminate()
        await to_thread.run_sync(server.process.communicate)
    async with serve(data=str(tmp_path), workers=1) as url:
        assert is_left(await status(url, scan_id), f"fold {FOLD_VERSION + 1}")
        assert await complete(url)

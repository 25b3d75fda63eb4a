"""Whoever tells somebody of a scan's end, and dies of it: another tells them, or the same one at its next start."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio import to_thread

from cluster.harness import PATIENCE, SPARE, plugins, quick, until_answers
from cluster.harness import ended as until_ended
from engines.deliveries_contract import holds
from onemachine.cluster import Cluster, running
from onemachine.nats import nats
from onemachine.node import STOP_SECONDS
from scanstream.engines.nats.connection import connected
from scanstream.engines.nats.deliveries import NatsDeliveries
from scanstream.engines.nats.options import NatsOptions
from scanstream.engines.schema import DATABASE
from scanstream.model import now
from support.process import ServerProcess
from support.receiver import Behaviour, Receiver, answers, hangs
from support.wire import discover, request

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

LEASE = 6.0
"""Much longer than it takes to hand something over."""
RETRIED_SECONDS = 30.0
"""In which a first failure is tried again, beside other tests."""


def may(receiver: Receiver) -> list[str]:
    """The flags of who may tell them."""
    return ["--notify", receiver.url("/"), "--notify-private", "127.0.0.0/8"]


@pytest.fixture
async def cluster(tmp_path: Path, receiver: Receiver) -> AsyncIterator[Cluster]:
    """Two web nodes that may tell the receiver, and a worker; the second one has died."""
    flags, tell = ["--lease", f"{LEASE:g}"], may(receiver)
    servers = nats(1, tmp_path / "nats")
    made = Cluster(servers, tmp_path, web=2, workers=1, flags=flags, web_flags=tell, environment=plugins())
    async with running(made) as cluster:
        await to_thread.run_sync(cluster.web[1].kill)
        yield cluster


async def told_of(url: str, receiver: Receiver) -> str:
    """A scan that has ended, of which the receiver is to be told; by which id."""
    scan_id = (await discover(url, quick())).json()["scan_id"]
    await until_ended(url, scan_id)
    body = msgspec.json.encode({"url": receiver.url()})
    answer = await request(url, "POST", f"/opportunities/notify/{scan_id}", body)
    assert answer.status == 202, answer
    return str(answer.json()["notification_id"])


async def until_none_is_there(cluster: Cluster) -> None:
    """Nobody is to be told anything any more."""
    given = NatsOptions(servers=tuple(cluster.nats.engine.split(",")))
    async with connected(given) as connection:
        await holds(NatsDeliveries(connection, now), 0)


def same(receiver: Receiver, wanted: str, count: int) -> None:
    """It came so often, and was the same each time."""
    assert [got.id for got in receiver.got] == [wanted] * count
    assert len({got.body for got in receiver.got}) == 1


@pytest.mark.parametrize("how", ["killed", "told to end"])
async def test_who_is_lost_while_they_tell_is_followed_by_another(
    cluster: Cluster, receiver: Receiver, how: str
) -> None:
    here, there = cluster.web
    receiver.next = [hangs]
    wanted = await told_of(here.url, receiver)
    await receiver.until(1)
    there.start()
    await there.until_serving()
    if how == "killed":
        await to_thread.run_sync(here.kill)
        await receiver.until(2, seconds=LEASE + SPARE)
    else:
        assert await here.stop(STOP_SECONDS) == 0
        await receiver.until(2, seconds=LEASE / 2)  # it was handed over: the lease was extended a moment ago
    await until_none_is_there(cluster)
    same(receiver, wanted, 2)


async def test_what_is_to_be_tried_again_outlives_the_servers_of_nats_and_the_node(
    cluster: Cluster, receiver: Receiver
) -> None:
    here, there = cluster.web
    receiver.next = [answers(500)]
    wanted = await told_of(here.url, receiver)
    await receiver.until(1)
    await anyio.sleep(0.5)  # by then it is put off
    await to_thread.run_sync(here.kill)
    for server in cluster.nats.servers:
        await to_thread.run_sync(server.kill)
    await cluster.nats.start()
    there.start()
    await there.until_serving()
    await until_answers(there, 200)
    await receiver.until(2, seconds=RETRIED_SECONDS)
    await until_none_is_there(cluster)
    same(receiver, wanted, 2)


def rows(data: Path) -> list[tuple[int, int]]:
    """(tries, milliseconds of the last pause) of each that waits in a database."""
    with closing(sqlite3.connect(data / DATABASE)) as connection:
        return connection.execute("SELECT tries, pause FROM deliveries").fetchall()


@pytest.mark.parametrize(("first", "kept"), [(hangs, (1, 0)), (answers(500), (1, 1))], ids=["at it", "put off"])
async def test_a_server_alone_that_is_killed_goes_on_at_its_next_start(
    tmp_path: Path, receiver: Receiver, first: Behaviour, kept: tuple[int, int]
) -> None:
    receiver.next = [first]
    server = ServerProcess(tmp_path, "--workers", "1", *may(receiver))
    try:
        wanted = await told_of(server.url, receiver)
        await receiver.until(1)
        with anyio.fail_after(PATIENCE):
            while [(tries, min(pause, 1)) for tries, pause in rows(tmp_path)] != [kept]:  # noqa: ASYNC110
                await anyio.sleep(0.01)
    finally:
        await to_thread.run_sync(server.kill)
    server = ServerProcess(tmp_path, "--workers", "1", *may(receiver))
    try:
        await receiver.until(2, seconds=RETRIED_SECONDS)
        with anyio.fail_after(PATIENCE):
            while rows(tmp_path):  # noqa: ASYNC110  # a database tells nobody
                await anyio.sleep(0.01)
    finally:
        await to_thread.run_sync(server.kill)
    same(receiver, wanted, 2)

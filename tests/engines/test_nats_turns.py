"""Principals take turns in letting scans in, whichever node they ask and whichever conducts: on a real NATS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest
from anyio.abc import TaskGroup

from scanstream.engines.nats.calls import NatsCall
from scanstream.engines.nats.options import NatsOptions
from scanstream.engines.nats.places import Own
from scanstream.engines.nats.queues import NatsQueues, open_queues
from scanstream.engines.nats.store import NatsStore, open_nats
from scanstream.log.entry import Cancelled, CancelRequested, Queued, encode
from scanstream.log.hub import Hub
from scanstream.model import Principal, ScanId
from scanstream.scans.appending import Appender
from scanstream.scans.budget import Budgets, Clock
from scanstream.scans.permissions import Permissions
from scanstream.scans.releases import Releases
from scanstream.scans.shortages import Shortages
from support.histories import NOON, planned
from support.nats import NatsServer, options
from support.stores import consuming, registration
from support.until import until

pytestmark = pytest.mark.anyio

FLOOD = 300
LEASE = 1.0
SOON = 20.0


class Node:
    """All of a node that lets scans in and conducts them; what it conducts ends as soon as the test says so."""

    def __init__(self, store: NatsStore, queues: NatsQueues, places: int, begun: list[ScanId]) -> None:
        self.store = store
        self._queues = queues
        self._begun = begun
        self.hub = Hub(store)
        self.permissions = Permissions(places, queues.calls.conducts, queues.places.alike)
        self.appender = Appender(store, Shortages(Budgets(Clock())), store.now)
        self.releases = Releases(self.hub, self.appender, self.permissions.asked)
        self.ending = anyio.Event()
        """Set: scans end at once."""

    async def run(self) -> None:
        """What its core runs."""
        with self.hub.watching_all(self.permissions.notice):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.hub.run)
                await self.store.barrier()
                tasks.start_soon(self.permissions.run, self.appender.append)
                tasks.start_soon(self.releases.run)
                tasks.start_soon(self._conduct, tasks)

    async def _conduct(self, tasks: TaskGroup) -> None:
        async for call in self._queues.calls.granted():
            tasks.start_soon(self._see_through, call)

    async def _see_through(self, call: NatsCall) -> None:
        log = await self.hub.until_known(call.scan_id)
        if not log.ended:
            self._begun.append(call.scan_id)
            await self.appender.append(call.scan_id, planned(tsmom=1))
            await self.ending.wait()
            await self.appender.append(call.scan_id, CancelRequested(at=NOON), Cancelled(at=NOON))
        await call.done()

    async def start(self, owner: str, scans: int) -> list[ScanId]:
        """So many scans of one principal's, registered in their order, and released."""
        names = [ScanId(f"{owner}-{number}") for number in range(scans)]
        for name in names:
            await self.store.register(registration(name, principal=Principal(owner)), None)
        for name in names:
            self.releases.release(name)
        return names

    async def queued(self, *scans: ScanId) -> None:
        """Wait until it knows that all of them are queued, or further."""

        def known() -> bool:
            logs = [self.hub.get(name) for name in scans]
            return all(log is not None and log.folded.state.phase != "init" for log in logs)

        await until(known, seconds=SOON)


class Nodes:
    """Several, and which scans were begun by any of them, in their order."""

    def __init__(self, given: NatsOptions) -> None:
        self._given = given
        self.begun: list[ScanId] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Node]:
        """One more, at work."""
        async with open_nats(self._given) as store, open_queues(store.connection, Own(turns=True)) as queues:
            node = Node(store, queues, self._given.max_running, self.begun)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(node.run)
                await store.barrier()
                try:
                    yield node
                finally:
                    tasks.cancel_scope.cancel()


@pytest.mark.parametrize("places", [1, 3])
async def test_the_flood_of_one_keeps_nobody_from_starting(nats: NatsServer, places: int) -> None:
    nodes = Nodes(replace(options(nats, lease=LEASE), max_running=places))
    async with nodes.one() as one, nodes.one() as other:
        flood = await one.start("flooder", FLOOD)
        await other.queued(*flood)
        await until(lambda: len(nodes.begun) == places, seconds=SOON)
        late = await other.start("newcomer", 2)
        await one.queued(*late)
        assert one.permissions.rank(late[0]) == other.permissions.rank(late[0]) == 1
        assert one.permissions.waiting() == other.permissions.waiting() == FLOOD + 2 - places
        for node in (one, other):
            node.ending.set()
        await until(lambda: len(nodes.begun) == FLOOD + 2, seconds=3 * SOON)
        began = [nodes.begun.index(name) for name in late]
        assert began[0] <= 2 * places, "before it what ran, and what was let in while it was on its way"
        assert began[1] <= 5 * places
        assert len(set(nodes.begun)) == FLOOD + 2, "none began twice"


async def test_what_a_node_leaves_waiting_another_lets_in(nats: NatsServer) -> None:
    """It has registered them, and lets nobody in any more: neither whom it was to let in, nor those that come after."""
    nodes = Nodes(replace(options(nats, lease=LEASE), max_running=2))
    async with nodes.one() as other:
        other.ending.set()
        async with nodes.one() as dying:
            scans = await dying.start("one", 20)
            await other.queued(*scans)
        await until(lambda: set(nodes.begun) == set(scans), seconds=SOON)
        assert other.permissions.waiting() == 0


async def test_after_a_restart_of_all_those_who_waited_are_let_in(nats: NatsServer) -> None:
    nodes = Nodes(replace(options(nats, lease=LEASE), max_running=2))
    async with nodes.one() as one:
        scans = [*await one.start("flooder", 50), *await one.start("other", 2)]
        await one.queued(*scans)
        await until(lambda: len(nodes.begun) == 2, seconds=SOON)
    async with nodes.one() as one:
        await one.queued(*scans)
        assert sorted(rank for name in scans if (rank := one.permissions.rank(name))) == list(range(1, 51))
        one.ending.set()
        await until(lambda: set(nodes.begun) == set(scans), seconds=2 * SOON)
        assert max(nodes.begun.index(name) for name in scans[-2:]) <= 8


async def test_beside_a_version_before_nobody_waits_for_its_turn(nats: NatsServer) -> None:
    """It releases as it ever has, and would let in nobody who waits: it may be the only node that is left."""
    given = replace(options(nats, lease=LEASE), max_running=1)
    nodes = Nodes(given)
    async with nodes.one() as one:
        scans = await one.start("one", 10)
        await until(lambda: len(nodes.begun) == 1, seconds=SOON)
        assert await permitted(one.store) == 1
        async with open_nats(given) as store, open_queues(store.connection, Own()):
            await until(lambda: not one.permissions._alike, seconds=SOON)
            for name in (ScanId("old-1"), ScanId("old-2")):
                await store.register(registration(name), None)
                await store.append(name, Queued(at=NOON))
            with anyio.fail_after(SOON):
                while await permitted(one.store) < 12:  # noqa: ASYNC110  # another's answer
                    await anyio.sleep(0.05)
            await one.start("two", 1)
        one.ending.set()
        await until(lambda: len(nodes.begun) == 13, seconds=SOON)
        assert set(nodes.begun) == {*scans, "old-1", "old-2", "two-0"}
        assert max(map(nodes.begun.count, nodes.begun)) == 1


async def test_of_two_permissions_of_a_scan_one_is_heard_however_late_the_second_is(nats: NatsServer) -> None:
    given, scan_id = options(nats), ScanId("scan_1")
    async with open_nats(given) as one, open_nats(given) as other, consuming(one), consuming(other):
        await one.register(registration(scan_id), None)
        await one.append(scan_id, Queued(at=NOON, waits=True))
        assert await permitted(one) == 0
        scan = one._index.get(scan_id)
        assert scan is not None
        await one._log(scan, "go", encode(Queued(at=NOON)), "an id that is forgotten by now")
        await other.barrier()
        behind = other._index.get(scan_id)
        assert behind is not None
        assert behind.queued
        behind.queued = False  # as of who has not read it yet
        async with anyio.create_task_group() as twice:
            for _ in range(2):
                twice.start_soon(other.append, scan_id, Queued(at=NOON))
        assert await permitted(one) == 1
        history = await one.history(scan_id) or []
        assert [entry.__struct_config__.tag for entry in history] == ["registered", "queued", "queued"]


async def permitted(store: NatsStore) -> int:
    """How many permissions stand in the stream."""
    wanted = {"subjects_filter": store._names.kind("go")}
    stream = await store.connection.request_api(f"STREAM.INFO.{store._stream}", wanted)
    return sum((stream["state"].get("subjects") or {}).values())

"""Who asks to be told, on each engine: what is promised holds on all nodes, after a restart, and whoever dies."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from gc import collect
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest

from engines.deliveries_contract import holds, taken
from scanstream.deliveries import Delivery
from scanstream.engine import Engine, open_engine
from scanstream.errors import Expired, InvalidRequest, StoreUnavailable
from scanstream.log.entry import AnyEntry, Cut, NotifyAsked, Planned, Queued, ShardDone
from scanstream.log.fold import MOST_TARGETS
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.model import ScanId
from scanstream.notify import latecomers
from scanstream.notify.notices import Notices
from scanstream.notify.signing import Signing
from scanstream.notify.targets import Allowed, prefix_of, target_of
from scanstream.settings import Settings
from support.nats import NatsServer
from support.stores import registration

pytestmark = pytest.mark.anyio

HOOKS = "https://hooks.example/"
ENDED = ScanId("scan_ended")
END: tuple[AnyEntry, ...] = (
    Queued(at=1),
    Planned(at=2, cuts={"tsmom": Cut(1)}),
    ShardDone(at=3, strategy_id="tsmom", shard=0, elapsed_ms=1),
)


class Node(NamedTuple):
    """One that takes who is to be told."""

    engine: Engine
    hub: Hub
    notices: Notices

    async def ask(self, name: str, scan_id: ScanId = ENDED) -> str:
        """Have this address told; by which id."""
        log = await self.log(scan_id)
        return (await self.notices.ask(log, target_of(HOOKS + name))).notification_id

    async def log(self, scan_id: ScanId = ENDED) -> ScanLog:
        """Of a scan that is there."""
        log = await self.hub.fetch(scan_id)
        assert log is not None
        return log

    async def told(self, *names: str) -> None:
        """These are due, and no others; they are told, and it is done."""
        await holds(self.engine.deliveries, len(names))
        attempts = await taken(self.engine.deliveries, len(names)) if names else []
        assert sorted(attempt.delivery.url for attempt in attempts) == sorted(HOOKS + name for name in names)
        for attempt in attempts:
            await attempt.done()

    async def ended(self, *before: str, scan_id: ScanId = ENDED) -> None:
        """A scan that has ended and was settled, of whose end these were told."""
        store = self.engine.store
        await store.register(registration(scan_id), None)
        await self.hub.until_known(scan_id)
        for name in before:
            await self.ask(name, scan_id)
        await store.append(scan_id, *END)
        await store.settle(scan_id, (await self.log(scan_id)).folded.expires_at or 0)


Nodes = Callable[[], AbstractAsyncContextManager[Node]]
"""Another node of the same store, or the same one started anew."""


def nodes_of(settings: Settings) -> Nodes:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Node]:
        async with open_engine(settings) as engine, anyio.create_task_group() as tasks:
            hub = Hub(engine.store)
            tasks.start_soon(hub.run)
            await engine.store.barrier()
            signing = Signing(engine.store.key)
            yield Node(engine, hub, Notices(engine.store, engine.deliveries, signing, Allowed([prefix_of(HOOKS)])))
            tasks.cancel_scope.cancel()

    return opened


@pytest.fixture
def shared(nats: NatsServer) -> Nodes:
    """Nodes that share a store."""
    return nodes_of(Settings(engine=nats.url, namespace=f"t{secrets.token_hex(4)}", workers=0))


@pytest.fixture(params=["sqlite", "nats"])
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Nodes:
    """One node after the other."""
    if request.param == "nats":
        found: Nodes = request.getfixturevalue("shared")
        return found
    return nodes_of(Settings(data=str(tmp_path), workers=0))


async def test_who_asked_after_the_end_is_known_after_a_restart(nodes: Nodes) -> None:
    async with nodes() as node:
        await node.ended("a", "b")
        late = [await node.ask(name) for name in "cd"]
        await node.told("c", "d")
    async with nodes() as node:
        assert [await node.ask(name) for name in "cdcd"] == late + late
        await node.told()
        await node.ask("e")
        await node.told("e")
    async with nodes() as node:
        for name in "abcde":
            await node.ask(name)
        with pytest.raises(InvalidRequest, match="5 addresses already"):
            await node.ask("f")
        await node.told()


async def test_few_logs_are_read_at_once_and_let_go_of(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be long; whoever asks for many scans at once has the memory for few of them."""
    under_way, most, read = 0, 0, list[list[AnyEntry]]()
    names = [ScanId(f"scan_{number}") for number in range(12)]
    async with nodes() as node:
        for name in names:
            await node.ended(scan_id=name)
        history = node.engine.store.history

        async def counted(scan_id: ScanId) -> list[AnyEntry] | None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            found = await history(scan_id)
            assert found is not None
            read.append(found)
            under_way -= 1
            return found

        monkeypatch.setattr(node.engine.store, "history", counted)
        async with anyio.create_task_group() as all_at_once:
            for name in names:
                all_at_once.start_soon(node.ask, "a", name)
        await holds(node.engine.deliveries, len(names))
    assert most == latecomers.MOST_AT_ONCE
    assert len(read) == 2 * len(names)
    assert not any(read)


async def test_what_is_forgotten_here_is_read_again(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latecomers, "MOST_REMEMBERED", 0)
    async with nodes() as node:
        await node.ended()
        for name in ("ab", "abcde"):
            for each in name:
                await node.ask(each)
        with pytest.raises(InvalidRequest):
            await node.ask("f")
        await node.told(*"abcde")
        await node.ask("a")
        await node.told()


async def asked_at_once(node: Node, names: Iterable[str]) -> list[str]:
    """Have all of these told; who was refused."""
    refused: list[str] = []

    async def ask(name: str) -> None:
        try:
            await node.ask(name)
        except InvalidRequest:
            refused.append(name)

    async with anyio.create_task_group() as all_at_once:
        for name in names:
            all_at_once.start_soon(ask, name)
    return refused


async def test_of_many_at_once_so_many_are_told_and_each_once(nodes: Nodes) -> None:
    async with nodes() as node:
        await node.ended("before")
        refused = await asked_at_once(node, "abcdefgh" * 3)
        accepted = set("abcdefgh") - set(refused)
        assert len(accepted) == MOST_TARGETS - 1
        await node.told(*accepted)
        history = await node.engine.store.history(ENDED)
    assert history is not None
    assert len(history) == 2 + len(END) + 2 * len(accepted), "who asks in vain writes nothing"


async def test_before_the_end_who_asks_in_vain_writes_nothing_either(nodes: Nodes) -> None:
    async with nodes() as node:
        await node.engine.store.register(registration(ENDED), None)
        await node.hub.until_known(ENDED)
        refused = await asked_at_once(node, [f"{number % 50}" for number in range(100)])
        history = await node.engine.store.history(ENDED)
        collect()
        assert not len(node.notices._asking)
    assert history is not None
    assert len(history) == 1 + MOST_TARGETS
    assert len(refused) == 2 * (50 - MOST_TARGETS)


async def test_over_nodes_at_once_so_many_are_told_as_well(shared: Nodes) -> None:
    accepted: set[str] = set()

    async def ask(node: Node, name: str) -> None:
        try:
            await node.ask(name)
        except InvalidRequest:
            return
        accepted.add(name)

    async with shared() as one, shared() as other:
        await one.ended("before")
        await other.engine.store.barrier()
        async with anyio.create_task_group() as all_at_once:
            for number in range(8):
                all_at_once.start_soon(ask, (one, other)[number % 2], f"{number}")
        assert len(accepted) == MOST_TARGETS - 1
        await one.told(*accepted)
        for node in (one, other):
            for name in accepted:
                await node.ask(name)
            for name in {f"{number}" for number in range(8)} - accepted:
                with pytest.raises(InvalidRequest):
                    await node.ask(name)
        await other.told()


async def test_who_asked_a_moment_ago_at_another_node_is_told_by_that_one(
    shared: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have died before it had put them into the queue: then this one does, a while later."""
    async with shared() as one:
        await one.ended()
        store, url = one.engine.store, HOOKS + "a"
        asked = NotifyAsked(at=store.now(), by="another:1", id=one.notices._signing.id_of(ENDED, url), url=url)
        await store.append(ENDED, asked)
        with pytest.raises(StoreUnavailable, match="Another node is about to have this told") as caught:
            await one.ask("a")
        assert caught.value.retry_after
        await one.told()
        monkeypatch.setattr(latecomers, "OTHERS_AFTER", 0)
        await one.ask("a")
        await one.told("a")
    monkeypatch.undo()
    async with shared() as other:
        await other.ask("a")
        await other.told()


async def test_nobody_is_promised_anything_that_is_not_in_the_queue(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes() as node:
        await node.ended()
        deliveries = node.engine.deliveries

        async def fails(*_: Delivery) -> None:
            raise StoreUnavailable("not now", retry_after=1)

        with monkeypatch.context() as patch:
            patch.setattr(deliveries, "put", fails)
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await node.ask("a")
        await node.told()
    async with nodes() as node:
        await node.ask("a")
        await node.told("a")


async def test_who_asks_when_the_scan_is_gone_hears_that(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with nodes() as node:
        await node.ended()
        log, store = await node.log(), node.engine.store
        await store.purge([ENDED])
        with pytest.raises(Expired):
            await node.notices.ask(log, target_of(HOOKS))

        async def purged_a_moment_later(_: ScanId) -> Iterable[AnyEntry]:
            return [registration(ENDED), *END]

        monkeypatch.setattr(store, "history", purged_a_moment_later)
        with pytest.raises(Expired):
            await node.notices.ask(log, target_of(HOOKS))
        await node.told()

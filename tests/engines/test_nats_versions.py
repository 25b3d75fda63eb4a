"""What a later version of the code has written is another node's; what is damaged ends its scan on every node alike."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from engines.contract import A, B, C
from scanstream.engines.nats.names import token
from scanstream.engines.nats.store import NatsStore, open_nats
from scanstream.errors import Damaged, StoreUnavailable
from scanstream.log.entry import FOLD_VERSION, AnyEntry, ScanFailed, encode
from scanstream.log.hub import Hub
from scanstream.model import ANYONE, ScanId
from support.nats import NatsServer, options
from support.stores import consuming, fact, registration

pytestmark = pytest.mark.anyio


async def write(store: NatsStore, scan_id: ScanId, kind: str, body: bytes) -> None:
    """A message as another version, or nobody, would write it; read by this node when it returns."""
    names = store.connection.names
    subject = names.scan(names.slot(f"slot of {scan_id}"), token(scan_id), kind)
    await store.connection.publish(subject, body, stream=names.stream("SCANS"))
    await store.barrier()


def newer(scan_id: ScanId) -> bytes:
    """The registration of a later version: with a fold of its own, and a field that this one does not know."""
    return json.dumps({**json.loads(encode(registration(scan_id))), "fold": FOLD_VERSION + 1, "colour": "red"}).encode()


@asynccontextmanager
async def hubs(store: NatsStore) -> AsyncIterator[Hub]:
    """A hub at work on the store."""
    hub = Hub(store)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hub.run)
        await store.barrier()
        yield hub
        tasks.cancel_scope.cancel()


async def test_a_scan_of_a_later_version_is_left_to_other_nodes_and_that_is_said_once(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    here = options(nats)
    async with open_nats(here) as store, hubs(store) as hub:
        await write(store, A, "reg", newer(A))
        await write(store, A, "ev", encode(fact(0)))
        await store.register(registration(B), None)
        await store.append(B, fact(0))
        await write(store, B, "ev", b'{"type":"shard_paused","at":1,"why":"lunch"}\n' + encode(fact(1)))
        await write(store, B, "ev", encode(fact(2)))
        await store.register(registration(C), None)
        assert [log.scan_id for log in hub.live()] == [C]
        assert hub.digests() == {registration(C).digest}
        for scan_id in (A, B):
            with pytest.raises(StoreUnavailable) as caught:
                await hub.fetch(scan_id)
            assert caught.value.retry_after
        assert sum("left to other nodes" in message for message in caplog.messages) == 2
        assert await store.newest(ANYONE, 10) == [C, B, A]  # which it knows all the same
        assert await store.holder(f"slot of {A}") == A
    async with open_nats(here) as store, hubs(store) as hub:  # and the same after a start
        assert [log.scan_id for log in hub.live()] == [C]
        await store.settle(A, 1_000)
        assert await store.expired(1_000_000) == [A]
        await store.purge([A])
        assert await hub.fetch(A) is None


@pytest.mark.parametrize(
    "damage", [b"", b"\x00\xff", b'{"type":"shard_started"}', b"[1]", b'{"type":"queued","at":-1}']
)
async def test_a_damaged_entry_ends_its_scan_on_every_node_alike(nats: NatsServer, damage: bytes) -> None:
    here = options(nats)
    async with open_nats(here) as store, consuming(store) as consumer:
        await store.register(registration(A), None)
        await store.append(A, fact(0))
        await write(store, A, "ev", damage)
        await store.append(A, fact(1))
        await store.register(registration(B), None)
        *before, end = consumer.log(A)
        assert before == [registration(A), fact(0)]
        assert isinstance(end, ScanFailed)
        assert end.code == "damaged"
        assert await store.history(A) == consumer.log(A)
        assert consumer.log(B) == [registration(B)]
        first: list[AnyEntry] = consumer.log(A)
    async with open_nats(here) as store, consuming(store) as consumer:
        assert consumer.log(A) == await store.history(A) == first


async def test_a_damaged_registration_is_no_scan_or_a_damaged_one(nats: NatsServer) -> None:
    async with open_nats(options(nats)) as store, consuming(store) as consumer:
        await write(store, A, "reg", b"{")
        half = {name: value for name, value in json.loads(encode(registration(B))).items() if name != "budgets"}
        await write(store, B, "reg", json.dumps(half).encode())
        await store.append(B, fact(0))
        await store.register(registration(C), None)
        assert {scan_id for scan_id, _, _ in consumer.taken} == {C}
        assert await store.history(A) is None
        with pytest.raises(Damaged):
            await store.history(B)

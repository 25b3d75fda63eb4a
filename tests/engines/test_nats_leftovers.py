"""The queue of shards keeps nothing of scans that are over, and loses nothing of others, whatever has left it there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from anyio import to_thread

from engines.jobs_contract import A, B, names, taken
from engines.test_nats_jobs import NOTHING
from scanstream.engines.nats.calls import Past
from scanstream.engines.nats.leftovers import Leftovers
from scanstream.engines.nats.options import NatsOptions
from scanstream.engines.nats.queues import NatsQueues, open_queues
from scanstream.engines.nats.store import NatsStore, open_nats
from scanstream.log.entry import Queued
from scanstream.model import ScanId
from support.histories import NOON
from support.nats import NatsServer, nats_server, options
from support.stores import consuming, registration

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

C = ScanId("scan_c")


@asynccontextmanager
async def node(given: NatsOptions) -> AsyncIterator[tuple[NatsStore, NatsQueues, Leftovers]]:
    """One of several."""
    async with open_nats(given) as store, open_queues(store.connection, NOTHING) as queues, consuming(store):
        yield store, queues, Leftovers(store)


async def left(store: NatsStore) -> dict[str, int]:
    """How many messages the queue has of each scan."""
    counts: dict[str, int] = {}
    for subject, count in (await Leftovers(store)._queued()).items():
        scan = store.connection.names.parts(subject)[2]
        counts[scan] = counts.get(scan, 0) + count
    return counts


async def test_only_what_is_of_scans_that_are_over_is_taken_away(nats: NatsServer) -> None:
    """Of A shards wait and are at work, B was settled, C is gone, and of a fourth this node has not heard yet."""
    given = options(nats)
    async with node(given) as (store, queues, leftovers), node(given) as (other, there, _):
        for scan_id in (A, B, C):
            await store.register(registration(scan_id), None)
            await store.append(scan_id, Queued(at=NOON))
            await queues.computing.put(names(scan_id, *range(3)))
            await queues.calls.remember(scan_id, Past(deliveries=2))
        await store.settle(B, 9_000)
        await store.settle(C, 1)
        await store.purge([C])
        await other.register(registration("scan_new"), None)
        await there.waiting.put(names(ScanId("scan_new"), 0, 1))
        (lease,) = await taken(queues.computing, 1)
        assert lease.shard.scan_id == A
        assert await left(store) == {A: 4, B: 4, C: 4, "scan_new": 2}
        assert await leftovers.sweep() == 8
        assert await left(store) == {A: 4, "scan_new": 2}
        await lease.done()
        assert [one.shard.scan_id for one in await taken(there.computing, 2)] == [A, A]
        assert await leftovers.sweep() == 0


async def test_what_a_server_brings_back_that_was_killed_is_taken_away_when_its_scan_is_over(tmp_path: Path) -> None:
    """What was replaced and is done since may be there again: it comes to nobody, and stays while the scan runs."""
    with nats_server(tmp_path, jetstream="sync_interval: always") as server:
        async with node(options(server)) as (store, queues, leftovers):
            await store.register(registration(A), None)
            await queues.computing.put(names(A, *range(20)))
            for lease in await taken(queues.computing, 20):
                await lease.give_back(tried=False)
            for lease in await taken(queues.computing, 20):
                await lease.done()
            await to_thread.run_sync(server.kill)
            await to_thread.run_sync(server.start)
            await store.barrier()
            back = (await left(store)).get(A, 0)
            print("brought back:", back)
            subject = queues.computing._subject(A, "tsmom", "99")  # one at least, whatever this release does
            body = msgspec.json.encode(names(A, 99)[0])
            await store.connection.publish(subject, body, stream=store.connection.names.stream("JOBS"))
            assert await leftovers.sweep() == 0
            await store.settle(A, 9_000)
            assert await leftovers.sweep() == back + 1
            assert await left(store) == {}

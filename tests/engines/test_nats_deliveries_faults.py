"""Servers of NATS that are harmed while deliveries are put, tried and waited with: nothing that was put is lost."""

from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from engines.deliveries_contract import LONG_SECONDS, delivery, holds, nothing, taken, told
from engines.test_nats_backup import restore, snapshot
from engines.test_nats_deliveries import LEASE, node
from engines.test_nats_faults import Harm, end, kill, kill_all, stop
from scanstream.engines.nats.connection import connected
from scanstream.engines.nats.deliveries import NatsDeliveries
from scanstream.errors import StoreUnavailable
from support.nats import NatsServer, nats_cluster, nats_server, options

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

BEFORE_SECONDS = 1.0
DEADLINE_SECONDS = 60
PUT_SECONDS = 0.02
"""Between two that are put: less than the nodes can do beside other tests."""
TRIES = 3


class Work:
    """What was promised, and what came of it."""

    def __init__(self) -> None:
        self.put: list[str] = []
        self.done: set[str] = set()
        self.last: dict[str, int] = {}
        """The highest number of an attempt of each."""
        self.refused = 0

    async def puts(self, one: NatsDeliveries, scope: anyio.CancelScope) -> None:
        """Put one after the other, each until it is acknowledged."""
        with scope:
            while True:
                name = f"{len(self.put):05}"
                try:
                    await one.put(delivery(name))
                except StoreUnavailable:
                    self.refused += 1
                else:
                    self.put.append(name)
                await anyio.sleep(PUT_SECONDS)

    async def takes(self, one: NatsDeliveries) -> None:
        """Try each some times in vain."""
        async with aclosing(one.due()) as due:  # type: ignore[type-var]  # a generator everywhere
            async for attempt in due:
                name = attempt.delivery.id
                self.last[name] = max(attempt.number, self.last.get(name, 0))
                if attempt.number < TRIES:
                    await attempt.again(0.05 * attempt.number)
                else:
                    await attempt.done()
                    self.done.add(name)


@contextmanager
def served(directory: Path, size: int) -> Iterator[list[NatsServer]]:
    """So many servers."""
    if size == 1:
        with nats_server(directory, jetstream="sync_interval: always") as server:
            yield [server]
    else:
        with nats_cluster(directory, size) as servers:
            yield servers


async def leader(one: NatsDeliveries, servers: list[NatsServer]) -> NatsServer:
    """The server that leads their stream."""
    info = await one._connection.request_api(f"STREAM.INFO.{one._stream}")
    name = info.get("cluster", {}).get("leader", servers[0].name)
    (found,) = [server for server in servers if server.name == name]
    return found


# nats-py leaves a connection to a server that hangs to the collector, which closes it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize(
    ("size", "harm"),
    [(1, kill_all), (3, kill), (3, stop), (3, end), (3, kill_all)],
    ids=lambda one: getattr(one, "__name__", str(one)),
)
async def test_whatever_happens_to_the_servers_each_is_done_and_what_waits_waits(
    tmp_path: Path, size: int, harm: Harm
) -> None:
    work, putting = Work(), anyio.CancelScope()
    with served(tmp_path, size) as servers:
        given = options(*servers, lease=LEASE)
        async with node(given) as one, node(given) as other:
            await one.put(delivery("waits"))
            (attempt,) = await taken(one, 1)
            await attempt.again(LONG_SECONDS)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work.puts, one, putting)
                for each in (one, other):
                    tasks.start_soon(work.takes, each)
                await anyio.sleep(BEFORE_SECONDS)
                before = len(work.put)
                await harm(await leader(one, servers), servers)
                with anyio.fail_after(DEADLINE_SECONDS):
                    while len(work.put) < before + 50:  # noqa: ASYNC110  # an ack tells nobody else
                        await anyio.sleep(0.01)
                    putting.cancel()
                    while not set(work.put) <= work.done or await waiting(one) > 1:  # noqa: ASYNC110
                        await anyio.sleep(0.1)
                tasks.cancel_scope.cancel()
            assert work.last.keys() <= {*work.put, f"{len(work.put):05}"}, "the last may be in, and not acknowledged"
            assert min(work.last.values()) >= TRIES
            assert await nothing(other)
            assert await waiting(other) == 1


async def waiting(one: NatsDeliveries) -> int:
    """How many there are, as soon as somebody says."""
    while True:
        try:
            return await one.waiting()
        except StoreUnavailable:
            continue


async def test_what_is_done_is_so_also_if_the_server_is_killed_in_the_next_moment(tmp_path: Path) -> None:
    with nats_server(tmp_path, jetstream="sync_interval: always") as server:
        async with node(options(server, lease=LEASE)) as one:
            await one.put(*(delivery(f"{number:02}") for number in range(50)))
            first, *others = await taken(one, 50)
            for attempt in others:
                await attempt.done()
            await to_thread.run_sync(server.kill)
            await to_thread.run_sync(server.start)
            with anyio.fail_after(DEADLINE_SECONDS):
                while await waiting(one) != 1:  # it finds out what is gone as it looks for what is due
                    assert await nothing(one)
            await first.again(tried=False)
            assert told(await taken(one, 1)) == [("00", 1)]
            assert await nothing(one)


async def test_where_a_server_has_no_room_at_all_what_is_due_is_delivered_and_makes_some(tmp_path: Path) -> None:
    heavy = [delivery(f"{number:03}", url="u" * 30_000) for number in range(100)]
    with nats_server(tmp_path, jetstream="max_file_store: 1MB") as server:
        async with node(options(server, lease=LEASE)) as one:
            await one.put(*heavy[:2])
            first, second = await taken(one, 2)
            await first.again(LEASE)
            with pytest.raises(StoreUnavailable, match="a server has reached its limit"):
                await one.put(*heavy)
            count = await one.waiting()
            assert 5 < count < len(heavy)
            attempts = {attempt.delivery.id: attempt for attempt in await taken(one, count - 1)}
            assert attempts[heavy[0].id].number == 2  # it was due, and could not be put in anew
            await second.again(LEASE / 2)
            (second,) = await taken(one, 1)
            assert second.number == 2
            for attempt in (second, *attempts.values()):
                await attempt.done()
            await holds(one, 0)
            await one.put(*heavy[:3])
            assert told(await taken(one, 3)) == [(each.id, 1) for each in heavy[:3]]


async def test_a_snapshot_has_what_waits_with_its_count_and_its_time(tmp_path: Path) -> None:
    with nats_server(tmp_path / "one") as server, nats_server(tmp_path / "other") as another:
        here = options(server, lease=LEASE)
        async with node(here) as one:
            await one.put(*map(delivery, "abc"))
            first, second, _ = await taken(one, 3)
            await first.again(LONG_SECONDS)
            await second.again()
            about, pieces = await snapshot(one._connection, one._stream)
            stream = one._stream
        there = options(another, namespace=here.namespace, lease=LEASE)
        async with connected(there) as connection:
            await restore(connection, stream, about, pieces)
        async with node(there) as one:
            await holds(one, 3)
            assert sorted(told(await taken(one, 2))) == [("b", 2), ("c", 1)]
            assert await nothing(one)

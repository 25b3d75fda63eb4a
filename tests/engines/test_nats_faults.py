"""Three servers of NATS, and one of them harmed while nodes write: nothing acked is lost, and no read is stale.

Two nodes write to each other's scans. After each ack the other node takes a barrier and must have what was acked.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from engines.contract import RACERS, race
from scanstream.engines.nats.store import NatsStore, open_nats
from scanstream.errors import StoreUnavailable
from scanstream.model import ANYONE, ScanId
from support.nats import NatsServer, nats_cluster, options
from support.stores import Consumer, consuming, fact, registration

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

WRITERS = 20
RACES = 10
BEFORE_SECONDS = 1.5
AFTER_SECONDS = 1.0
DEADLINE_SECONDS = 20


class Writing:
    """Writers on one node, each with a scan of its own, and what they were told."""

    def __init__(self, here: NatsStore, there: NatsStore, read_there: Consumer, name: str) -> None:
        self._here, self._there, self._read_there, self._name = here, there, read_there, name
        self.acked: dict[ScanId, list[int]] = {}
        self.stale: list[tuple[ScanId, int]] = []
        self.refused = 0
        self.longest = 0.0
        """The longest time without any ack."""
        self.last = anyio.current_time()

    async def run(self) -> None:
        """Write, until cancelled."""
        async with anyio.create_task_group() as tasks:
            for writer in range(WRITERS):
                tasks.start_soon(self._write, ScanId(f"{self._name}{writer}"))

    async def _write(self, scan_id: ScanId) -> None:
        await self._here.register(registration(scan_id), None)
        acked = self.acked[scan_id] = []
        number = 0
        while True:
            try:
                await self._here.append(scan_id, fact(number))
            except StoreUnavailable:
                self.refused += 1
                continue
            self._heard()
            acked.append(number)
            try:
                await self._there.barrier()
            except StoreUnavailable:
                self.refused += 1
            else:
                self._check(scan_id, number)
            number += 1

    def _check(self, scan_id: ScanId, number: int) -> None:
        """What the other node has of it, looked up from its end."""
        wanted = fact(number)
        if not any(fed == scan_id and entry == wanted for fed, _, entry in reversed(self._read_there.taken)):
            self.stale.append((scan_id, number))

    def _heard(self) -> None:
        now = anyio.current_time()
        self.longest = max(self.longest, now - self.last)
        self.last = now

    async def goes_on(self) -> None:
        """Return when more is acked."""
        last = self.last
        with anyio.fail_after(DEADLINE_SECONDS):
            while self.last == last:  # noqa: ASYNC110  # an ack tells nobody else
                await anyio.sleep(0.01)


async def leader(store: NatsStore, servers: list[NatsServer]) -> NatsServer:
    """The server that leads the stream."""
    info = await store.connection.request_api(f"STREAM.INFO.{store.connection.names.stream('SCANS')}")
    (found,) = [server for server in servers if server.name == info["cluster"]["leader"]]
    return found


Harm = Callable[[NatsServer, list[NatsServer]], Awaitable[None]]


async def kill(leader: NatsServer, _: list[NatsServer]) -> None:
    """`kill -9` of the leader, which is back after a while."""
    await anyio.to_thread.run_sync(leader.kill)
    await anyio.sleep(9)
    await anyio.to_thread.run_sync(leader.start)


async def stop(leader: NatsServer, _: list[NatsServer]) -> None:
    """The leader hangs for ten seconds, and goes on as if nothing had been."""
    leader.pause()
    await anyio.sleep(10)
    leader.go_on()


async def end(leader: NatsServer, _: list[NatsServer]) -> None:
    """The leader ends as at an upgrade, and is back."""
    await anyio.to_thread.run_sync(leader.end)
    await anyio.to_thread.run_sync(leader.start)


async def kill_all(_: NatsServer, servers: list[NatsServer]) -> None:
    """Power for none of them, for a second and a half."""
    for server in servers:
        await anyio.to_thread.run_sync(server.kill)
    await anyio.sleep(1.5)
    for server in servers:
        await anyio.to_thread.run_sync(server.start)


# nats-py leaves a connection to a server that hangs to the collector, which closes it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize(
    ("harm", "most"),
    [(kill, 10.0), (stop, 10.0), (end, 1.0), (kill_all, 12.0)],
    ids=lambda one: getattr(one, "__name__", None),
)
async def test_nothing_acked_is_lost_and_no_read_is_stale_whatever_happens_to_the_leader(
    tmp_path: Path, harm: Harm, most: float
) -> None:
    with nats_cluster(tmp_path) as servers:
        here = options(*servers)
        async with (
            open_nats(here) as one,
            open_nats(here) as other,
            consuming(one) as read_one,
            consuming(other) as read_other,
        ):
            both = Writing(one, other, read_other, "one"), Writing(other, one, read_one, "other")
            async with anyio.create_task_group() as tasks:
                for writing in both:
                    tasks.start_soon(writing.run)
                await anyio.sleep(BEFORE_SECONDS)
                await harm(await leader(one, servers), servers)
                for writing in both:
                    await writing.goes_on()
                await anyio.sleep(AFTER_SECONDS)
                tasks.cancel_scope.cancel()
            print(*((len(w.acked), sum(map(len, w.acked.values())), w.longest, w.refused, len(w.stale)) for w in both))
            await one.barrier()
            await other.barrier()
            for writing in both:
                assert sum(map(len, writing.acked.values())) > 100
                assert not writing.stale
                assert writing.longest < most
                for scan_id, acked in writing.acked.items():
                    for log in (read_one.log(scan_id), read_other.log(scan_id), await one.history(scan_id) or []):
                        assert set(map(fact, acked)) <= set(log[1:])
            for scan_id in {scan_id for scan_id, _, _ in read_one.taken}:
                assert read_one.log(scan_id) == read_other.log(scan_id)


async def test_of_racers_exactly_one_wins_while_the_leader_is_killed(tmp_path: Path) -> None:
    with nats_cluster(tmp_path) as servers:
        here = options(*servers)
        async with open_nats(here) as one, open_nats(here) as two, open_nats(here) as three:
            killed: NatsServer | None = None
            for number in range(RACES):
                racers = [registration(f"{number}.{racer}", f"slot{number}") for racer in range(RACERS)]
                async with anyio.create_task_group() as tasks:
                    if number == 2:
                        killed = await leader(one, servers)
                        tasks.start_soon(anyio.to_thread.run_sync, killed.kill)
                    winner = await race(racers, None, one, two, three)
                for store in (one, two, three):
                    assert await store.holder(f"slot{number}") == winner
                    assert len(await store.newest(ANYONE, 1000)) == number + 1
            assert killed is not None
            killed.start()

"""The queues on NATS keep the contract of the ports, over nodes that come, die, and stand still."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import msgspec
import pytest

from engines.jobs_contract import A, B, CallsContract, JobsContract, LetIn, Opened, Released, names, nothing, taken
from scanstream.engines.nats.connection import connected
from scanstream.engines.nats.jobs import TRIED, NatsJobs, _counted
from scanstream.engines.nats.options import NatsOptions
from scanstream.engines.nats.places import Own
from scanstream.engines.nats.pull import DEATHS
from scanstream.engines.nats.queues import NatsQueues, open_queues
from scanstream.engines.nats.store import open_nats
from scanstream.engines.nats.streams import of_scans, require_stream
from scanstream.errors import SettingError
from scanstream.jobs import Calls, Jobs, Lease
from scanstream.log.entry import Queued
from scanstream.model import ScanId
from support.histories import NOON
from support.nats import NatsServer, options
from support.stores import consuming, registration
from support.until import until

LEASE = 1.0
NOTHING = Own()


@asynccontextmanager
async def node(given: NatsOptions, own: Own = NOTHING) -> AsyncIterator[NatsQueues]:
    """One node of several."""
    async with connected(given) as connection:
        await require_stream(connection, of_scans(connection), 20)
        async with open_queues(connection, own) as queues:
            yield queues


def die(one: NatsQueues) -> None:
    """It has no shards any more, and nobody extends those that it had."""
    one.computing.leased.clear()
    for held in tuple(one.computing.pull.held):
        held.forget()


@pytest.fixture
def given(nats: NatsServer) -> NatsOptions:
    """Of all nodes of one test."""
    return options(nats, lease=LEASE)


class TestJobs(JobsContract):
    @pytest.fixture
    def opened(self, given: NatsOptions) -> Opened:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Jobs]:
            async with node(given) as queues:
                yield queues.computing

        return opened


class TestJobsOfThree(TestJobs):
    @pytest.fixture
    def given(self, nats_three: list[NatsServer]) -> NatsOptions:
        return options(*nats_three, lease=LEASE)


class TestCalls(CallsContract):
    @pytest.fixture
    def let_in(self, given: NatsOptions) -> LetIn:
        @asynccontextmanager
        async def let_in(places: int) -> AsyncIterator[tuple[Calls, Released]]:
            wanted = replace(given, max_running=places)
            async with open_nats(wanted) as store, open_queues(store.connection, NOTHING) as queues, consuming(store):

                async def release(scan_id: ScanId) -> None:
                    await store.register(registration(scan_id), None)
                    await store.append(scan_id, Queued(at=NOON))

                yield queues.calls, release

        return let_in


@pytest.mark.anyio
async def test_what_a_node_has_it_keeps_as_long_as_it_lives(given: NatsOptions) -> None:
    async with node(given) as one, node(given) as other:
        await one.computing.put(names(A, 0))
        await taken(one.computing, 1)
        with anyio.move_on_after(3 * LEASE):
            pytest.fail(f"{await taken(other.computing, 1)} came")


@pytest.mark.anyio
async def test_what_a_dead_node_had_comes_to_another_after_a_lease(given: NatsOptions) -> None:
    async with node(given) as one, node(given) as other:
        await one.computing.put(names(A, 0))
        for deaths in range(4):
            dies, lives = (one, other) if deaths % 2 else (other, one)
            (lease,) = await taken(dies.computing, 1)
            assert (lease.attempt, lease.deaths) == (1 + deaths, deaths)
            die(dies)
            assert lives.computing.pull.held == set()
        (lease,) = await taken(one.computing, 1)
        await lease.give_back(tried=False)
        (lease,) = await taken(other.computing, 1)
        assert (lease.attempt, lease.deaths) == (5, 4)


@pytest.mark.anyio
@pytest.mark.parametrize("words", ["soon", "-1", "9" * 5000, ""], ids=["word", "sign", "long", "none"])
async def test_headers_that_say_nothing_end_no_node(given: NatsOptions, words: str) -> None:
    async with node(given) as one:
        jobs, [shard] = one.computing, names(A, 0)
        subject = jobs._subject(A, shard.strategy_id, "0")
        headers = dict.fromkeys((TRIED, DEATHS), words)
        await jobs._connection.publish(subject, msgspec.json.encode(shard), headers=headers, stream=jobs._stream)
        (lease,) = await taken(jobs, 1)
        assert (lease.shard, lease.attempt, lease.deaths) == (shard, 1, 0)
        await jobs._rescue([subject])
        stored = await jobs._connection.last(jobs._stream, subject)
        assert stored is not None
        assert (_counted(stored.headers, TRIED), _counted(stored.headers, DEATHS)) == (0, 0)


@pytest.mark.anyio
@pytest.mark.parametrize("words", [b"no shard", b'{"scan_id":"\xff"}', b'{"scan_id":' * 50_000], ids=len)
async def test_what_is_no_shard_ends_no_node(given: NatsOptions, words: bytes) -> None:
    async with node(given) as one:
        jobs = one.computing
        await jobs._connection.publish(jobs._subject(B, "tsmom", "0"), words, stream=jobs._stream)
        await jobs.put(names(A, 0))
        (lease,) = await taken(jobs, 1)
        assert lease.shard == names(A, 0)[0]


@pytest.mark.anyio
@pytest.mark.parametrize("words", [b"no past", b'{"since":"\xff"}', b'{"since":' * 100_000], ids=len)
async def test_what_nobody_understands_of_a_permissions_past_counts_as_none(given: NatsOptions, words: bytes) -> None:
    async with node(given) as one:
        calls = one.calls
        await calls._connection.publish(calls._subject(A), words, stream=calls._jobs)
        past = await calls.past(A)
        assert (past.deliveries, past.deaths, past.since) == (0, 0, None)


@pytest.mark.anyio
async def test_a_node_that_leaves_keeps_nothing(given: NatsOptions) -> None:
    async with node(given) as one:
        await one.computing.put(names(A, 0, 1))
        async with node(given) as other:
            await other.computing.pull._ask()
            await other.computing.pull._ask()
            with anyio.fail_after(10):
                while len(other.computing.pull._arrived) < 2:  # noqa: ASYNC110  # come, and nobody has taken them
                    await anyio.sleep(0.01)
            assert await nothing(one.computing.leases())
        with anyio.fail_after(LEASE):
            leases = await taken(one.computing, 2)
        assert sorted((lease.shard.number, lease.attempt, lease.deaths) for lease in leases) == [(0, 1, 0), (1, 1, 0)]


async def unrest(jobs: NatsJobs, end: Callable[[ScanId], Awaitable[None]], steps: int) -> None:
    """Scans that come, whose shards are taken, done and left, and that end at any time; it always goes the same way."""
    chance, scans, leases = random.Random(1), list[ScanId](), dict[str, list[Lease]]()
    for number in range(steps):
        match chance.choice(["begin", "take", "take", "done", "end"]):
            case "begin":
                scans.append(ScanId(f"scan_{number}"))
                await jobs.put(names(scans[-1], *range(chance.randint(1, 3))))
            case "take" if scans:
                with anyio.move_on_after(0.05):
                    (lease,) = await taken(jobs, 1)
                    leases.setdefault(lease.shard.scan_id, []).append(lease)
            case "done" if leases:
                _, some = leases.popitem()
                for lease in some:
                    await lease.done()
            case "end" if scans:
                scan = scans.pop(chance.randrange(len(scans)))
                for lease in leases.pop(scan, [])[1:]:
                    await lease.done()
                await end(scan)


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["dropped", "purged by an operator"])
async def test_scans_that_end_while_shards_of_them_are_at_work_cost_no_others(given: NatsOptions, how: str) -> None:
    """A purge makes the consumer forget what others have: of a node that dies it would come to nobody any more."""
    async with node(given) as one, node(given) as other:
        await one.computing.put(names(A, 0))
        await taken(one.computing, 1)
        die(one)
        jobs, connection = other.computing, other.computing._connection

        async def purge(scan: ScanId) -> None:
            await connection.request_api(f"STREAM.PURGE.{jobs._stream}", {"filter": jobs._subject(scan)})

        await unrest(jobs, jobs.drop if how == "dropped" else purge, 200)
        if how != "dropped":
            await jobs.put(names(A, 0))  # as does whoever conducts its scan, now and then
        with anyio.fail_after(LEASE + 2):
            while (lease := (await taken(jobs, 1))[0]).shard.scan_id != A:
                await lease.done()
        assert (lease.attempt, lease.deaths) == (2, 1)


@pytest.mark.anyio
async def test_who_stood_still_for_longer_than_the_lease_has_its_shard_once(given: NatsOptions) -> None:
    async with node(given) as one:
        await one.computing.put(names(A, 0))
        (lease,) = await taken(one.computing, 1)
        lease.held.forget()  # type: ignore[attr-defined]  # it is not extended …
        with anyio.move_on_after(3 * LEASE):
            pytest.fail(f"{await taken(one.computing, 1)} came")
        assert lease.held.deliveries > 1  # type: ignore[attr-defined]  # … but was delivered again, and is from then on
        await lease.give_back(tried=False)
        (again,) = await taken(one.computing, 1)
        assert (again.attempt, again.deaths) == (1, 0)


@pytest.mark.anyio
async def test_shards_that_are_with_somebody_are_told_from_those_that_wait(given: NatsOptions) -> None:
    async with node(given) as one, node(given) as other:
        await one.computing.put([*names(A, 0, 1), *names(B, 0), *names(A, 0, strategy="pairs")])
        assert not await one.computing.elsewhere(A)
        (lease,) = await taken(other.computing, 1)
        assert await one.computing.elsewhere(A)
        assert await one.computing.elsewhere(A, "tsmom")
        assert not await one.computing.elsewhere(A, "pairs")
        assert not await one.computing.elsewhere(B)
        await lease.done()
        with anyio.fail_after(10):
            while await one.computing.elsewhere(A):  # noqa: ASYNC110  # an acknowledgement is under way
                await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_each_kind_has_a_queue_of_its_own(given: NatsOptions) -> None:
    async with node(given) as one:
        await one.computing.put(names(A, 0))
        await one.waiting.put(names(A, 0, strategy="feed"))
        assert [lease.shard.strategy_id for lease in await taken(one.waiting, 1)] == ["feed"]
        assert [lease.shard.strategy_id for lease in await taken(one.computing, 1)] == ["tsmom"]
        await one.waiting.drop(A)


@pytest.mark.anyio
async def test_a_consumer_that_was_deleted_is_made_anew(given: NatsOptions) -> None:
    async with node(given) as one, anyio.create_task_group() as tasks:
        came: list[int] = []

        async def take() -> None:
            came.extend(lease.shard.number for lease in await taken(one.computing, 1))
            tasks.cancel_scope.cancel()

        tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        pull = one.computing.pull
        await pull._connection.request_api(f"CONSUMER.DELETE.{pull._stream}.{pull._consumer['name']}")
        await one.computing.put(names(A, 3))
        await anyio.sleep(20)
    assert came == [3]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("other", "words"),
    [({"lease": 5.0}, "--lease 1 .* has 5;"), ({"max_running": 7}, "--max-running 4 .* has 7;")],
)
async def test_a_node_with_other_settings_is_refused_with_both_values(
    given: NatsOptions, other: dict[str, float], words: str
) -> None:
    async with node(given):
        pass
    with pytest.raises(SettingError, match=words):
        async with node(replace(given, **other)):  # type: ignore[arg-type]  # a setting of its kind
            pass


@pytest.mark.anyio
async def test_the_places_of_all_nodes_are_known_to_each(given: NatsOptions) -> None:
    async with node(given) as web:
        assert (web.places.computing(), web.places.waiting()) == (0, 0)
        async with node(given, Own(computing=2, waiting=32)), node(given, Own(computing=3, waiting=32)) as other:
            with anyio.fail_after(10):
                while (web.places.computing(), other.places.waiting()) != (5, 64):  # noqa: ASYNC110  # it is told
                    await anyio.sleep(0.01)
        with anyio.fail_after(2):
            while web.places.computing():  # noqa: ASYNC110  # at once, and not when it is forgotten
                await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_a_node_that_leaves_is_not_taken_for_one_of_a_version_before(given: NatsOptions) -> None:
    here = Own(turns=True)
    async with node(given, here) as web:
        async with node(given, Own(computing=2, in_loop=8, turns=True)):
            await until(lambda: web.places.computing() == 2)
            assert web.places.in_loop() == 8
        await until(lambda: web.places.computing() == 0)
        assert web.places.alike()
        async with node(given, Own(waiting=4)):
            await until(lambda: not web.places.alike())
            assert web.places.in_loop() == 4, "it does not tell more"


@pytest.mark.anyio
async def test_who_conducts_a_scan_and_dies_is_followed_by_another(given: NatsOptions) -> None:
    async with open_nats(given) as store, consuming(store), node(given) as one, node(given) as other:
        scan = registration("scan_1")
        await store.register(scan, None)
        await store.append(scan.scan_id, Queued(at=NOON))
        with anyio.fail_after(20):
            call = await anext(one.calls.granted())
        assert await nothing(other.calls.granted())
        for held in tuple(one.calls.pull.held):
            held.forget()
        with anyio.fail_after(LEASE + 2):
            again = await anext(other.calls.granted())
        assert again.scan_id == call.scan_id
        for _ in range(3):  # whoever lives costs no attempt, however often
            assert await again.deaths() == 1
            await again.give_back()
            with anyio.fail_after(LEASE):
                again = await anext(other.calls.granted())
        assert (again.scan_id, await again.deaths()) == (call.scan_id, 1)

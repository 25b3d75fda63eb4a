"""A lease that nobody heard is no death: who lives and has something keeps it, and only who is lost is counted."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from engines.deliveries_contract import delivery
from engines.jobs_contract import A, names, taken
from scanstream.deliveries import Attempt
from scanstream.engines.nats.connection import connected
from scanstream.engines.nats.jobs import NatsJobs
from scanstream.engines.nats.options import NatsOptions
from scanstream.engines.nats.places import Own
from scanstream.engines.nats.pull import Pull
from scanstream.engines.nats.queues import NatsQueues, open_queues
from scanstream.engines.nats.roll import MOST_EXCUSED, MOST_TOLD, ROUNDS, TROUBLED_LEASES, Count, Standing
from scanstream.engines.nats.store import open_nats
from scanstream.engines.nats.streams import of_scans, require_stream
from scanstream.jobs import Call, Lease
from scanstream.log.entry import Queued
from support.histories import NOON
from support.nats import NatsServer, nats_server, options
from support.stores import consuming, registration
from support.until import until

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

LEASE = 1.0
LAPSES = 4
"""More than nodes may be lost with one shard."""


@asynccontextmanager
async def nodes(given: NatsOptions, many: int) -> AsyncIterator[list[NatsQueues]]:
    """So many nodes of one cluster."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(many):
            connection = await stack.enter_async_context(connected(given))
            await require_stream(connection, of_scans(connection), 20)
            opened.append(await stack.enter_async_context(open_queues(connection, Own())))
        yield opened


@pytest.fixture
def given(nats: NatsServer) -> NatsOptions:
    """Of all nodes of one test."""
    return options(nats, lease=LEASE)


ODD = (b'{"scan_id":"\xff"}', b'["\xff",true,[]]', b'{"a":' * 100_000)
"""What is no UTF-8, and what is nested without end."""


def unheard(pull: Pull) -> None:
    """The node lives, and its signs of life do not come through."""
    answer = pull.answer

    async def lost(reply: str, words: bytes) -> None:
        if words != b"+WPI":
            await answer(reply, words)

    pull.answer = lost  # type: ignore[method-assign]


def die(node: NatsQueues) -> None:
    """As by `kill -9`: NATS sees that its connection is gone, and nothing comes from it any more."""
    client = node.calls.pull._connection.client
    client.options["allow_reconnect"] = False
    client._hang_up()


def deliveries(pull: Pull) -> Callable[[], int]:
    """How often the one message of the consumer was delivered, as this node knows."""
    return lambda: max((count.deliveries for count in pull.roll._known.values()), default=1)


async def nothing_but_lapses(wait: Callable[[], Awaitable[object]], pull: Pull) -> None:
    """The message comes here again and again, as its lease runs out, and is left to whoever has it."""
    async with anyio.create_task_group() as tasks:

        async def fail() -> None:
            pytest.fail(f"{await wait()} was taken from a node that lives")

        tasks.start_soon(fail)
        await until(lambda: deliveries(pull)() > LAPSES)
        tasks.cancel_scope.cancel()


async def test_a_shard_stays_with_a_node_that_lives_though_nobody_hears_so(given: NatsOptions) -> None:
    async with nodes(given, 2) as (one, other):
        await one.computing.put(names(A, 0))
        unheard(one.computing.pull)
        (lease,) = await taken(one.computing, 1)
        await nothing_but_lapses(lambda: taken(other.computing, 1), other.computing.pull)
        assert (lease.attempt, lease.deaths) == (1, 0)
        die(one)
        (again,) = await taken(other.computing, 1)
        assert (again.attempt, again.deaths) == (2, 1), "one was lost, and only now"
        await again.give_back(tried=False)
        (again,) = await taken(other.computing, 1)
        assert (again.attempt, again.deaths) == (2, 1)


async def test_what_comes_back_to_who_has_it_is_no_death_when_that_node_is_lost_later(given: NatsOptions) -> None:
    async with nodes(given, 2) as (one, other):
        await one.computing.put(names(A, 0))
        unheard(one.computing.pull)
        await taken(one.computing, 1)
        await nothing_but_lapses(lambda: taken(one.computing, 1), one.computing.pull)
        die(one)
        (again,) = await taken(other.computing, 1)
        assert (again.attempt, again.deaths) == (2, 1)


async def test_who_conducts_a_scan_goes_on_though_nobody_hears_so(given: NatsOptions) -> None:
    async with open_nats(given) as store, consuming(store), nodes(given, 2) as (one, other):
        scan = registration("scan_1")
        await store.register(scan, None)
        await store.append(scan.scan_id, Queued(at=NOON))
        unheard(one.calls.pull)
        call = await conducted_by(one)
        assert await call.deaths() == 0

        async def elsewhere() -> Call:
            return await anext(other.calls.granted())

        await nothing_but_lapses(elsewhere, other.calls.pull)
        die(one)
        again = await conducted_by(other)
        assert await again.deaths() == 1
        await again.give_back()
        assert await (await conducted_by(other)).deaths() == 1, "to be given back is no death"
        die(other)
        async with nodes(given, 1) as (third,):
            assert await (await conducted_by(third)).deaths() == 2


async def conducted_by(node: NatsQueues) -> Call:
    """What this node is to conduct next."""
    with anyio.fail_after(LEASE + 2):
        async with aclosing(node.calls.granted()) as granted:  # type: ignore[type-var]  # a generator
            return await anext(granted)


async def test_what_is_told_elsewhere_is_not_told_twice_as_nobody_heard_who_tells_it(given: NatsOptions) -> None:
    async with nodes(given, 2) as (one, other):
        await one.deliveries.put(delivery("a"))
        unheard(one.deliveries.pull)
        await told_by(one)
        await nothing_but_lapses(lambda: told_by(other), other.deliveries.pull)
        die(one)
        with anyio.fail_after(LEASE + 2):
            assert (await told_by(other)).number == 2


async def told_by(node: NatsQueues) -> Attempt:
    """What this node is to tell next."""
    async with aclosing(node.deliveries.due()) as due:  # type: ignore[type-var]  # a generator
        return await anext(due)


async def take(jobs: NatsJobs, into: list[Lease]) -> None:
    """All that comes."""
    async with aclosing(jobs.leases()) as leases:  # type: ignore[type-var]  # a generator
        async for lease in leases:
            into.append(lease)


async def test_nats_that_stands_still_is_nobodys_death(tmp_path: Path) -> None:
    """Its servers end, and are back after a lease, more often than nodes may be lost with one shard."""
    with nats_server(tmp_path) as server:
        async with nodes(options(server, lease=LEASE), 2) as both, anyio.create_task_group() as tasks:
            one, other = (node.computing for node in both)
            came: list[Lease] = []
            await one.put(names(A, 0))
            for jobs in (one, other):
                tasks.start_soon(take, jobs, came)
            await until(lambda: bool(came))
            for _ in range(LAPSES):
                server.kill()
                await anyio.sleep(1.5 * LEASE)
                server.start()
                await until(lambda: not one._connection.trouble() and not other._connection.trouble())
                await anyio.sleep(2.5 * LEASE)
            assert came
            assert {(lease.attempt, lease.deaths) for lease in came} == {(1, 0)}
            assert len(came) <= 2, "it is with both at most, where one did not hear the other"
            tasks.cancel_scope.cancel()


async def test_what_a_lost_node_had_costs_one_question(given: NatsOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = 40
    async with nodes(given, 2) as (one, other):
        await one.computing.put(names(A, *range(shards)))
        await taken(one.computing, shards)
        die(one)
        roll, asked = other.computing.pull.roll, list[str]()
        say = roll._say

        async def counted(what: str, word: object) -> None:
            asked.append(what)
            await say(what, word)  # type: ignore[arg-type]

        monkeypatch.setattr(roll, "_say", counted)
        leases = await taken(other.computing, shards)
        assert {(lease.attempt, lease.deaths) for lease in leases} == {(2, 1)}
        assert asked.count("call") <= 3 * ROUNDS


async def test_who_has_to_leave_in_the_middle_of_the_question_counts_nobody_twice(given: NatsOptions) -> None:
    async with nodes(given, 2) as (one, last):
        await one.computing.put(names(A, 0))
        await taken(one.computing, 1)
        die(one)
        async with nodes(given, 1) as (other,):
            pull = other.computing.pull
            with anyio.move_on_after(10):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(taken, other.computing, 1)
                    await until(lambda: bool(pull.held))
                    tasks.cancel_scope.cancel()
            assert not other.computing.leased
            assert len(pull._arrived) == 1
        with anyio.fail_after(LEASE):
            (lease,) = await taken(last.computing, 1)
        assert (lease.attempt, lease.deaths) == (2, 1)


async def test_who_has_to_leave_in_the_middle_of_the_question_takes_nothing_from_a_node_that_lives(
    given: NatsOptions,
) -> None:
    async with nodes(given, 2) as (one, last):
        await one.computing.put(names(A, 0))
        unheard(one.computing.pull)
        (lease,) = await taken(one.computing, 1)
        async with nodes(given, 1) as (other,), anyio.create_task_group() as tasks:
            tasks.start_soon(taken, other.computing, 1)
            await until(lambda: bool(other.computing.pull.held))
            tasks.cancel_scope.cancel()
        stored = await one.computing._connection.last(one.computing._stream, lease.held.subject)  # type: ignore[attr-defined]
        assert stored is not None
        assert stored.seq == lease.held.seq  # type: ignore[attr-defined]  # nothing was put in its place
        die(one)
        (again,) = await taken(last.computing, 1)
        assert (again.attempt, again.deaths) == (2, 1)


async def test_who_comes_later_is_told_what_the_others_know(given: NatsOptions) -> None:
    async with nodes(given, 3) as (one, other, web):
        await one.computing.put(names(A, 0))
        unheard(one.computing.pull)
        await taken(one.computing, 1)
        await nothing_but_lapses(lambda: taken(other.computing, 1), other.computing.pull)
        await until(lambda: deliveries(web.computing.pull)() > LAPSES)
        die(one)
        die(other)  # it has asked for it as well
        async with nodes(given, 1) as (late,):
            (again,) = await taken(late.computing, 1)
            assert (again.attempt, again.deaths) == (2, 1)


async def test_to_give_back_is_no_death_where_there_is_no_room_to_say_so(given: NatsOptions) -> None:
    async with nodes(given, 2) as both:
        jobs, ask = [node.computing for node in both], both[0].computing._connection.request_api
        await jobs[0].put(names(A, 0))
        name = f"STREAM.INFO.{jobs[0]._stream}"
        config = (await ask(name))["config"]
        await ask(f"STREAM.UPDATE.{jobs[0]._stream}", {**config, "max_bytes": 1})
        for number in range(LAPSES):
            (lease,) = await taken(jobs[number % 2], 1)
            assert (lease.attempt, lease.deaths) == (1, 0)
            await lease.give_back(tried=False)
        (lease,) = await taken(jobs[0], 1)
        die(both[0])
        (lease,) = await taken(jobs[1], 1)
        assert (lease.attempt, lease.deaths) == (2, 1), "who is lost is counted there, too"


async def test_two_that_ask_for_the_same_do_not_leave_it_to_each_other(given: NatsOptions) -> None:
    came, standings = Count(7, 2, 0), list[Standing | None]()
    async with nodes(given, 2) as both:
        for node in both:
            node.computing.pull.roll._has = lambda: [came]

        async def ask(node: NatsQueues) -> None:
            standings.append(await node.computing.pull.roll.standing(came))

        async with anyio.create_task_group() as tasks:
            for node in both:
                tasks.start_soon(ask, node)
    assert len(standings) == 2
    assert any(standings)


async def test_what_came_once_is_not_remembered_of_others(given: NatsOptions) -> None:
    async with nodes(given, 3) as (one, other, web):
        await one.computing.put(names(A, *range(40)))
        await taken(one.computing, 40)
        roll = other.computing.pull.roll
        assert await roll.standing(Count(1000, 2, 0)) is not None
        assert len(roll._theirs) == 40
        for each in (roll, web.computing.pull.roll):
            assert not each._known
        assert not web.computing.pull.roll._theirs, "it has not asked"


async def test_what_was_known_of_another_message_at_its_place_counts_no_more(given: NatsOptions) -> None:
    """As where an operator made the stream anew."""
    async with nodes(given, 2) as (one, other):
        rolls = [node.computing.pull.roll for node in (one, other)]
        await rolls[0].note(1, 4, 3)
        await until(lambda: all(roll._known for roll in rolls))
        await one.computing.put(names(A, 0))
        (lease,) = await taken(one.computing, 1)
        assert (lease.attempt, lease.deaths) == (1, 0)
        await until(lambda: not any(roll._known for roll in rolls))


async def test_silence_proves_nothing_where_nats_was_in_trouble_but_not_for_ever(given: NatsOptions) -> None:
    async with nodes(given, 1) as (one,):
        roll, connection = one.computing.pull.roll, one.computing._connection
        for troubled in (False, True):
            if troubled:
                connection.note_trouble()
            for number, came in enumerate((2, MOST_EXCUSED, MOST_EXCUSED + 1)):
                standing = await roll.standing(Count(100 + number, came, 0))
                assert standing is not None
                excused = troubled and came <= MOST_EXCUSED
                assert standing.excused is excused
                assert standing.lost() == (0 if excused else came - 1)
        await until(lambda: not connection.troubled(TROUBLED_LEASES * LEASE))
        standing = await roll.standing(Count(103, 2, 1))
        assert standing is not None
        assert standing.lost() == 2


async def test_words_that_nobody_understands_end_no_node(given: NatsOptions) -> None:
    async with nodes(given, 2) as (one, other):
        for words in (b"", b"[]", b'["a",true,[[1]]]', b'["a",true,[[1,1e9,2]]]', b'{"a":1}', b"\xff" * 10, *ODD):
            for what in ("call", "has", "more"):
                subject = f"{one.computing.pull.roll._subject}.{what}"
                await other.computing._connection.client.publish(subject, words)
        await one.computing.put(names(A, 0))
        unheard(one.computing.pull)
        await taken(one.computing, 1)
        await nothing_but_lapses(lambda: taken(other.computing, 1), other.computing.pull)


async def test_an_answer_is_no_larger_than_nats_takes(given: NatsOptions) -> None:
    many = [Count(10**12 + number, 10**6, 10**6) for number in range(MOST_TOLD + 5)]
    async with nodes(given, 2) as (one, other):
        one.computing.pull.roll._has = lambda: many
        for came, theirs in ((many[0], True), (many[-1], False)):
            other.computing.pull.roll._called_at = float("-inf")
            standing = await other.computing.pull.roll.standing(came)
            assert (standing is None) is theirs

"""What every engine's feed owes its consumer and the writers, second half of the contract suite."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engines.contract import A, Engine
from scanstream.log.entry import Queued, ShardStarted
from scanstream.log.store import Store
from support.stores import Consumer, Fed, consuming, fact, feeding, registration

DEADLINE_SECONDS = 10
"""Not a measure: what takes longer hangs."""


async def take_until(feed: AsyncGenerator[Fed, None], last: Fed) -> None:
    """Take from the feed up to and including this."""
    with anyio.fail_after(DEADLINE_SECONDS):
        while await anext(feed) != last:
            pass


async def until_durable(store: Store, length: int) -> None:
    """The log of A has so many entries, acknowledged or not."""
    with anyio.fail_after(DEADLINE_SECONDS):
        while len(await store.history(A) or ()) < length:
            pass


@pytest.mark.anyio
class FeedContract:
    """Durable before visible, and a barrier that can be relied on."""

    async def test_the_barrier_waits_for_the_consumer_to_take_what_was_held_before(self, engine: Engine) -> None:
        async with engine("here") as store:
            await store.register(registration(A), None)
            await store.append(A, fact(0), fact(1))
            async with aclosing(feeding(store)) as feed:
                await take_until(feed, (A, 1, registration(A)))
                await self._barrier_follows_the_consumer(store, feed, [(A, 2, fact(0)), (A, 3, fact(1))])

    async def test_the_barrier_waits_for_the_consumer_to_take_what_is_live(self, engine: Engine) -> None:
        async with engine("here") as store, aclosing(feeding(store)) as feed, anyio.create_task_group() as tasks:
            tasks.start_soon(store.register, registration(A), None)
            await take_until(feed, (A, 1, registration(A)))
            tasks.start_soon(store.append, A, fact(0), fact(1))
            await until_durable(store, 3)
            await self._barrier_follows_the_consumer(store, feed, [(A, 2, fact(0)), (A, 3, fact(1))])

    async def _barrier_follows_the_consumer(
        self, store: Store, feed: AsyncGenerator[Fed, None], untaken: list[Fed]
    ) -> None:
        """One by one: as long as one is untaken the barrier stands; then it falls."""
        fallen = anyio.Event()

        async def wait() -> None:
            await store.barrier()
            fallen.set()

        async def take_for_ever() -> None:
            async for _ in feed:
                pass

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            for item in untaken:
                await anyio.wait_all_tasks_blocked()
                await store.history(A)  # whatever the barrier asked of the store, it has had its turn
                await anyio.wait_all_tasks_blocked()
                assert not fallen.is_set()
                await take_until(feed, item)
            tasks.start_soon(take_for_ever)
            with anyio.fail_after(DEADLINE_SECONDS):
                await fallen.wait()
            tasks.cancel_scope.cancel()

    async def test_without_a_consumer_nothing_waits(self, engine: Engine) -> None:
        async with engine("here") as store:
            with anyio.fail_after(DEADLINE_SECONDS):
                await store.register(registration(A), None)
                await store.append(A, fact(0))
                await store.barrier()

    async def test_a_consumer_that_stops_while_it_waits_does_not_hold_up_writers(self, engine: Engine) -> None:
        async with engine("here") as store:
            async with consuming(store):
                await store.register(registration(A), None)
            with anyio.fail_after(DEADLINE_SECONDS):
                await store.append(A, fact(0))
                await store.barrier()
            assert await store.history(A) == [registration(A), fact(0)]

    async def test_a_consumer_that_stops_in_the_middle_of_an_append_lets_its_writer_go(self, engine: Engine) -> None:
        async with engine("here") as store, anyio.create_task_group() as tasks:
            feed = feeding(store)
            tasks.start_soon(store.register, registration(A), None)
            await take_until(feed, (A, 1, registration(A)))
            tasks.start_soon(store.append, A, fact(0), fact(1), fact(2))
            tasks.start_soon(store.append, A, fact(3))
            tasks.start_soon(store.barrier)
            await take_until(feed, (A, 2, fact(0)))
            await feed.aclose()
            tasks.cancel_scope.deadline = anyio.current_time() + DEADLINE_SECONDS
        assert not tasks.cancel_scope.cancelled_caught, "a writer waits for a consumer that is gone"

    async def test_a_later_consumer_begins_anew(self, engine: Engine) -> None:
        async with engine("here") as store:
            await store.register(registration(A), None)
            for number in range(3):
                async with consuming(store) as consumer:
                    assert consumer.log(A) == [registration(A), *map(fact, range(number))]
                    await store.append(A, fact(number))
            await store.append(A, fact(3))
            async with consuming(store) as consumer:
                assert consumer.log(A) == await store.history(A) == [registration(A), *map(fact, range(4))]

    async def test_a_consumer_that_comes_in_the_middle_of_writing_misses_nothing(self, engine: Engine) -> None:
        async with engine("here") as store, anyio.create_task_group() as tasks:
            await store.register(registration(A), None)
            for number in range(300):
                tasks.start_soon(store.append, A, fact(number))
            await until_durable(store, 2)
            async with consuming(store) as consumer:
                await until_durable(store, 301)
                with anyio.fail_after(DEADLINE_SECONDS):
                    await store.barrier()
                assert consumer.log(A) == await store.history(A)
                assert len(consumer.log(A)) == 301

    async def test_a_consumer_that_comes_when_more_write_than_the_store_queues_gets_its_turn(
        self, engine: Engine
    ) -> None:
        consumer = Consumer()
        async with engine("here") as store, anyio.create_task_group() as tasks:
            await store.register(registration(A), None)
            for number in range(6_000):
                tasks.start_soon(store.append, A, fact(number))
            for _ in range(3):  # until they stand in the queue, and no longer
                await checkpoint()
            tasks.start_soon(consumer.run, store)
            with anyio.move_on_after(DEADLINE_SECONDS / 2) as deadline:
                await until_durable(store, 6_001)
                await store.barrier()
            tasks.cancel_scope.cancel()
        assert not deadline.cancelled_caught, "the consumer waits for writers that wait for it"
        assert len(consumer.log(A)) == 6_001

    async def test_a_cancelled_append_has_happened_whole_or_not_at_all(self, engine: Engine) -> None:
        async with engine("here") as store, consuming(store) as consumer:
            await store.register(registration(A), None)
            for steps in range(10):
                async with anyio.create_task_group() as tasks:
                    for number in range(100):
                        tasks.start_soon(store.append, A, fact(0, f"{steps}.{number}"), fact(1, f"{steps}.{number}"))
                    for _ in range(steps):
                        await checkpoint()
                    tasks.cancel_scope.cancel()
                await store.append(A, Queued(at=steps))
            await store.barrier()
            _, *written = consumer.log(A)
            assert await store.history(A) == consumer.log(A)
            writers = [entry.strategy_id for entry in written if isinstance(entry, ShardStarted)]
            assert [writers.count(writer) for writer in writers] == [2] * len(writers)
            assert [entry for entry in written if isinstance(entry, Queued)] == [Queued(at=at) for at in range(10)]

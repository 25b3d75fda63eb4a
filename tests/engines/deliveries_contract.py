"""What every queue of deliveries must do, and what of it outlives a restart: suites over the engines."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import anyio
import pytest

from scanstream.deliveries import Attempt, Deliveries, Delivery
from scanstream.model import Principal, ScanId

NOTHING_SECONDS = 0.3
SOON_SECONDS = 0.2
"""After which something is to be tried again, where a test waits for that."""
LONG_SECONDS = 3600.0

Opened = Callable[[], AbstractAsyncContextManager[Deliveries]]
"""`async with opened() as deliveries`; where they outlive it the same ones each time."""


def delivery(name: str, **told: Any) -> Delivery:
    """One that is called so."""
    fields = {"scan_id": ScanId(f"scan_{name}"), "url": f"https://hooks.example.com/{name}", "expires_at": 2**41}
    return Delivery(id=name, **{**fields, **told})


def deliveries_of(names: str) -> list[Delivery]:
    """One for each letter."""
    return [delivery(name) for name in names]


async def taken(deliveries: Deliveries, count: int) -> list[Attempt]:
    """The next so many."""
    async with aclosing(deliveries.due()) as due:  # type: ignore[type-var]  # a generator everywhere
        with anyio.fail_after(20):
            return [await anext(due) for _ in range(count)]


async def nothing(deliveries: Deliveries) -> bool:
    """Whether nothing is due for a while."""
    async with aclosing(deliveries.due()) as due:  # type: ignore[type-var]
        with anyio.move_on_after(NOTHING_SECONDS) as scope:
            await anext(due)
    return scope.cancelled_caught


def told(attempts: Iterable[Attempt]) -> list[tuple[str, int]]:
    """(id, number) of each."""
    return [(attempt.delivery.id, attempt.number) for attempt in attempts]


async def holds(deliveries: Deliveries, count: int) -> None:
    """There are so many, at once or a moment later."""
    with anyio.fail_after(10):
        while await deliveries.waiting() != count:  # noqa: ASYNC110  # it is found out somewhere else
            await anyio.sleep(0.01)


@pytest.mark.anyio
class DeliveriesContract:
    """A subclass gives the fixture `opened`."""

    async def test_each_comes_once_in_its_order_however_often_it_was_put(self, opened: Opened) -> None:
        async with opened() as deliveries:
            await deliveries.put(*deliveries_of("ba"))
            await deliveries.put(*deliveries_of("abc"))
            await holds(deliveries, 3)
            attempts = await taken(deliveries, 2)
            await deliveries.put(*deliveries_of("abc"))
            assert told([*attempts, *await taken(deliveries, 1)]) == [("b", 1), ("a", 1), ("c", 1)]
            assert await nothing(deliveries)
            await holds(deliveries, 3)

    async def test_what_it_is_about_comes_as_it_was_put_first_and_may_be_called_anything(self, opened: Opened) -> None:
        wild = delivery("a.b > *:Ü", url="https://hooks.example.com/ü?a=%00&b= \n", expires_at=1)
        async with opened() as deliveries:
            await deliveries.put(wild)
            await deliveries.put(delivery(wild.id))
            (attempt,) = await taken(deliveries, 1)
            assert attempt.delivery == wild

    async def test_who_puts_none_changes_nothing(self, opened: Opened) -> None:
        async with opened() as deliveries:
            await deliveries.put()
            await holds(deliveries, 0)

    async def test_what_is_done_comes_no_more_until_it_is_put_again(self, opened: Opened) -> None:
        async with opened() as deliveries:
            await deliveries.put(*deliveries_of("ab"))
            first, second = await taken(deliveries, 2)
            await first.again()
            (first,) = await taken(deliveries, 1)
            for attempt in (first, second):
                await attempt.done()
            assert await nothing(deliveries)
            await holds(deliveries, 0)
            await deliveries.put(delivery("a"))
            assert told(await taken(deliveries, 1)) == [("a", 1)]

    async def test_what_was_tried_in_vain_comes_again_behind_the_others_as_another_attempt(
        self, opened: Opened
    ) -> None:
        async with opened() as deliveries:
            await deliveries.put(*deliveries_of("abc"))
            for after in (SOON_SECONDS, 3 * SOON_SECONDS):
                (attempt,) = await taken(deliveries, 1)
                await attempt.again(after)
            assert told(await taken(deliveries, 3)) == [("c", 1), ("a", 2), ("b", 2)]

    async def test_who_has_to_leave_or_lets_others_go_first_costs_no_attempt(self, opened: Opened) -> None:
        async with opened() as deliveries:
            await deliveries.put(delivery("a"))
            for number, tried in ((1, False), (1, True), (2, False), (2, False), (2, True), (3, True)):
                (attempt,) = await taken(deliveries, 1)
                assert attempt.number == number
                await attempt.again(tried=tried)

    async def test_each_principal_s_come_in_their_order_whoever_else_has_some(self, opened: Opened) -> None:
        whose = dict(zip("abcdef", ("ann", "ann", "bob", "ann", "bob", "eve"), strict=True))
        async with opened() as deliveries:
            await deliveries.put(*(delivery(name, principal=Principal(who)) for name, who in whose.items()))
            come = [attempt.delivery for attempt in await taken(deliveries, len(whose))]
            assert {one.id: one.principal for one in come} == whose
            for who in set(whose.values()):
                names = [one.id for one in come if one.principal == who]
                assert names == sorted(names)

    async def test_what_is_not_due_does_not_come_and_is_there(self, opened: Opened) -> None:
        async with opened() as deliveries:
            await deliveries.put(delivery("a"))
            (attempt,) = await taken(deliveries, 1)
            await attempt.again(LONG_SECONDS)
            await deliveries.put(delivery("a"))
            assert await nothing(deliveries)
            await holds(deliveries, 1)

    async def test_who_waits_hears_of_what_is_put_and_of_what_is_given_back(self, opened: Opened) -> None:
        heard: list[Attempt] = []

        async def hear(due: AsyncIterator[Attempt], count: int) -> None:
            heard.extend([await anext(due) for _ in range(count)])

        async with opened() as deliveries, aclosing(deliveries.due()) as due:  # type: ignore[type-var]
            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(hear, due, 1)
                    await anyio.wait_all_tasks_blocked()
                    await deliveries.put(delivery("a"))
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(hear, due, 1)
                    await anyio.wait_all_tasks_blocked()
                    await heard[0].again()
            assert told(heard) == [("a", 1), ("a", 2)]

    async def test_many_at_once_are_each_one_s_only(self, opened: Opened) -> None:
        names = [f"{number:03}" for number in range(100)]
        async with opened() as deliveries:
            async with anyio.create_task_group() as tasks:
                for name in names:
                    tasks.start_soon(deliveries.put, delivery(name))
                    tasks.start_soon(deliveries.put, delivery(name))
            attempts = await taken(deliveries, len(names))
            assert sorted(told(attempts)) == [(name, 1) for name in names]
            async with anyio.create_task_group() as tasks:
                for attempt in attempts:
                    tasks.start_soon(attempt.done)
            await holds(deliveries, 0)


class DurableDeliveriesContract(DeliveriesContract):
    """The same where what was put outlives the object, and whoever dies."""

    async def test_a_restart_changes_neither_what_there_is_nor_its_count_nor_its_time(self, opened: Opened) -> None:
        async with opened() as deliveries:
            await deliveries.put(*deliveries_of("abcd"))
            later, twice, done = await taken(deliveries, 3)
            await later.again(LONG_SECONDS)
            await twice.again()
            await done.done()
        for _ in range(2):
            async with opened() as deliveries:
                await holds(deliveries, 3)
        async with opened() as deliveries:
            assert sorted(told(await taken(deliveries, 2))) == [("b", 2), ("d", 1)]
            assert await nothing(deliveries)

    async def test_what_is_to_wait_across_a_restart_comes_when_its_time_has_come(self, opened: Opened) -> None:
        async with opened() as deliveries:
            await deliveries.put(*deliveries_of("ab"))
            first, second = await taken(deliveries, 2)
            await second.again(5 * SOON_SECONDS)
            await first.again(6 * SOON_SECONDS, tried=False)
        async with opened() as deliveries:
            assert told(await taken(deliveries, 2)) == [("b", 2), ("a", 1)]

    async def test_who_had_one_and_died_has_tried_it(self, opened: Opened) -> None:
        for number in (1, 2, 3):
            async with opened() as deliveries:
                await deliveries.put(delivery("a"))
                assert told(await taken(deliveries, 1)) == [("a", number)]
        async with opened() as deliveries:
            (attempt,) = await taken(deliveries, 1)
            assert attempt.number == 4
            await attempt.again(tried=False)
            (attempt,) = await taken(deliveries, 1)
            assert attempt.number == 4
            await attempt.done()
            await holds(deliveries, 0)

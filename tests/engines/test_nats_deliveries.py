"""Deliveries on NATS, over nodes that come, die, and stand still, and servers that forget."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import anyio
import msgspec
import pytest

from engines.deliveries_contract import (
    LONG_SECONDS,
    SOON_SECONDS,
    DurableDeliveriesContract,
    Opened,
    deliveries_of,
    delivery,
    holds,
    nothing,
    taken,
    told,
)
from scanstream.deliveries import Attempt, Deliveries
from scanstream.engines.nats import deliveries as engine
from scanstream.engines.nats import spacing
from scanstream.engines.nats.connection import connected
from scanstream.engines.nats.deliveries import NatsAttempt, NatsDeliveries
from scanstream.engines.nats.jobs import TRIED
from scanstream.engines.nats.options import NatsOptions
from scanstream.engines.nats.places import Own
from scanstream.engines.nats.pull import MOST_DIGITS, PASSED_AT_ONCE
from scanstream.engines.nats.queues import open_queues
from scanstream.engines.nats.streams import of_scans, require_stream
from scanstream.errors import SettingError, StoreUnavailable
from scanstream.model import Milliseconds, Principal, now
from support.nats import NatsServer, options

pytestmark = pytest.mark.anyio

LEASE = 1.0
BODY = msgspec.json.encode(delivery("a"))


@asynccontextmanager
async def node(given: NatsOptions, time: Callable[[], Milliseconds] = now) -> AsyncIterator[NatsDeliveries]:
    """One node of several."""
    async with connected(given) as connection:
        await require_stream(connection, of_scans(connection), 20)
        async with open_queues(connection, Own(), time) as queues:
            yield queues.deliveries


def die(one: NatsDeliveries) -> None:
    """It has none any more, and nobody extends those that it had."""
    one._has.clear()
    for held in tuple(one.pull.held):
        held.forget()


async def forget(one: NatsDeliveries) -> None:
    """NATS does not know any more what it was told about what waits, and about what nodes have."""
    await one._connection.request_api(f"CONSUMER.DELETE.{one._stream}.{one.pull._consumer['name']}")
    await one.pull.require()


async def bound(one: NatsDeliveries, *, most: int) -> None:
    """The stream takes so many bytes."""
    ask = one._connection.request_api
    config = (await ask(f"STREAM.INFO.{one._stream}"))["config"]
    await ask(f"STREAM.UPDATE.{one._stream}", {**config, "max_bytes": most})


@pytest.fixture
def given(nats: NatsServer) -> NatsOptions:
    """Of all nodes of one test."""
    return options(nats, lease=LEASE)


class TestDeliveries(DurableDeliveriesContract):
    @pytest.fixture
    def opened(self, given: NatsOptions) -> Opened:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Deliveries]:
            async with node(given) as deliveries:
                yield deliveries

        return opened


@pytest.mark.cluster
class TestDeliveriesOfThree(TestDeliveries):
    @pytest.fixture
    def given(self, nats_three: list[NatsServer]) -> NatsOptions:
        return options(*nats_three, lease=LEASE)


@pytest.mark.cluster
async def test_what_a_node_has_it_keeps_as_long_as_it_lives(given: NatsOptions) -> None:
    async with node(given) as one, node(given) as other:
        await one.put(delivery("a"))
        await taken(one, 1)
        with anyio.move_on_after(3 * LEASE):
            pytest.fail(f"{await taken(other, 1)} came")


async def test_what_a_dead_node_had_comes_to_another_after_a_lease_as_another_attempt(given: NatsOptions) -> None:
    async with node(given) as one, node(given) as other:
        await one.put(delivery("a"))
        for number in (1, 2, 3):
            dies, lives = (one, other) if number % 2 else (other, one)
            (attempt,) = await taken(dies, 1)
            assert attempt.number == number
            die(dies)
            assert lives.pull.held == set()
        await (await taken(one, 1))[0].again(SOON_SECONDS)
        (attempt,) = await taken(other, 1)
        assert attempt.number == 5
        die(other)
        assert told(await taken(one, 1)) == [("a", 6)]


async def test_what_is_on_its_way_to_a_node_that_leaves_comes_to_another_at_once(given: NatsOptions) -> None:
    """It has asked for one more, so NATS gives it what it hands back itself."""
    async with node(given) as other:
        for number in range(5):
            await other.put(delivery(f"{number}"))
            async with node(given) as one:
                (attempt,) = await taken(one, 1)
                assert await nothing(one)
                await attempt.again(tried=False)
            (attempt,) = await taken(other, 1)
            assert told([attempt]) == [(f"{number}", 1)], "else whoever left has had it, as far as anybody knows"
            await attempt.done()


async def test_each_of_many_comes_to_one_node(given: NatsOptions) -> None:
    names = [f"{number:03}" for number in range(60)]
    came: list[Attempt] = []

    async def take(one: NatsDeliveries) -> None:
        async with aclosing(one.due()) as due:  # type: ignore[type-var]  # a generator everywhere
            async for attempt in due:
                came.append(attempt)
                if attempt.number < 3:
                    await attempt.again()
                else:
                    await attempt.done()

    async with node(given) as one, node(given) as other, node(given) as third, anyio.create_task_group() as tasks:
        for each in (one, other, third):
            tasks.start_soon(take, each)
        await one.put(*map(delivery, names))
        await holds(one, 0)
        tasks.cancel_scope.cancel()
    assert sorted(told(came)) == sorted((name, number) for name in names for number in (1, 2, 3))


async def test_a_node_that_leaves_keeps_nothing_and_costs_no_attempt(given: NatsOptions) -> None:
    async with node(given) as one:
        await one.put(*deliveries_of("ab"))
        (attempt,) = await taken(one, 1)
        await attempt.again(SOON_SECONDS)
        async with node(given) as other:
            for _ in range(3):  # one that nobody has tried, one that waits, and the same again
                await other.pull._ask()
            with anyio.fail_after(10):
                while len(other.pull._arrived) < 2:  # noqa: ASYNC110  # come, and nobody has taken them
                    await anyio.sleep(0.01)
        assert sorted(told(await taken(one, 2))) == [("a", 2), ("b", 1)]


@pytest.mark.cluster
async def test_who_stood_still_for_longer_than_the_lease_has_it_once(given: NatsOptions) -> None:
    async with node(given) as one:
        await one.put(delivery("a"))
        (attempt,) = await taken(one, 1)
        assert isinstance(attempt, NatsAttempt)
        attempt.held.forget()  # it is not extended …
        with anyio.move_on_after(3 * LEASE):
            pytest.fail(f"{await taken(one, 1)} came")
        assert attempt.held.deliveries > 1  # … but was delivered again, and is from then on
        await attempt.again(tried=False)
        assert told(await taken(one, 1)) == [("a", 1)]


async def test_who_was_taken_for_dead_may_say_how_it_went_and_brings_nothing_back(given: NatsOptions) -> None:
    async with node(given) as one, node(given) as other:
        await one.put(*deliveries_of("abc"))
        first, second, third = await taken(one, 3)
        die(one)
        attempts = {attempt.delivery.id: attempt for attempt in await taken(other, 3)}
        await first.done()
        await second.again(LONG_SECONDS)
        await attempts["c"].done()
        await third.again()
        assert await nothing(other)
        await holds(one, 1)


async def test_what_nats_forgets_brings_nothing_early_and_costs_no_attempt(given: NatsOptions) -> None:
    async with node(given) as one:
        await one.put(*deliveries_of("ab"))
        first, second = await taken(one, 2)
        await first.again(4 * SOON_SECONDS)
        await second.again(LONG_SECONDS)
        for _ in range(3):
            await forget(one)
            with anyio.move_on_after(SOON_SECONDS / 2):
                pytest.fail(f"{told(await taken(one, 1))} came")
        assert told(await taken(one, 1)) == [("a", 2)]
        assert await one.waiting() == 2


@pytest.mark.parametrize("ahead", [SOON_SECONDS, 30.0, LONG_SECONDS])
async def test_where_the_time_was_set_back_or_nodes_differ_what_waits_begins_anew_at_most(
    given: NatsOptions, ahead: float
) -> None:
    async with node(given, lambda: now() + round(ahead * 1000)) as one:
        await one.put(*deliveries_of("ab"))
        first, second = await taken(one, 2)
        await first.again(3 * SOON_SECONDS)
        await second.again(LONG_SECONDS)
        await forget(one)
    async with node(given) as one:
        with anyio.move_on_after(SOON_SECONDS):
            pytest.fail(f"{told(await taken(one, 1))} came")
        assert told(await taken(one, 1)) == [("a", 2)]
        assert await nothing(one)


async def test_of_a_flood_few_are_due_when_somebody_else_comes(
    given: NatsOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spacing, "SPACING_SECONDS", 60.0)
    flood = [delivery(f"{number:03}", principal=Principal("ann")) for number in range(4 * spacing.AT_ONCE)]
    async with node(given) as one, node(given) as other:
        await one.put(*flood)
        await one.put(delivery("bob", principal=Principal("bob")))
        await holds(one, len(flood) + 1)
        attempts = await taken(other, spacing.AT_ONCE + 1)
        assert told(attempts) == [*((each.id, 1) for each in flood[: spacing.AT_ONCE]), ("bob", 1)]
        assert await nothing(other)


async def test_what_was_spaced_comes_as_its_first_attempt(given: NatsOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spacing, "AT_ONCE", 1)
    monkeypatch.setattr(spacing, "SPACING_SECONDS", SOON_SECONDS)
    async with node(given) as one:
        await one.put(*deliveries_of("abc"))
        await one.put(*deliveries_of("c"))
        assert told(await taken(one, 3)) == [("a", 1), ("b", 1), ("c", 1)]
        assert await nothing(one)


def test_a_principal_has_so_many_due_at_once_and_then_one_after_another() -> None:
    at = 100.0
    ann, bob = Principal("ann"), Principal("bob")
    made = spacing.Spacing(lambda: at)
    assert {made.seconds(ann) for _ in range(spacing.AT_ONCE)} == {0.0}
    step = spacing.SPACING_SECONDS
    assert [made.seconds(ann) for _ in range(3)] == pytest.approx([step, 2 * step, 3 * step])
    assert made.seconds(bob) == 0
    at += 3 * step
    assert made.seconds(ann) == pytest.approx(step)
    at += 1.0
    assert made.seconds(ann) == 0
    for number in range(3 * spacing.MOST_KNOWN):
        at += step
        assert made.seconds(Principal(f"{number}")) == 0
    assert len(made._next) <= spacing.MOST_KNOWN, "who put something a while ago is forgotten"


async def test_what_waits_is_passed_over_many_at_a_time_where_nats_has_forgotten_that_it_does(
    given: NatsOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh one stands behind all of it. What is due and came with others is given back, and is no attempt."""
    waits = [delivery(f"{number:03}") for number in range(8 * PASSED_AT_ONCE)]
    fresh = deliveries_of("abcdef")
    questions = 0
    async with node(given) as other:
        async with node(given) as one:
            await one.put(*waits)
            async with anyio.create_task_group() as tasks:
                for attempt in await taken(one, len(waits)):
                    tasks.start_soon(attempt.again, LONG_SECONDS)
            await forget(one)
            await one.put(*fresh)
            ask = one.pull._ask

            async def counted() -> None:
                nonlocal questions
                questions += 1
                await ask()

            monkeypatch.setattr(one.pull, "_ask", counted)
            (attempt,) = await taken(one, 1)
            assert told([attempt]) == [("a", 1)]
            assert questions <= 8 + 2 * PASSED_AT_ONCE + len(fresh)
            await attempt.done()
        assert sorted(told(await taken(other, len(fresh) - 1))) == [(name, 1) for name in "bcdef"]
        assert await nothing(other)
        await holds(other, len(waits) + len(fresh) - 1)


async def test_where_there_is_no_room_nothing_is_taken_and_what_there_is_can_be_delivered(given: NatsOptions) -> None:
    heavy = [delivery(f"{number:02}", url="u" * 10_000) for number in range(20)]
    async with node(given) as one:
        await bound(one, most=100_000)
        with pytest.raises(StoreUnavailable, match=r"_DELIVERIES has reached its limit \(max_bytes\)") as caught:
            await one.put(*heavy)
        assert caught.value.retry_after
        count = await one.waiting()
        assert 5 < count < 20
        attempts = await taken(one, count)
        assert told(attempts) == [(each.id, 1) for each in heavy[:count]]
        with pytest.raises(StoreUnavailable):
            await one.put(*heavy)
        await attempts[0].again(SOON_SECONDS)
        assert told(await taken(one, 1)) == [(heavy[0].id, 2)]
        for attempt in attempts[1:]:
            await attempt.done()
        await holds(one, 1)
        await one.put(*heavy[-3:])
        assert told(await taken(one, 3)) == [(each.id, 1) for each in heavy[-3:]]


async def test_one_that_nobody_has_taken_for_an_hour_after_its_time_is_no_longer_there(
    given: NatsOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "SPARE_SECONDS", 1)
    async with node(given) as one:
        await one.put(delivery("a", expires_at=now() + 1000), delivery("b"))
        (attempt, _) = await taken(one, 2)
        await attempt.again(LONG_SECONDS)
        await holds(one, 2)
        await holds(one, 1)


@pytest.mark.parametrize("words", [b'{"id": 7}', b'{"id":"\xff"}', b'{"id":' * 50_000], ids=len)
async def test_what_nobody_understands_is_left_where_it_is_and_said(
    given: NatsOptions, caplog: pytest.LogCaptureFixture, words: bytes
) -> None:
    async with node(given) as one:
        subject = one._connection.names.subject("delivery.from_tomorrow")
        await one._connection.publish(subject, words, stream=one._stream)
        await one.put(delivery("a"))
        assert told(await taken(one, 1)) == [("a", 1)]
        await holds(one, 2)
        assert "delivery.from_tomorrow is no delivery that this version knows" in caplog.text


@pytest.mark.parametrize("words", ["soon", "-1", "9" * 5000, ""], ids=["word", "sign", "long", "none"])
async def test_headers_that_say_nothing_change_nothing(given: NatsOptions, words: str) -> None:
    async with node(given) as one:
        subject = one._connection.names.subject("delivery.a")
        headers = dict.fromkeys((engine.DUE, engine.PAUSE, TRIED), words)
        await one._connection.publish(subject, BODY, headers=headers, stream=one._stream)
        (attempt,) = await taken(one, 1)
        assert (attempt.delivery, attempt.number) == (delivery("a"), 1)


async def test_what_is_to_wait_for_ever_is_not_asked_for_again_and_again(given: NatsOptions) -> None:
    async with node(given) as one:
        subject = one._connection.names.subject("delivery.a")
        headers = dict.fromkeys((engine.DUE, engine.PAUSE), "9" * MOST_DIGITS)
        await one._connection.publish(subject, BODY, headers=headers, stream=one._stream)
        assert await nothing(one)
        name = one.pull._consumer["name"]
        consumer = await one._connection.request_api(f"CONSUMER.INFO.{one._stream}.{name}")
        assert consumer["delivered"]["consumer_seq"] == 1


async def stands_still(*_: object) -> None:
    """Is cancelled in there."""
    await anyio.sleep_forever()


async def test_who_is_cancelled_at_the_very_start_of_an_attempt_keeps_nothing(
    given: NatsOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(given) as one:
        await one.put(delivery("a"))
        with monkeypatch.context() as patch:
            patch.setattr(one, "_begun", stands_still)
            assert await nothing(one)
        assert one.pull.held == set()
        assert told(await taken(one, 1)) == [("a", 2)]


async def test_who_is_cancelled_while_it_asks_who_has_it_has_not_taken_it(
    given: NatsOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(given) as one:
        await one.put(delivery("a"))
        with monkeypatch.context() as patch:
            patch.setattr(one.pull.roll, "standing", stands_still)
            assert await nothing(one)
        assert len(one.pull.held) == 1
        await anyio.sleep(2 * LEASE)
        assert told(await taken(one, 1)) == [("a", 1)], "it was extended until then"


async def test_a_stream_that_is_another_is_refused(given: NatsOptions) -> None:
    async with connected(given) as connection:
        wanted = {**engine.of_deliveries(connection), "retention": "limits"}
        await connection.request_api(f"STREAM.CREATE.{wanted['name']}", wanted)
    with pytest.raises(SettingError, match="_DELIVERIES of NATS has retention limits, and this node wants workqueue"):
        async with node(given):
            pass

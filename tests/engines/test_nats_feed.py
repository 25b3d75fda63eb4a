"""The feed on NATS has no gap, whatever is lost on its way: a message, the consumer, the connection, the stream."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from nats.aio.client import Client

from engines.contract import A, B
from scanstream.engines.nats import feed as feeds
from scanstream.engines.nats import reader as readers
from scanstream.engines.nats.options import NatsOptions
from scanstream.engines.nats.store import NatsStore, open_nats
from scanstream.engines.nats.streams import of_scans
from scanstream.errors import EngineUnusable, StoreUnavailable
from scanstream.model import ScanId
from support.nats import NatsServer, nats_server, options
from support.stores import Consumer, consuming, fact, feeding, registration

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

DEADLINE_SECONDS = 30
ACKED = b"$JS.ACK."
"""What the reply address of a message begins with that a consumer has sent."""


@asynccontextmanager
async def two_nodes(here: NatsOptions) -> AsyncIterator[tuple[NatsStore, NatsStore, Consumer]]:
    """A node that writes, and another one with its feed."""
    async with open_nats(here) as writer, open_nats(here) as node, consuming(node) as consumer:
        await writer.register(registration(A), None)
        yield writer, node, consumer


async def settled(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    with anyio.fail_after(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110  # of many kinds, and none tells
            await anyio.sleep(0.01)


async def for_ever(do: Callable[[], Awaitable[None]]) -> None:
    """Until it raises."""
    while True:
        await do()


def losing(client: Client, which: Callable[[int], bool]) -> list[int]:
    """Have messages vanish between the socket and whoever reads them, by their number; those that have vanished."""
    process, numbers, lost = client._process_msg, iter(range(10**9)), []

    async def process_some(sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> None:
        if reply.startswith(ACKED) and which(number := next(numbers)):
            lost.append(number)
        else:
            await process(sid, subject, reply, data, headers)

    client._process_msg = process_some  # type: ignore[method-assign]
    return lost


async def test_a_message_that_is_lost_on_its_way_is_no_gap(nats: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    async with two_nodes(options(nats)) as (writer, node, consumer):
        lost = losing(node.connection.client, lambda number: number in {30, 31, 75, 99})
        for number in range(200):
            await writer.append(A, fact(number))
        await node.barrier()
        assert len(lost) == 4
        assert consumer.log(A) == [registration(A), *map(fact, range(200))]
        assert "its message" in caplog.text
        assert node.healthy() == ""


async def test_the_last_message_that_is_lost_is_missed_by_the_barrier(nats: NatsServer) -> None:
    """Nothing comes behind it that could show the gap, and there are signs of life; a barrier must not fall."""
    async with two_nodes(options(nats)) as (writer, node, consumer):
        losing(node.connection.client, lambda number: number == 0)
        await writer.append(A, fact(0))
        await node.barrier()
        assert consumer.log(A) == [registration(A), fact(0)]


async def test_a_consumer_that_the_server_has_lost_is_made_anew(nats: NatsServer) -> None:
    async with two_nodes(options(nats)) as (writer, node, consumer):
        for number in range(3):
            stream = node.connection.names.stream("SCANS")
            consumers = (await node.connection.request_api(f"CONSUMER.LIST.{stream}"))["consumers"]
            for one in consumers:
                await node.connection.request_api(f"CONSUMER.DELETE.{stream}.{one['name']}")
            await writer.append(A, fact(number))
            await node.barrier()
            assert consumer.log(A) == [registration(A), *map(fact, range(number + 1))]


async def test_a_connection_that_is_cut_comes_back_and_nothing_is_missing(nats: NatsServer) -> None:
    async with two_nodes(options(nats)) as (writer, node, consumer), anyio.create_task_group() as tasks:
        written: list[int] = []

        async def write() -> None:
            for number in range(100_000):
                await writer.append(A, fact(number))
                written.append(number)

        tasks.start_soon(write)
        for cut in (node, writer, node):
            before = len(written)
            await settled(lambda before=before: len(written) > before + 50)  # type: ignore[misc]
            cut.connection.client._transport._io_writer.transport.abort()  # type: ignore[union-attr]
        before = len(written)
        await settled(lambda: len(written) > before + 50)
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await node.barrier()
            assert consumer.log(A)[: len(written) + 1] == [registration(A), *map(fact, written)]


async def test_a_node_that_starts_in_the_middle_of_writing_numbers_entries_as_all_others_do(nats: NatsServer) -> None:
    here = options(nats)
    async with two_nodes(here) as (writer, node, consumer), anyio.create_task_group() as tasks:

        async def write(name: str) -> None:
            for number in range(100):
                await writer.append(A, fact(number, name), fact(number + 1, name))

        for name in range(20):
            tasks.start_soon(write, str(name))
        await settled(lambda: len(consumer.taken) > 200)
        async with open_nats(here) as late, consuming(late) as read_late:
            await settled(lambda: len(consumer.taken) == 1 + 20 * 200)
            await late.barrier()
            assert read_late.taken == consumer.taken
            assert read_late.log(A) == await node.history(A)


async def test_what_waits_for_a_slow_consumer_is_bounded_and_none_of_it_is_lost(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "MOST_WAITING", 100)
    here = options(nats)
    async with open_nats(here) as writer, open_nats(here) as node:
        feed = feeding(node)
        await writer.register(registration(A), None)
        assert await anext(feed) == (A, 1, registration(A))
        async with anyio.create_task_group() as tasks:
            for number in range(5_000):
                tasks.start_soon(writer.append, A, fact(number))
        waiting = node._reader.feed
        assert waiting is not None
        await settled(waiting.full)
        assert len(waiting._live) <= 100 + 1_000  # and what was asked for before
        taken = [await anext(feed) for _ in range(5_000)]
        assert [seq for _, seq, _ in taken] == list(range(2, 5_002))
        assert [entry for _, _, entry in taken] == (await node.history(A) or [])[1:]
        await feed.aclose()


@pytest.mark.parametrize("at_once", [0, 100_000], ids=["one by one", "all together"])
async def test_the_logs_of_unfinished_scans_are_read_back_among_many_that_have_ended(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(readers, "READ_AT_ONCE", at_once)
    here = options(nats)
    unfinished = [ScanId(f"open{number}") for number in range(5)]
    async with open_nats(here) as store:
        for number, name in enumerate(unfinished):
            await store.register(registration(name), None)
            for ended in range(5):
                other = ScanId(f"ended{number}{ended}")
                await store.register(registration(other), None)
                await store.append(other, fact(1), fact(2))
                await store.settle(other, 9_000)
            await store.append(name, *map(fact, range(number)))
    async with open_nats(here) as store, consuming(store) as consumer:
        assert {scan_id for scan_id, _, _ in consumer.taken} == set(unfinished)
        for number, name in enumerate(unfinished):
            assert consumer.log(name) == [registration(name), *map(fact, range(number))]
            await store.append(name, fact(99))
            assert consumer.log(name) == await store.history(name)


@pytest.mark.cluster
async def test_a_server_that_hangs_is_said_and_when_it_goes_on_all_is_well(tmp_path: Path) -> None:
    with nats_server(tmp_path) as server:
        async with two_nodes(options(server)) as (writer, node, consumer):
            await writer.append(A, fact(0))
            assert node.healthy() == ""
            server.pause()
            begun = anyio.current_time()
            with pytest.raises(StoreUnavailable) as caught:
                await for_ever(node.probe)  # some may be through before the signal is
            assert anyio.current_time() - begun < 10
            assert caught.value.retry_after
            await settled(lambda: node.healthy() != "")
            server.go_on()
            begun = anyio.current_time()
            await settled(lambda: node.healthy() == "")
            await node.probe()
            assert anyio.current_time() - begun < 10
            await writer.append(A, fact(1))
            await node.barrier()
            assert consumer.log(A) == [registration(A), fact(0), fact(1)]


async def test_a_stream_that_was_made_anew_ends_the_node(nats: NatsServer) -> None:
    """To go on would be to tell of scans that nobody has any more, and to miss the new ones."""
    here = options(nats)
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012  # it ends the whole block
        async with two_nodes(here) as (writer, node, _):
            for number in range(50):
                await writer.append(A, fact(number))
            await node.barrier()
            await node.connection.request_api(f"STREAM.DELETE.{here.namespace}_SCANS")
            async with open_nats(here) as other:
                await other.register(registration(B), None)
                with anyio.fail_after(DEADLINE_SECONDS):
                    while True:
                        await anyio.sleep(0.01)
                        with suppress(StoreUnavailable):  # the feed is interrupted, and begins anew in the new one
                            await node.probe()
    assert caught.group_contains(EngineUnusable, match="made anew")  # the barrier or the feed


async def test_a_stream_that_was_made_anew_and_has_gone_further_ends_the_node(nats: NatsServer) -> None:
    """Its places tell nothing then: to go on behind the last that was read would be a gap without a word."""
    here = options(nats)
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012  # it ends the whole block
        async with two_nodes(here) as (writer, node, _):
            await node.barrier()
            ask, name = writer.connection.request_api, f"{here.namespace}_SCANS"
            await ask(f"STREAM.DELETE.{name}")
            await ask(f"STREAM.CREATE.{name}", {**of_scans(writer.connection), "first_seq": 100_000})
            await anyio.sleep(DEADLINE_SECONDS)
    assert caught.group_contains(EngineUnusable, match="identity")


async def test_a_stream_that_was_emptied_ends_those_who_had_read_it_when_another_store_begins(nats: NatsServer) -> None:
    here = options(nats)
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012  # it ends the whole block
        async with two_nodes(here) as (writer, _, _):
            await writer.connection.request_api(f"STREAM.PURGE.{here.namespace}_SCANS")
            async with open_nats(here):
                await anyio.sleep(DEADLINE_SECONDS)
    assert caught.group_contains(EngineUnusable, match="identity")


@pytest.mark.parametrize("why", ["Server Shutdown", "Consumer Deleted", "Leadership Change"])
async def test_a_consumer_that_is_said_to_end_is_left_at_once(nats: NatsServer, why: str) -> None:
    """It comes with what is left of the request, as if that were over: to ask there again would be to wait in vain."""
    async with two_nodes(options(nats)) as (writer, node, consumer):
        before = node._reader._reading
        assert before is not None
        before._hear({"Status": "409", "Description": why, "Nats-Pending-Messages": "1000", "Nats-Pending-Bytes": "0"})
        await settled(lambda: node._reader._reading is not before and node.healthy() == "")
        await writer.append(A, fact(0))
        await node.barrier()
        assert before.why == why
        assert consumer.log(A) == [registration(A), fact(0)]


async def test_what_a_former_leader_had_in_flight_is_asked_again_as_soon_as_there_is_another(nats: NatsServer) -> None:
    async with open_nats(options(nats)) as node, open_nats(options(nats)) as other:
        client, heard = other.connection.client, anyio.Event()

        async def hear(*_: object) -> None:
            heard.set()

        async with client.hearing("nobody.answers", hear):
            await client.flush()
            with anyio.fail_after(DEADLINE_SECONDS):
                async with anyio.create_task_group() as tasks:

                    async def ask() -> None:
                        answer = await node.connection.asked_once("nobody.answers", b"", seconds=10 * DEADLINE_SECONDS)
                        assert answer["error"]["late"], "another try follows at once"

                    tasks.start_soon(ask)
                    await heard.wait()
                    await client.publish("$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.SCANS", b"{}")

"""`AsyncClient` against a real server: scans are started, followed, ended and left."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from conftest import Serve
from scanstream.client import AsyncClient, Closed, Scan, Unreachable, Update
from scanstream.client.ladder import RUNGS, Transport
from scanstream.errors import InvalidRequest, NoSuchRoute, NotFound, TooManyScans
from scanstream.log.patch import merge
from scanstream.model import Document
from support.process import server_process
from support.receiver import receiving, verified
from support.script import scripting
from wire.proxy import Faults, running

pytestmark = pytest.mark.anyio

QUICK: dict[str, Any] = {
    "strategy_ids": ["tsmom"],
    "symbols": ["BTC/USDT"],
    "parameters": {"tsmom": {"walk_forward": 0}},
}
"""A scan of milliseconds."""
SECONDS = 30


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """One for all tests here, with one worker."""
    with server_process(":memory:", "--workers", "1") as process:
        yield process.url


async def updates(scan: Scan) -> list[Update]:
    """All that there are, to the end."""
    with anyio.fail_after(SECONDS):
        return [update async for update in scan]


async def until_found(scan: Scan, count: int) -> None:
    """Wait until so many opportunities are there."""
    with anyio.fail_after(SECONDS):
        async for _ in scan:
            if len(scan.opportunities) >= count:
                return


def added_up(all_updates: list[Update]) -> tuple[Document, list[str]]:
    """The state out of the patches, and the ids of what was told."""
    state: Document = {}
    for update in all_updates:
        state = merge(state, update.patch)
        assert state == update.state
    return state, [found["id"] for update in all_updates for found in update.opportunities]


async def test_a_scan_is_followed_to_its_end(server: str) -> None:
    async with AsyncClient(server) as client:
        scan = await client.discover(strategy_ids=["tsmom"], parameters={"tsmom": {"walk_forward": 0}})
        assert (scan.status, scan.id) == ("scanning", scan.state["scan_id"])
        state, told = added_up(await updates(scan))
        results = await scan.results()

        assert state == scan.state == await scan.wait(timeout=1)
        assert (scan.status, scan.done) == ("complete", True)
        assert told == [found["id"] for found in scan.opportunities]
        assert len(told) == state["total_opportunities"] > 0
        assert sorted(told) == sorted(found["id"] for found in results)
        assert (client.connection.state, client.connection.transport) == ("live", "websocket")
        assert client.connection.lag is not None


async def test_several_readers_see_everything_each_from_where_it_begins(server: str) -> None:
    async with scripting() as script, AsyncClient(server) as client:
        scan = await client.discover(**script.request(shards=1))
        shard = await script.started()
        read: list[list[Update]] = []

        async def reads() -> None:
            read.append(await updates(scan))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reads)
            await until_found(scan, 0)
            tasks.start_soon(reads)
            await shard.tell("find 3", "end")
        read.append(await updates(scan))  # of a scan that has ended: all in one

    assert len(read[2]) == 1
    assert [added_up(one) for one in read] == [added_up(read[2])] * 3
    assert len(added_up(read[2])[1]) == 3


async def test_a_slow_reader_sees_the_newest_and_misses_no_opportunity(server: str) -> None:
    async with scripting() as script, AsyncClient(server) as client:
        scan = await client.discover(**script.request(shards=3))
        reader = aiter(scan)
        first = await anext(reader)
        for _ in range(3):
            await (await script.started()).tell("find 2", "end")
        await scan.wait(SECONDS)  # the reader was away meanwhile
        second = await anext(reader)

        assert second.state["status"] == "complete"
        assert len(second.opportunities) == 6
        assert second.skipped > 0
        assert merge(first.state, second.patch) == second.state
        with pytest.raises(StopAsyncIteration):
            await anext(reader)


async def test_a_scan_goes_on_from_a_cursor(server: str) -> None:
    async with scripting() as script:
        async with AsyncClient(server) as client:
            scan = await client.discover(**script.request(shards=2))
            await (await script.started()).tell("find 2", "end")
            await until_found(scan, 2)
            held, cursor = scan.opportunities, scan.cursor
        async with AsyncClient(server) as client:  # leaving the first one has ended nothing
            again = await client.watch("latest", since=cursor)
            assert (again.id, again.opportunities) == (scan.id, [])
            await (await script.started()).tell("find 1", "end")
            _, told = added_up(await updates(again))
            results = await again.results()

    assert len(held) == 2
    assert [found["id"] for found in again.opportunities] == told
    assert sorted([*told, *(found["id"] for found in held)]) == sorted(found["id"] for found in results)


async def test_one_scan_is_followed_in_all_ways_at_once(server: str) -> None:
    """Within one client a scan is followed once; each way sees what it asked for."""
    async with scripting() as script, AsyncClient(server) as client:
        scan = await client.discover(**script.request(shards=2))
        await (await script.started()).tell("find 2", "end")
        await until_found(scan, 2)
        state_only = await client.watch(scan.id, only="state")
        later = await client.watch(scan.id, since=scan.cursor)
        await (await script.started()).tell("find 1", "end")
        for one in (scan, state_only, later):
            await one.wait(SECONDS)

        assert [len(one.opportunities) for one in (scan, state_only, later)] == [3, 0, 1]
        assert [len(added_up(await updates(one))[1]) for one in (scan, state_only, later)] == [3, 0, 1]
        told = [(await updates(one))[-1].cursor for one in (scan, state_only, later)]
        assert [cursor.rpartition(".")[2] for cursor in told] == ["3", "0", "3"]  # each is true for what it was given
        assert [one.cursor for one in (scan, state_only, later)] == told


async def test_whoever_wants_more_than_is_followed_gets_it(server: str) -> None:
    async with scripting() as script:
        async with AsyncClient(server) as first:
            scan = await first.discover(**script.request(shards=2))
            await (await script.started()).tell("find 2", "end")
            await until_found(scan, 2)
        async with AsyncClient(server) as client:
            state_only = await client.watch(scan.id, only="state")
            later = await client.watch(scan.id, since=scan.cursor)
            whole = await client.watch(scan.id)
            await (await script.started()).tell("find 1", "end")
            ways = [added_up(await updates(one))[1] for one in (state_only, later, whole)]

    assert [len(told) for told in ways] == [0, 1, 3]
    assert [len(one.opportunities) for one in (state_only, later, whole)] == [0, 1, 3]


async def test_results_are_in_the_servers_order_whoever_has_them(server: str) -> None:
    async with scripting() as script, AsyncClient(server) as client:
        scan = await client.discover(**script.request(shards=1))
        await (await script.started()).tell("find 250", "end")
        held = await scan.results()
        state_only = await client.watch(scan.id, only="state")
        asked = await state_only.results()
        await scan.aclose()

        assert [found["id"] for found in held] == [found["id"] for found in asked]
        assert held == asked == await scan.results()
        assert len(held) == 250


async def test_a_client_holds_only_what_is_going_on(server: str) -> None:
    async with AsyncClient(server) as client:
        for _ in range(3):
            scan = await client.discover(**QUICK)
            await scan.wait(SECONDS)
        kept = weakref.ref(scan)
        del scan
        gc.collect()
        assert ([*client._lines.followed], kept()) == ([], None)


@pytest.mark.parametrize("rung", RUNGS)
async def test_to_begin_anew_while_nothing_is_followed_costs_the_next_scan_nothing(
    server: str, rung: Transport
) -> None:
    async with AsyncClient(server, transports=[rung]) as client:
        for _ in range(2):  # before anything was followed, and while the connection waits for the next scan
            client.reconnect()
            scan = await client.discover(**QUICK)
            assert (await scan.wait(SECONDS))["status"] == "complete"


async def test_cancelled_scans_end_and_left_ones_go_on(server: str) -> None:
    async with scripting() as script, AsyncClient(server) as client:
        left = await client.discover(**script.request(shards=1))
        shard = await script.started()
        with pytest.raises(TimeoutError):
            await left.wait(timeout=0.05)
        await left.aclose()
        assert await updates(left) == []
        with pytest.raises(Closed, match="goes on"):
            await left.wait()
        await shard.tell("end")
        again = await client.watch(left.id)
        assert (await again.wait(SECONDS))["status"] == "complete"

        cancelled = await client.discover(**script.request(shards=1))
        await script.started()
        assert (await cancelled.cancel())["phase"] in ("cancelling", "done")
        assert (await cancelled.wait(SECONDS))["status"] == "cancelled"


async def test_what_is_asked_beside_scans(server: str) -> None:
    async with AsyncClient(server) as client:
        ids = [(await (await client.discover(**QUICK)).wait(SECONDS))["scan_id"] for _ in range(2)]
        scans = await client.scans(limit=2)

        assert "tsmom" in [strategy["id"] for strategy in await client.strategies()]
        assert (await client.market())["market"] == "synthetic"
        assert [scan["scan_id"] for scan in scans] == ids[::-1]
        assert await client.scans(limit=1) == scans[:1]
        assert (await client.scans(before=ids[1]))[0] == scans[1]


async def test_what_the_server_does_not_take_is_an_error_of_the_tree(serve: Serve) -> None:
    async with serve(workers=0) as url, AsyncClient(url) as client:
        with pytest.raises(InvalidRequest) as invalid:
            await client.discover(symbols=["NOPE/USDT"], strategies=["tsmom"])
        assert [error.field for error in invalid.value.errors] == ["strategies"]
        with pytest.raises(NotFound):
            await client.watch("scan_0")
        with pytest.raises(NotFound):
            await client.watch("latest")
        with pytest.raises(ValueError, match="only="):
            await client.watch("latest", only="nothing")  # type: ignore[arg-type]


async def test_an_address_is_told_of_the_end_of_a_scan(serve: Serve) -> None:
    async with receiving() as receiver:
        may = {"notify": (receiver.url(),), "notify_private": ("127.0.0.0/8",)}
        async with serve(workers=1, **may) as url, AsyncClient(url) as client:
            scan = await client.discover(**QUICK)
            accepted = await scan.notify(receiver.url("/hooks/1"))
            assert await scan.notify(receiver.url("/hooks/1")) == accepted
            [got] = await receiver.until(1)
            assert got.id == accepted["notification_id"]
            assert verified(accepted["signing_secret"], got)
            with pytest.raises(InvalidRequest) as refused:
                await scan.notify("https://evil.example/")
            assert [field for field, _ in refused.value.errors] == ["url"]
    async with serve(workers=1) as url, AsyncClient(url) as client:
        scan = await client.discover(**QUICK)
        with pytest.raises(NoSuchRoute, match="--notify"):
            await scan.notify("https://hooks.example/")


async def test_without_a_server_it_is_said_in_time_and_nothing_goes_on() -> None:
    async with AsyncClient("http://127.0.0.1:1") as client:
        with pytest.raises(Unreachable, match=r"within 0\.3 s.*There is no scanstream server") as unreachable:
            await client.discover(timeout=0.3, **QUICK)
    assert isinstance(unreachable.value, TimeoutError)


async def test_a_refusal_that_has_not_passed_in_time_is_told_as_what_it_is(serve: Serve) -> None:
    async with serve(workers=0, max_scans=1) as url, AsyncClient(url) as client:
        await client.discover(**QUICK)
        with pytest.raises(Unreachable, match=r"has refused this for 3 s: 1 scans are under way") as refused:
            await client.discover(timeout=3, force_refresh=True, **QUICK)
        assert isinstance(refused.value.__cause__, TooManyScans)
        assert refused.value.retry_after == 5


async def test_a_gateway_without_a_server_is_asked_now_and_then(serve: Serve) -> None:
    async with serve(workers=1) as url:
        with running(url, Faults(bad_gateway_every=1)) as proxy:
            async with AsyncClient(proxy.url) as client:
                with pytest.raises(Unreachable, match="no scanstream server, or a proxy in front of one"):
                    await client.discover(timeout=3, idempotency_key="mine", **QUICK)
                asked = len(proxy.attempts)
                assert asked > 1
                assert proxy.most_attempts(0.5) <= 2
                proxy.faults.bad_gateway_every = 0
                assert await client.scans() == []  # nothing was asked on behind our back
                assert len(proxy.attempts) == asked + 1
                scan = await client.discover(idempotency_key="mine", **QUICK)
                assert (await scan.wait(SECONDS))["status"] == "complete"


async def test_a_lost_answer_starts_no_second_scan(serve: Serve) -> None:
    async with serve(workers=1) as url:
        with running(url, Faults(swallow_acks=2)) as proxy:
            async with AsyncClient(proxy.url) as client:
                scan = await client.discover(**QUICK)
                await scan.wait(SECONDS)
                assert len(await client.scans()) == 1
        assert sum(attempt.target.endswith("/discover") for attempt in proxy.attempts) == 3


async def test_a_key_of_ones_own_is_the_same_scan_later(server: str) -> None:
    async with AsyncClient(server) as client:
        first = await client.discover(idempotency_key="mine", **QUICK)
        assert (await client.discover(idempotency_key="mine", **QUICK)).id == first.id
        assert (await client.discover(**QUICK)).id != first.id


async def test_what_is_raised_inside_comes_out_as_it_is(serve: Serve) -> None:
    async with serve(workers=0) as url:
        client = AsyncClient(url)
        with pytest.raises(NotFound):  # noqa: PT012  # the block is what is tested
            async with client:
                await client.discover(**QUICK)
                await client.watch("scan_0")


async def test_after_the_client_nothing_is_waited_for(serve: Serve) -> None:
    async with serve(workers=0) as url, AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncClient(url))
        scan = await client.discover(**QUICK)
        ended: list[str] = []

        async def waits() -> None:
            with pytest.raises(Closed):
                await scan.wait()
            ended.append("wait")

        async def iterates() -> None:
            await updates(scan)
            ended.append("iterator")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waits)
            tasks.start_soon(iterates)
            await until_found(scan, 0)
            await client.aclose()
        assert sorted(ended) == ["iterator", "wait"]
        assert client.connection.state == "closed"
        with pytest.raises(Closed):
            await client.market()


async def test_a_client_that_is_not_open_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="async with AsyncClient"):
        await AsyncClient().market()
    with pytest.raises(ValueError, match="carrier pigeon"):
        AsyncClient(transports=["carrier pigeon"])  # type: ignore[list-item]


async def test_a_server_that_is_killed_and_comes_back_costs_nothing_but_time(tmp_path: Path) -> None:
    with server_process(tmp_path, "--workers", "1") as first:
        port = first.url.rpartition(":")[2]
        async with AsyncClient(first.url) as client:
            scan = await client.discover(strategy_ids=["pairs"], parameters={"pairs": {"walk_forward": 500}})
            await until_found(scan, 1)
            first.kill()
            while client.connection.state != "waiting":
                await client.connection.changed()
            assert client.connection.retry_at is not None
            with server_process(tmp_path, "--workers", "1", "--port", port):
                _, told = added_up(await updates(scan))
                assert sorted(told) == sorted(found["id"] for found in await scan.results())
                assert client.connection.transport == "websocket"

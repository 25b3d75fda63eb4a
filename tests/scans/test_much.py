"""What is much comes in pieces and is taken in slices: the loop has turns between, and the result is the same."""

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import anyio
import msgspec
import pytest

from conftest import Serve
from scans.planted import Planted, panel, piece, signal, whole
from scanstream.core import open_core
from scanstream.engines import sqlite
from scanstream.log import refold
from scanstream.log.entry import PART_BYTES, PART_OPPORTUNITIES, AnyEntry, ShardFound, encode, parts
from scanstream.model import ANYONE, DiscoverRequest, Opportunity, Parameters
from scanstream.scans import runner
from scanstream.scans.local import LocalJobs
from scanstream.scans.supply import Supply
from scanstream.scans.turns import Turns
from scanstream.scans.work import shard as worker
from scanstream.scans.work.processes import Processes
from scanstream.scans.work.waiting import Lanes
from scanstream.server import SWITCH_SECONDS
from scanstream.settings import Settings
from scanstream.strategies.installed import admit
from support.histories import SCAN, folded, found, planned, registered
from support.until import until

pytestmark = pytest.mark.anyio

T = TypeVar("T")
COUNT = 1234
LAST = 2
"""What `getrefcount` says of what an entry has alone: that, and the question."""


@pytest.fixture(autouse=True)
def _endless_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every slice is over at once: turns are counted, not time."""
    monkeypatch.setattr(refold, "SLICE_SECONDS", 0.0)


async def turns_during(work: Callable[[], Awaitable[T]]) -> tuple[T, int]:
    """What it gives, and how many turns of the loop others had meanwhile."""
    turns = 0
    results: list[T] = []

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        await anyio.lowlevel.checkpoint()
        turns = 0
        results.append(await work())
        tasks.cancel_scope.cancel()
    return results[0], turns


@pytest.fixture
def pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[bytes]]:
    """What a worker gives of a shard that finds so many."""
    monkeypatch.setattr(worker, "prepare", lambda *_: None)
    saved = panel().save(tmp_path)

    def run(count: int, **changes: Any) -> list[bytes]:
        planted = [signal(key=f"{number}", **changes) for number in range(count)]
        monkeypatch.setattr(worker, "registry", lambda: {"planted": admit(Planted(lambda *_: planted))})
        return worker.run(piece(saved, DiscoverRequest()), str(tmp_path), os.getpid())

    return run


def test_what_a_worker_found_is_cut_there_as_the_log_wants_it(pieces: Callable[..., list[bytes]]) -> None:
    for count, changes in ((COUNT, {}), (100, {"metadata": {"a": "x" * 15_000}})):
        first, *encoded = pieces(count, **changes)
        assert msgspec.msgpack.decode(first, type=worker.Outcome).opportunities == []
        entries = [msgspec.msgpack.decode(part, type=ShardFound) for part in encoded]
        assert len(entries) > 2
        seen = [one for entry in entries for one in entry.opportunities]
        assert [one.id.split("@")[1].split(":")[0] for one in seen] == [str(number) for number in range(count)]
        assert entries == parts("planted", 0, seen, entries[0].at)
        assert all(len(entry.opportunities) <= PART_OPPORTUNITIES for entry in entries)
        assert all(len(encode(entry)) <= PART_BYTES for entry in entries)


async def test_the_loop_decodes_part_by_part_with_turns_between(pieces: Callable[..., list[bytes]]) -> None:
    given = pieces(COUNT)
    expected, count = whole(given).opportunities, len(given) - 1
    outcome, turns = await turns_during(lambda: runner.unpacked(given))
    assert [one for part in outcome.parts for one in part.opportunities] == expected
    assert turns >= count


async def test_a_thread_that_computes_keeps_the_loop_waiting_for_a_millisecond(serve: Serve) -> None:
    async with serve():
        assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS) == 0.001


def many_pieces(job: bytes, *_: object) -> list[bytes]:
    """What a worker runs here: so many pieces of a megabyte."""
    return [bytes([number]) * 1_000_000 for number in range(int(job))]


def no_pieces(*_: object) -> list[bytes]:
    """None at all."""
    return []


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    """One process at most."""
    made = Processes(tmp_path, most=1)
    async with made.open():
        yield made


async def test_pieces_come_out_of_a_process_one_by_one_as_they_went_in(processes: Processes) -> None:
    async def run(work: Any, job: bytes = b"") -> list[bytes]:
        result: list[bytes] = await processes.run(work, job, left=lambda: 60.0, at_work=nullcontext())
        return result

    assert await run(no_pieces) == []
    given, turns = await turns_during(lambda: run(many_pieces, b"5"))
    assert given == many_pieces(b"5")
    assert turns > 5  # at least one a piece
    assert await run(many_pieces, b"1") == many_pieces(b"1")


async def test_many_entries_are_appended_and_fed_with_turns_between_in_their_order() -> None:
    entries: list[AnyEntry] = [found("a", f"{number}") for number in range(50)]
    seen: list[tuple[int, AnyEntry, int]] = []
    turns = 0

    async def take(store: sqlite.SqliteStore) -> None:
        async for _, seq, entry in store.feed():
            seen.append((seq, entry, turns))

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with sqlite.open_store(None) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(take, store)
        await store.register(registered("a"), None)
        tasks.start_soon(count)
        await anyio.lowlevel.checkpoint()
        before = turns
        await store.append(SCAN, *entries)
        assert turns - before >= 2 * len(entries)
        tasks.cancel_scope.cancel()
    assert [(seq, entry) for seq, entry, _ in seen[1:]] == list(enumerate(entries, start=2))
    assert len({turn for _, _, turn in seen[1:]}) == len(entries)


async def test_a_plan_of_thousands_of_shards_is_queued_with_turns_between() -> None:
    log = folded(registered("tsmom", "pairs"), planned(tsmom=200, pairs=300))
    jobs = LocalJobs()
    supply = Supply(log, Lanes(jobs, Turns(1)), lambda _: None)
    _, turns = await turns_during(lambda: supply.refill(log))
    assert turns >= 500
    assert jobs.depth() == 500
    leases = jobs.leases()
    taken = [(await anext(leases)).shard for _ in range(500)]
    assert [(shard.number, shard.strategy_id) for shard in taken[:400]] == [
        (number, name) for number in range(200) for name in ("tsmom", "pairs")
    ]
    assert [shard.number for shard in taken[400:]] == [*range(200, 300)]


async def test_what_was_appended_is_let_go_with_turns_between_and_held_by_nobody(
    pieces: Callable[..., list[bytes]],
) -> None:
    given = pieces(COUNT)
    outcome = await runner.unpacked(given)
    assert given == []  # what was decoded is not kept beside it
    entries: list[AnyEntry] = [*outcome.parts]
    outcome.parts.clear()
    some = outcome_of(entries)
    _, turns = await turns_during(lambda: refold.let_go(entries))
    assert entries == []
    assert turns >= 3
    assert sys.getrefcount(some) == 2  # ours, and the question's


def outcome_of(entries: list[AnyEntry]) -> Opportunity:
    """Something that was found."""
    first = entries[0]
    assert isinstance(first, ShardFound)
    return first.opportunities[0]


async def test_neither_the_feed_nor_the_writing_thread_holds_what_was_appended() -> None:
    first, last = found("a", "0"), found("a", "1")

    async def take(store: sqlite.SqliteStore) -> None:
        async for _ in store.feed():
            pass

    async with sqlite.open_store(None) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(take, store)
        await store.register(registered("a"), None)
        before = sys.getrefcount(first)
        for _ in range(20):
            await store.append(SCAN, first, last)
            assert sys.getrefcount(first) == before
        tasks.cancel_scope.cancel()


@pytest.fixture
def freed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much the runner has let go, each time that it came to an end with it: it was the last who had that."""
    seen: list[int] = []

    async def let_go(values: list[Any]) -> None:
        count = len(values)
        held = [sys.getrefcount(part.opportunities) for part in values if isinstance(part, ShardFound)]
        assert set(held) == {LAST}
        await refold.let_go(values)
        seen.append(count)

    monkeypatch.setattr(runner, "let_go", let_go)
    return seen


async def test_an_outcome_is_let_go_though_it_is_what_ends_the_shard(freed: list[int]) -> None:
    async with open_core(Settings(port=0, data=":memory:", workers=1)) as core:
        parameters: Parameters = {"scripted": {"shards": 3, "found": COUNT}}
        request = DiscoverRequest(strategy_ids=["scripted"], parameters=parameters)
        scan_id = (await core.desk.register(ANYONE, request)).scan_id
        core.desk.release(scan_id)
        with anyio.fail_after(60):
            await core.hub.until(scan_id, lambda log: log.ended)
            await until(lambda: len(freed) == 3)
    assert min(freed) > 2


async def test_what_was_decoded_of_a_shard_that_is_stopped_is_let_go_bit_by_bit(
    pieces: Callable[..., list[bytes]], freed: list[int]
) -> None:
    given = pieces(COUNT)

    async def unpack() -> None:
        await runner.unpacked(given)
        raise AssertionError("it was not stopped")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(unpack)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert len(freed) == 1
    assert freed[0] > 0

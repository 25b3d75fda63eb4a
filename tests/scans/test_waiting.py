"""A shard that runs in the loop: what it may do to others, and what its outcome is; and the queue of such shards."""

import asyncio
import importlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import anyio
import msgspec
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint
from msgspec import UNSET

from scans.planted import Planted, panel, piece, signal, whole
from scanstream.jobs import Shard
from scanstream.log.entry import PART_OPPORTUNITIES
from scanstream.model import DiscoverRequest, Opportunity, Problem
from scanstream.panel import Panel
from scanstream.scans.local import LocalJobs
from scanstream.scans.turns import Turns
from scanstream.scans.work import offspring, steps, waiting
from scanstream.scans.work import shard as worker
from scanstream.scans.work.shard import MOST_FOUND, Outcome
from scanstream.scans.work.steps import Blocks
from scanstream.scans.work.waiting import Wait
from scanstream.strategies.installed import admit, look_at
from scanstream.strategies.strategy import AsyncStrategy, Note, Signal, Strategy

pytestmark = pytest.mark.anyio

WaitingPlant = Callable[[Panel, range], AsyncIterator[Signal | Note]]
Give = Callable[[WaitingPlant], Shard]


class Waiting(AsyncStrategy):
    """Yields what was planted, and is closed."""

    id = "planted"
    name = "Planted"
    opportunity_type = "planted"
    description = "Waits for what a test planted."
    source = "tests/scans/test_waiting.py"

    def __init__(self, plant: WaitingPlant) -> None:
        self._plant = plant

    def scan(self, panel: Panel, units: range, parameters: Any) -> AsyncIterator[Signal | Note]:
        """What was planted."""
        return self._plant(panel, units)


@pytest.fixture
def give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Give:
    """A shard of what is planted."""
    saved = panel().save(tmp_path)

    def plant(what: WaitingPlant) -> Shard:
        _register(monkeypatch, Waiting(what))
        return msgspec.msgpack.decode(piece(saved, DiscoverRequest(min_profit_potential=10.0)), type=Shard)

    return plant


def _register(monkeypatch: pytest.MonkeyPatch, *strategies: Strategy) -> None:
    known = {strategy.id: admit(strategy) for strategy in strategies}
    monkeypatch.setattr(worker, "registry", lambda: known)
    monkeypatch.setattr(waiting, "registry", lambda: known)


async def one(*_: object) -> AsyncIterator[Signal | Note]:
    """One signal."""
    yield signal()


async def run(shard: Shard, panels: Path, kept: list[Opportunity] | None = None) -> Outcome:
    """Run it; its outcome with all that was kept on the way."""
    parts = [] if kept is None else kept

    async def keep(found: list[Opportunity]) -> None:
        parts.extend(found)

    outcome = await Wait(shard, panels, keep, Blocks()).run()
    return msgspec.structs.replace(outcome, opportunities=[*parts, *outcome.opportunities])


def failure(outcome: Outcome) -> str:
    """Why it failed."""
    assert isinstance(outcome.error, Problem)
    assert outcome.error.code == "strategy_error"
    return outcome.error.detail


async def test_it_comes_out_as_in_a_worker(give: Give, tmp_path: Path) -> None:
    async def plant(seen: Panel, units: range) -> AsyncIterator[Signal | Note]:
        yield Note("one")
        for unit in units:
            await anyio.lowlevel.checkpoint()
            yield signal(seen.symbols[unit], expected_return=unit / 100)
        yield Note("two")

    outcome = await run(give(plant), tmp_path)

    assert outcome.error is UNSET
    assert [found.symbol for found in outcome.opportunities] == ["B/X", "C/X", "D/X", "E/X", "F/X"]
    assert outcome.opportunities[0].id == "planted:B/X:1970-01-01T09:00:00.000Z"
    assert outcome.note == "one; two"


async def test_an_exception_names_its_kind_its_file_and_its_line(give: Give, tmp_path: Path) -> None:
    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        yield signal()
        raise ZeroDivisionError("planted")

    line = plant.__code__.co_firstlineno + 2
    detail = failure(await run(give(plant), tmp_path))
    assert detail == f"ZeroDivisionError: planted (test_waiting.py, line {line})"


async def test_the_exception_in_a_task_group_is_the_one_that_is_told(give: Give, tmp_path: Path) -> None:
    async def breaks() -> None:
        raise ZeroDivisionError("planted")

    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(breaks)
        yield signal()

    assert "ZeroDivisionError: planted (test_waiting.py" in failure(await run(give(plant), tmp_path))


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()], ids=repr)
async def test_what_would_end_the_server_ends_the_shard(give: Give, tmp_path: Path, error: BaseException) -> None:
    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        yield signal()
        raise error

    assert type(error).__name__ in failure(await run(give(plant), tmp_path))


async def test_what_would_end_the_server_leaves_no_worker(
    give: Give, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """anyio would raise in the server what a worker's call raises."""

    def plant(*_: object) -> Iterator[Signal | Note]:
        raise asyncio.CancelledError

    shard = give(one)
    _register(monkeypatch, Planted(plant))
    monkeypatch.setattr(worker, "prepare", lambda *_: None)
    encoded = worker.run(msgspec.msgpack.encode(shard), str(tmp_path), 0)
    assert "CancelledError" in failure(whole(encoded))


async def test_rubbish_fails_the_shard_and_closes_the_strategy(give: Give, tmp_path: Path) -> None:
    closed = []

    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        try:
            yield signal()
            yield signal(side="short")
        finally:
            closed.append(True)

    assert "twice" in failure(await run(give(plant), tmp_path))
    assert closed


async def test_an_endless_strategy_that_awaits_nothing_leaves_the_loop_to_others(give: Give, tmp_path: Path) -> None:
    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        while True:
            yield Note("more")

    async with anyio.create_task_group() as tasks:
        others = 0
        outcome: list[Outcome] = []

        async def endless() -> None:
            outcome.append(await run(give(plant), tmp_path))

        tasks.start_soon(endless)
        while not outcome:
            await checkpoint()
            others += 1
    assert others > MOST_FOUND / 2  # each had its turn after each of its items
    assert isinstance(outcome[0].error, Problem)
    assert "more than 20,000" in outcome[0].error.detail


async def test_one_that_hides_its_cancellation_is_cancelled_nevertheless(give: Give, tmp_path: Path) -> None:
    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        try:
            await anyio.sleep_forever()
        except BaseException as hidden:
            raise RuntimeError("hidden") from hidden
        yield signal()

    with anyio.move_on_after(0.2) as budget:
        await run(give(plant), tmp_path)

    assert budget.cancelled_caught


async def test_one_that_goes_on_whatever_it_is_told_is_left(
    give: Give, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(steps, "OVERDUE_SECONDS", 0.1)

    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        yield signal()
        while True:
            with suppress(BaseException):
                await anyio.sleep_forever()

    kept: list[Opportunity] = []
    with anyio.fail_after(30), anyio.move_on_after(0.2) as budget:
        await run(give(plant), tmp_path, kept)

    assert budget.cancelled_caught
    assert len(kept) == 1
    assert "left where it is" in caplog.text


async def test_its_own_limits_are_not_the_servers(give: Give, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "OVERDUE_SECONDS", 0.0)

    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        for _time in range(20):
            with anyio.move_on_after(0.001):
                await anyio.sleep_forever()
            with suppress(TimeoutError):
                await asyncio.wait_for(anyio.sleep_forever(), 0.001)
        yield signal()

    outcome = await run(give(plant), tmp_path)
    assert (outcome.error, len(outcome.opportunities)) == (UNSET, 1)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
async def test_a_task_that_it_starts_does_not_end_the_loop(give: Give, tmp_path: Path, error: BaseException) -> None:
    async def leave() -> None:
        raise error

    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        task = asyncio.create_task(leave())
        await anyio.sleep(0.01)
        yield signal()
        with suppress(RuntimeError):
            await task
        async with anyio.create_task_group() as own:
            own.start_soon(leave)

    offspring.attend(asyncio.get_running_loop())
    outcome = await run(give(plant), tmp_path)
    assert type(error).__name__ in failure(outcome)
    assert len(outcome.opportunities) == 1


async def test_what_it_yields_is_kept_as_it_comes_and_in_parts(give: Give, tmp_path: Path) -> None:
    parts: list[list[str]] = []
    first = anyio.Event()

    async def keep(found: list[Opportunity]) -> None:
        parts.append([one.symbol for one in found])
        first.set()

    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        yield signal("first/X")
        await first.wait()  # it is shown while the strategy waits
        for number in range(1200):
            yield signal(f"S{number}/X")
        yield signal("filtered/X", expected_return=0.001)

    with anyio.fail_after(20):
        outcome = await Wait(give(plant), tmp_path, keep, Blocks()).run()

    rest = [one.symbol for one in outcome.opportunities]
    assert parts[0] == ["first/X"]
    assert [len(part) <= 500 for part in parts] == [True] * len(parts)
    assert len(parts) <= 5  # and not one for each
    assert [symbol for part in parts for symbol in part] + rest == ["first/X", *(f"S{n}/X" for n in range(1200))]
    assert outcome.error is UNSET


async def test_a_log_that_does_not_take_parts_holds_up_the_strategy_and_not_the_memory(
    give: Give, tmp_path: Path
) -> None:
    yielded = 0

    async def keep(found: list[Opportunity]) -> None:
        await anyio.sleep_forever()

    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        nonlocal yielded
        while True:
            yielded += 1
            yield signal(f"S{yielded}/X")

    with anyio.move_on_after(1):
        await Wait(give(plant), tmp_path, keep, Blocks()).run()
    assert yielded <= PART_OPPORTUNITIES + 1


async def test_a_log_that_takes_nothing_costs_a_strategy_that_is_done_none_of_its_time(
    give: Give, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk what it has found waits with its outcome, outside of its budget."""
    monkeypatch.setattr(waiting, "LAST_SECONDS", 0.05)
    asked = anyio.Event()

    async def keep(found: list[Opportunity]) -> None:
        asked.set()
        await anyio.sleep_forever()

    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        yield signal()
        await asked.wait()

    with anyio.fail_after(20):
        outcome = await Wait(give(plant), tmp_path, keep, Blocks()).run()
    assert outcome.error is UNSET
    assert len(outcome.opportunities) == 1


@pytest.mark.parametrize("way", ["raises", "yields rubbish", "yields it twice"])
async def test_what_it_found_before_it_failed_is_kept_and_its_notes(give: Give, tmp_path: Path, way: str) -> None:
    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        yield Note("as long as it went")
        yield signal("B/X")
        if way == "raises":
            raise ZeroDivisionError
        yield cast(Signal, None) if way == "yields rubbish" else signal("B/X")

    outcome = await run(give(plant), tmp_path)
    assert isinstance(outcome.error, Problem)
    assert [one.symbol for one in outcome.opportunities] == ["B/X"]
    assert outcome.note == "as long as it went"


async def test_what_it_found_before_it_was_stopped_is_kept(give: Give, tmp_path: Path) -> None:
    kept: list[Opportunity] = []
    reached = anyio.Event()

    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        for number in range(10):
            yield signal(f"S{number}/X")
        reached.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, give(plant), tmp_path, kept)
        await reached.wait()
        tasks.cancel_scope.cancel()
    assert {one.symbol for one in kept} == {f"S{number}/X" for number in range(10)}


async def test_who_holds_up_the_loop_is_noted(give: Give, tmp_path: Path) -> None:
    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        await checkpoint()
        ends = time.thread_time() + 0.2  # of the processor: what others have of it is not the strategy's doing
        while time.thread_time() < ends:
            pass
        yield signal("B/X")
        await anyio.sleep(0.3)  # to wait holds up nobody
        yield Note("own")

    blocks = Blocks()

    async def keep(_: list[Opportunity]) -> None:
        pass

    outcome = await Wait(give(plant), tmp_path, keep, blocks).run()
    assert outcome.note == "it held up the server's loop for more than 100 ms at a time; own"
    assert blocks.times["planted"] == 1
    assert blocks.longest["planted"] > 0.1


async def test_who_only_waits_is_not_noted(give: Give, tmp_path: Path) -> None:
    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        await anyio.sleep(0.3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 0.3)
        await to_thread.run_sync(threading.Event().wait, 0.3)
        yield signal("B/X")

    outcome = await run(give(plant), tmp_path)
    assert (outcome.note, len(outcome.opportunities)) == (UNSET, 1)


async def test_an_exception_goes_through_the_measured_steps_both_ways(give: Give, tmp_path: Path) -> None:
    async def plant(*_: object) -> AsyncIterator[Signal | Note]:
        with anyio.move_on_after(0.05) as inner:
            await anyio.sleep_forever()
        assert inner.cancelled_caught
        try:
            with anyio.fail_after(0.05):
                await anyio.sleep_forever()
        except TimeoutError:
            yield signal("B/X")

    outcome = await run(give(plant), tmp_path)
    assert outcome.error is UNSET
    assert len(outcome.opportunities) == 1


class Returned:
    """What a scan may return that is nothing which yields."""

    @staticmethod
    async def coroutine(*_: object) -> list[Signal]:
        return [signal()]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Returned.coroutine, "an async def that yields nothing"),
        (lambda *_: None, "its scan gave a NoneType"),
        (lambda *_: [signal()], "its scan gave a list"),
    ],
)
async def test_a_scan_that_yields_nothing_is_its_shards_failure(
    give: Give, tmp_path: Path, given: Any, words: str
) -> None:
    assert words in failure(await run(give(given), tmp_path))


class Rows:
    """An asynchronous iterable that is no generator, as libraries have them."""

    def __init__(self) -> None:
        self._left = 3

    def __aiter__(self) -> "Rows":
        return self

    async def __anext__(self) -> Signal:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return signal(f"S{self._left}/X")


async def test_what_is_no_generator_may_yield_too(give: Give, tmp_path: Path) -> None:
    outcome = await run(give(lambda *_: Rows()), tmp_path)
    assert [one.symbol for one in outcome.opportunities] == ["S2/X", "S1/X", "S0/X"]


async def test_each_kind_has_a_queue_of_its_own(give: Give, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = give(one)
    other, gone = (msgspec.structs.replace(shard, strategy_id=name) for name in ("computing", "gone"))
    computing = Planted(lambda *_: [])
    monkeypatch.setattr(computing, "id", "computing")
    _register(monkeypatch, Waiting(one), computing)
    in_processes, in_loop = LocalJobs(), Turns(32)
    lanes = waiting.Lanes(in_processes, in_loop)

    await lanes.put([shard, other, gone])
    assert (in_processes.depth(), in_loop.depth()) == (2, 1)
    assert (await anext(lanes.waiting_leases())).shard == shard
    assert (await anext(lanes.leases())).shard == other
    await lanes.drop(shard.scan_id)
    assert (in_processes.depth(), in_loop.depth()) == (0, 0)


class EntryPoint:
    """One that gives what a test wants."""

    name = "own"
    value = "own:Strategy"

    def __init__(self, strategy: object) -> None:
        self.load = lambda: lambda: strategy


def test_an_async_scan_needs_its_own_kind_of_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    mistaken = Planted(lambda *_: [])
    monkeypatch.setattr(mistaken, "scan", one)
    [problem] = look_at(cast(Any, [EntryPoint(mistaken)])).problems
    assert "subclass of AsyncStrategy" in problem


def test_a_plug_in_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    nameless = Planted(lambda *_: [])
    monkeypatch.setattr(nameless, "opportunity_type", "")
    broken = EntryPoint(None)
    monkeypatch.setattr(broken, "load", lambda: importlib.import_module("nowhere_at_all"))
    unusable = {
        "it has no opportunity_type": [EntryPoint(nameless)],
        "it is no Strategy": [EntryPoint(object())],
        "ModuleNotFoundError: No module named 'nowhere_at_all'": [broken],
        "Two strategies are called 'planted'": [EntryPoint(Planted(lambda *_: []))] * 2,
    }
    for words, points in unusable.items():
        [problem] = look_at(cast(Any, points)).problems
        assert words in problem
        assert "own:Strategy" in problem

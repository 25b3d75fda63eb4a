"""When a scan will be complete: from measured shards and the queue ahead, and no answer where nothing was measured."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from msgspec.structs import replace

from scanstream.engines.sqlite import open_store
from scanstream.log.entry import AnyEntry, CancelRequested, Queued
from scanstream.log.scanlog import ScanLog
from scanstream.model import DiscoverRequest, ScanId
from scanstream.scans.forecast import COUNTED_AT_ONCE, Capacity, Forecast
from scanstream.scans.pace import MOST_KINDS, Pace
from support.histories import NOON, done, planned, registered, started

pytestmark = pytest.mark.anyio

SYMBOLS = 20


class House:
    """A forecast, its scans, and the order in which they wait."""

    def __init__(self, *, workers: int = 2, scans: int = 2, in_loop: int = 32, pace: Pace | None = None) -> None:
        self.pace = pace or Pace("synthetic", lambda: SYMBOLS)
        self.queue: list[ScanId] = []
        self.forecast = Forecast(
            self.pace,
            lambda scan_id: self.queue.index(scan_id) + 1 if scan_id in self.queue else None,
            {"feed"},
            lambda: Capacity(workers, in_loop, scans),
        )
        self._capacity = {"workers": workers, "scans": scans, "in_loop": in_loop}
        self._count = 0

    def registers(self, *names: str, **wanted: object) -> ScanLog:
        """A new scan."""
        self._count += 1
        scan = registered(*names, scan_id=ScanId(f"scan_{self._count}"))
        log = ScanLog(replace(scan, request=DiscoverRequest(**wanted)), "epoch")  # type: ignore[arg-type]
        self.forecast.notice(log)
        return log

    def takes(self, log: ScanLog, *entries: AnyEntry) -> None:
        """The scan goes on."""
        for entry in entries:
            log.apply(log.seq + 1, entry)
            if isinstance(entry, Queued):
                self.queue.append(log.scan_id)
            elif log.scan_id in self.queue:
                self.queue.remove(log.scan_id)
            self.forecast.notice(log)

    def waits(self, *names: str, **wanted: object) -> ScanLog:
        """A new scan that stands in the queue."""
        log = self.registers(*names, **wanted)
        self.takes(log, Queued(at=NOON))
        return log

    def ran(self, name: str, shards: int, milliseconds: int, **wanted: object) -> ScanLog:
        """A scan of one strategy that has run to its end."""
        log = self.registers(name, **wanted)
        self.takes(log, planned(**{name: shards}))
        for shard in range(shards):
            self.takes(log, started(name, shard), done(name, shard, elapsed=milliseconds))
        assert log.ended
        return log

    def alone(self, *names: str, **wanted: object) -> float | None:
        """The estimate of a new scan where nothing else is under way."""
        other = House(pace=self.pace, **self._capacity)
        return other.seconds(other.registers(*names, **wanted))

    def seconds(self, log: ScanLog) -> float | None:
        """The estimate."""
        return self.forecast.seconds(log)


def test_nothing_is_said_before_all_strategies_of_the_scan_were_measured() -> None:
    house = House()
    assert house.seconds(house.registers("a")) is None

    house.ran("a", 20, 1000)

    assert house.seconds(house.registers("a", "b")) is None
    assert house.seconds(house.registers("b")) is None
    assert house.alone("a") == 10.0


def test_a_strategy_with_nothing_to_do_takes_no_time_and_is_no_unknown() -> None:
    house = House()
    house.ran("a", 20, 1000)
    log = house.registers("a", "empty")
    house.takes(log, planned(a=1, empty=0), started("a"), done("a", elapsed=1000))

    assert house.seconds(house.registers("empty")) == 0
    assert house.seconds(house.registers("a", "empty")) is not None


def test_what_has_ended_needs_no_time() -> None:
    house = House()
    assert house.seconds(house.ran("a", 1, 1000)) == 0


def test_shards_run_as_many_at_a_time_as_there_are_workers_and_none_is_divided() -> None:
    house = House(workers=4)
    house.ran("a", 20, 1000)
    house.ran("long", 1, 9000)

    assert house.alone("a") == 5.0
    assert house.alone("long", "a") == 9.0


def test_without_workers_nothing_will_ever_be_complete() -> None:
    house = House()
    house.ran("a", 20, 1000)
    idle = House(workers=0, pace=house.pace)
    assert idle.seconds(idle.registers("a")) is None


def test_strategies_that_wait_for_input_do_not_wait_for_workers() -> None:
    house = House(workers=1, in_loop=8)
    house.ran("feed", 8, 3000)
    house.ran("a", 20, 100)

    assert house.alone("feed") == house.alone("feed", "a") == 3.0


def test_requests_are_told_apart_by_parameters_and_number_of_symbols() -> None:
    house = House(workers=1)
    quick = {"parameters": {"a": {"walk_forward": 0}}}
    house.ran("a", 20, 1000)
    house.ran("a", 20, 10, **quick)
    house.ran("a", 1, 500, symbols=["BTC/USDT"])

    assert house.alone("a", **quick) == 0.2
    assert house.alone("a") == 20.0
    assert house.alone("a", symbols=["ETH/USDT"]) == 0.5


def test_the_first_request_of_its_kind_is_judged_by_the_strategy() -> None:
    house = House(workers=1)
    house.ran("a", 20, 1000)

    assert house.seconds(house.registers("a", symbols=["A", "B", "C"])) == 3.0
    assert house.alone("a", asset_tiers=["large"]) == 7.0


def test_the_queue_ahead_counts() -> None:
    house = House(workers=1, scans=1)
    house.ran("a", 20, 1000)
    logs = [house.waits("a") for _ in range(4)]

    assert [house.seconds(log) for log in logs] == [20.0, 40.0, 60.0, 80.0]
    assert house.seconds(house.registers("a")) == 100.0
    house.takes(logs[0], planned(a=20), started("a"), *(done("a", shard, elapsed=1000) for shard in range(10)))
    assert house.seconds(logs[1]) == 30.0
    house.takes(logs[0], *(done("a", shard, elapsed=1000) for shard in range(10, 20)))
    assert [house.seconds(log) for log in logs[1:]] == [20.0, 40.0, 60.0]


def test_scans_that_run_at_the_same_time_take_turns() -> None:
    house = House(workers=2, scans=4)
    house.ran("a", 20, 1000)
    house.ran("b", 2, 1000)
    long = house.waits("a")
    house.takes(long, planned(a=20))

    assert house.seconds(house.waits("b")) == 2.0
    assert house.seconds(house.waits("a")) == 21.0


@pytest.mark.parametrize("scans", [400, 100])
def test_of_many_that_run_some_are_counted_and_the_rest_is_like_them(
    scans: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a free place, and without one: each of the 100 has 20 seconds of work left, for two workers."""
    house = House(scans=scans)
    house.ran("a", 20, 1000)
    for _ in range(100):
        house.takes(house.waits("a"), planned(a=20))
    counted: list[object] = []
    load = Forecast._load

    def looked_at(*arguments: Any, **named: Any) -> Any:
        counted.append(arguments)
        return load(*arguments, **named)

    monkeypatch.setattr(Forecast, "_load", looked_at)
    log = house.waits("a")
    assert house.seconds(log) == (101 * 20 / 2 if scans == 400 else 100 * 20 / 2 + 20 / 2)
    assert len(counted) < COUNTED_AT_ONCE + 10


def test_a_queue_from_before_anything_was_measured_is_counted_once_it_was() -> None:
    house = House(workers=1, scans=1)
    logs = [house.waits("a") for _ in range(COUNTED_AT_ONCE + 2)]
    first = logs[0]
    house.takes(first, planned(a=20), *(done("a", shard, elapsed=1000) for shard in range(20)))
    assert first.ended

    house.seconds(logs[1])
    assert house.seconds(logs[-1]) == 20.0 * (COUNTED_AT_ONCE + 1)


def test_an_unknown_scan_ahead_counts_like_the_known_ones() -> None:
    house = House(workers=1, scans=1)
    house.ran("a", 20, 1000)
    house.waits("never measured")

    assert house.seconds(house.waits("a")) == 40.0


def test_what_is_left_of_a_scan_that_runs_is_what_its_state_says() -> None:
    house = House()
    log = house.registers("a")
    house.takes(log, planned(a=4), started("a"), done("a", at=NOON + 2000, elapsed=2000))

    assert house.seconds(log) == log.document["estimated_time_remaining_seconds"] == 6.0


def test_the_sum_of_the_queue_is_that_of_its_scans_whatever_happens() -> None:
    house = House(workers=1, scans=1)
    house.ran("a", 20, 1000)
    logs = [house.waits("a") for _ in range(5)]
    for log in (logs[2], logs[4]):
        house.takes(log, CancelRequested(at=NOON))
        assert log.ended

    assert [house.seconds(log) for log in (logs[0], logs[1], logs[3])] == [20.0, 40.0, 60.0]
    for log in (logs[0], logs[1], logs[3]):
        house.takes(log, CancelRequested(at=NOON))
    assert house.seconds(house.registers("a")) == 20.0


async def kept(pace: Pace, directory: Path | None, *more: Callable[[], None]) -> int:
    """Keep what is measured, through further measurements, to the end of the server; how often it was written."""
    async with open_store(directory) as store:
        written = 0
        remember = store.remember

        async def counted(name: str, value: bytes) -> None:
            nonlocal written
            await remember(name, value)
            written += 1

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(store, "remember", counted)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pace.keep, store)
                with anyio.fail_after(20):
                    while not written:  # noqa: ASYNC110  # the disk has no event
                        await anyio.sleep(0.01)
                for measure in more:
                    measure()
                    await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
        return written


async def recalled(directory: Path, market: str = "synthetic") -> House:
    """What the next server knows."""
    pace = Pace(market, lambda: SYMBOLS)
    async with open_store(directory) as store:
        await pace.recall(store)
    return House(workers=1, pace=pace)


async def test_what_was_measured_survives_a_restart_and_is_not_written_for_each_shard(tmp_path: Path) -> None:
    house = House()
    house.ran("a", 20, 1000)

    def measure() -> None:
        house.ran("b", 20, 500)

    written = await kept(house.pace, tmp_path, *[measure] * 10)

    assert written == 2  # at once, and on the way out
    again = await recalled(tmp_path)
    assert again.seconds(again.registers("a", "b")) == 30.0
    other = await recalled(tmp_path, "files:elsewhere")
    assert other.seconds(other.registers("a")) is None


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"{",
        b"[]",
        b'{"market": "synthetic"}',
        b'{"market":"synthetic","strategies":{"a":{"shards":{"count":-1}}},"kinds":{}}',
        b"[" * 9999,
    ],
)
async def test_what_was_kept_and_cannot_be_read_is_measured_anew(tmp_path: Path, stored: bytes) -> None:
    async with open_store(tmp_path) as store:
        await store.remember("pace", stored)

    house = await recalled(tmp_path)

    assert house.seconds(house.registers("a")) is None
    house.ran("a", 20, 1000)
    assert await kept(house.pace, tmp_path) == 1


async def test_a_store_that_is_away_costs_nothing_but_the_memory(tmp_path: Path) -> None:
    house = House()
    house.ran("a", 20, 1000)
    async with open_store(tmp_path) as store:
        pass

    await house.pace.recall(store)
    with anyio.move_on_after(0.1):
        await house.pace.keep(store)

    assert house.seconds(house.registers("a")) == 10.0
    assert await kept(house.pace, tmp_path) == 1


async def test_what_is_kept_has_a_bound(tmp_path: Path) -> None:
    house = House()
    house.ran("a", 20, 1000)
    for number in range(2 * MOST_KINDS):
        house.ran("b", 1, 10, parameters={"b": {"lookback": number}})

    await kept(house.pace, tmp_path)

    async with open_store(tmp_path) as store:
        stored = await store.recall("pace")
    assert stored is not None
    assert len(msgspec.json.decode(stored)["kinds"]) == MOST_KINDS
    assert len(stored) < 200_000
    assert house.alone("a") == 10.0

"""What the core costs without its doors: registering, a revision's way to its frame, coming up, what a scan holds.

    python bench/core.py [--json FILE] [MEASURE …]

- `registrations`: 1,000 at once at the desk of a server whose store has 100,000 finished scans.
- `revisions`: one after the other, each one result and one outcome of a shard: appended, durable, folded, framed and
  encoded; and what is left of that without the store.
- `start`: until a server with 10,000 unfinished scans is up.
- `memory`: bytes that a scan holds, all its rooms together (`tracemalloc`).

All in this process, whose CPU is that of the core and of the store's thread, with the collector and the threads' turns
as a server has them.
"""

import argparse
import asyncio
import gc
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import anyio
import uvloop
from msgspec.structs import replace

from instrument.figures import Result, Sheet, Verdict, at_least, at_most
from scanstream.collector import kept_apart
from scanstream.core import Core, open_core
from scanstream.log.cursor import Position
from scanstream.log.entry import AnyEntry, Cut, Planned, ShardDone, ShardFound, ShardStarted
from scanstream.log.scanlog import ScanLog
from scanstream.model import ANYONE, DiscoverRequest, ScanId, now
from scanstream.push.codec import JSON, frame_message
from scanstream.server import SWITCH_SECONDS
from scanstream.settings import Settings
from stores import filled, opportunity

ROUNDS = 5
REGISTRATIONS = 1_000
FINISHED = 100_000
UNFINISHED = 10_000
SHARDS = (10, 4_000)
REVISIONS = 500
QUEUED, RUNNING = 2_000, 200
OF_A_SCAN, FOUND = 60, 93
"""Shards and finds of the scans that are weighed."""
ONE = DiscoverRequest(symbols=["BTC/USDT"], strategy_ids=["tsmom"], force_refresh=True)
OURS = "scanstream"


def main() -> int:
    """Measure, print, judge; the exit code."""
    parser = argparse.ArgumentParser(description="What the core costs: registering, revisions, start, memory.")
    parser.add_argument("measure", nargs="*", metavar="MEASURE", help=f"of {', '.join(MEASURES)} (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    given = parser.parse_args()
    if unknown := set(given.measure) - MEASURES.keys():
        parser.error(f"there is no measure {', '.join(sorted(unknown))}")
    sheet, verdicts = Sheet("core", ""), list[Verdict]()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        for name in given.measure or MEASURES:
            place = Path(scratch) / name
            place.mkdir()
            verdicts += uvloop.run(measured(MEASURES[name], sheet, place))
    figures = sheet.figures()
    for figure in figures:
        print(f"  {figure.case:<58} {figure.median:12,.1f} {figure.unit}", end="")
        print(f"  ({min(figure.values):,.1f} to {max(figure.values):,.1f})" if len(figure.values) > 1 else "")
    for verdict in verdicts:
        print(f"{'PASS' if verdict.passed else 'FAIL'}: {verdict.what} {verdict.bound}: {verdict.measured}")
    if given.json:
        Result(figures, verdicts).write(given.json)
    return 0 if all(verdict.passed for verdict in verdicts) else 1


async def measured(measure: "Measure", sheet: Sheet, place: Path) -> list[Verdict]:
    """One of them."""
    sys.setswitchinterval(SWITCH_SECONDS)
    async with kept_apart():
        return await measure(sheet, place)


def settings(data: Path) -> Settings:
    """Of a server that takes scans and runs none."""
    return Settings(port=0, data=str(data), workers=0, max_running=1, max_scans=100_000)


async def registrations(sheet: Sheet, place: Path) -> list[Verdict]:
    """Beside many scans in the store; each round waits until its scans are queued."""
    async with open_core(settings(filled(place / "full", finished=FINISHED))) as core:
        for number in range(ROUNDS + 1):
            waits: list[float] = []
            wall, cpu = time.perf_counter(), time.process_time()
            async with asyncio.TaskGroup() as tasks:
                acks = [tasks.create_task(registered(core, ONE, waits)) for _ in range(REGISTRATIONS)]
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            await queued(core, [ack.result() for ack in acks])
            if number:  # the first one finds the disk cold
                sheet.note(OURS, "registrations a second, 1,000 at once", REGISTRATIONS / wall, "/s")
                sheet.note(OURS, "CPU of a registration", 1e6 * cpu / REGISTRATIONS, "µs")
                sheet.note(OURS, "the one of them that waits longest", 1e3 * max(waits), "ms")
    return at_least(
        "registrations beside 100,000 scans",
        11_000,
        sheet.values(OURS, "registrations a second, 1,000 at once"),
        "/s",
    )


async def registered(core: Core, request: DiscoverRequest, waits: list[float]) -> ScanId:
    """A new scan, durable and folded."""
    began = time.perf_counter()
    ack = await core.desk.register(ANYONE, request)
    waits.append(time.perf_counter() - began)
    return ScanId(ack.scan_id)


async def queued(core: Core, scan_ids: Iterable[ScanId]) -> None:
    """Let them go, and wait until they stand in the queue, or are planned."""
    for scan_id in scan_ids:
        core.desk.release(scan_id)
        await core.hub.until(scan_id, lambda log: log.folded.state.phase != "init")


async def revisions(sheet: Sheet, place: Path) -> list[Verdict]:
    """Append → fold → frame, with few shards and with many."""
    async with open_core(settings(place / "store")) as core:
        for _ in range(ROUNDS):
            for shards in SHARDS:
                scan_id = await registered(core, ONE, [])
                await core.store.append(scan_id, Planned(at=now(), cuts={"tsmom": Cut(shards)}))
                count = min(shards - 1, REVISIONS)
                log = core.hub.get(scan_id)
                assert log is not None
                frames, cpu = 0, time.process_time()
                for shard in range(count):
                    before = log.head
                    await core.store.append(scan_id, *outcome(shard, 1))
                    frames += len(framed(log, before))
                cpu = time.process_time() - cpu
                assert frames > 100 * count
                assert log.folded.state.progress.shards_completed == count
                sheet.note(OURS, f"append → fold → frame, {shards:,} shards", 1e6 * cpu / count, "µs")
                sheet.note(OURS, f"fold → frame alone, {shards:,} shards", 1e6 * alone(log, shards), "µs")
    worst = [*sheet.values(OURS, f"append → fold → frame, {max(SHARDS):,} shards")]
    return at_most(f"append → fold → frame at {max(SHARDS):,} shards", 508, worst, " µs")


def framed(log: ScanLog, before: Position) -> str | bytes:
    """What a reader is told who was there before."""
    return JSON.encode(frame_message(log, log.read(before), JSON))


def alone(like: ScanLog, shards: int) -> float:
    """CPU seconds of a revision that is folded and framed, without a store."""
    log = ScanLog(like.folded.registered, "epoch")
    log.apply(2, Planned(at=now(), cuts={"tsmom": Cut(shards)}))
    count = min(shards - 1, REVISIONS)
    revisions = [outcome(shard, 1) for shard in range(count)]
    cpu = time.thread_time()
    for entries in revisions:
        before = log.head
        for entry in entries:
            log.apply(log.seq + 1, entry)
        framed(log, before)
    return (time.thread_time() - cpu) / count


def outcome(shard: int, found: int) -> list[AnyEntry]:
    """A shard that found so many, and is done."""
    at = now()
    opportunities = [replace(opportunity(number), id=f"tsmom:{shard}:{number}") for number in range(found)]
    return [
        *([ShardFound(at=at, strategy_id="tsmom", shard=shard, opportunities=opportunities)] if found else []),
        ShardDone(at=at, strategy_id="tsmom", shard=shard, elapsed_ms=10),
    ]


async def start(sheet: Sheet, place: Path) -> list[Verdict]:
    """A server that finds many unfinished scans, and one that finds none."""
    for number in range(ROUNDS):
        for count in (0, UNFINISHED):
            data = settings(filled(place / f"{count}-{number}", unfinished=count))
            wall, cpu = time.perf_counter(), time.process_time()
            async with open_core(data) as core:
                assert core.hub.unfinished() == count
                sheet.note(OURS, f"up with {count:,} unfinished scans", time.perf_counter() - wall, "s")
                sheet.note(OURS, f"CPU until then, {count:,} unfinished scans", time.process_time() - cpu, "s")
    return at_most(
        "10,000 unfinished scans up", 0.95, sheet.values(OURS, f"up with {UNFINISHED:,} unfinished scans"), " s"
    )


async def memory(sheet: Sheet, place: Path) -> list[Verdict]:
    """Of scans that wait, run, and have ended."""
    own = [replace(ONE, capital_usd=1000.0 + number) for number in range(QUEUED + RUNNING)]
    async with open_core(settings(place / "store")) as core:
        await registered_and_queued(core, own[:10])  # whatever is made once
        tracemalloc.start()
        for what, requests in ("all of the same request", [ONE] * QUEUED), ("each of its own", own[:QUEUED]):
            before = held()
            await registered_and_queued(core, requests)
            sheet.note(OURS, f"a queued scan, {what}", (held() - before) / QUEUED, "bytes")
        before = held()
        scans = await registered_and_queued(core, own[QUEUED:])
        half = OF_A_SCAN // 2
        for scan_id in scans:
            await core.store.append(scan_id, Planned(at=now(), cuts={"tsmom": Cut(OF_A_SCAN)}))
            await ended(core, scan_id, range(half))
        size = f"{OF_A_SCAN} shards and {FOUND} finds"
        sheet.note(OURS, f"a running scan, half of {size}", (held() - before) / RUNNING, "bytes")
        for scan_id in scans:
            await ended(core, scan_id, range(half, OF_A_SCAN))
        logs = [log for log in map(core.hub.get, scans) if log is not None]
        with anyio.fail_after(60):
            while not all(log.ended and log._frozen for log in logs):  # noqa: ASYNC110  # the sweeper does it
                await anyio.sleep(0.1)
        sheet.note(OURS, f"a finished scan, {size}", (held() - before) / RUNNING, "bytes")
        results = sum(map(len, logs[0].opportunities.encoded(range(FOUND))))
        sheet.note(OURS, "… of which the results as JSON would be", results, "bytes")
        sheet.note(OURS, "… as the hub counts it", statistics.median(log.weight for log in logs), "bytes")
        tracemalloc.stop()
    return []


def held() -> int:
    """Bytes of all that Python has allocated since the trace began."""
    gc.unfreeze()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def registered_and_queued(core: Core, requests: list[DiscoverRequest]) -> list[ScanId]:
    """A scan each."""
    scan_ids = [await registered(core, request, []) for request in requests]
    await queued(core, scan_ids)
    return scan_ids


async def ended(core: Core, scan_id: ScanId, shards: range) -> None:
    """These shards come to their end, with what was found."""
    for shard in shards:
        found = (shard + 1) * FOUND // OF_A_SCAN - shard * FOUND // OF_A_SCAN
        started = ShardStarted(at=now(), strategy_id="tsmom", shard=shard)
        await core.store.append(scan_id, started, *outcome(shard, found))


Measure = Callable[[Sheet, Path], Awaitable[list[Verdict]]]
MEASURES: dict[str, Measure] = {
    "registrations": registrations,
    "revisions": revisions,
    "start": start,
    "memory": memory,
}

if __name__ == "__main__":
    sys.exit(main())

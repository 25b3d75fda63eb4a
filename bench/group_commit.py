"""Group commit against commit per operation: 1,000 concurrent registrations at the store port, side by side in one run.

    python bench/group_commit.py [--data DIR]

What the disk takes for a sync is measured first: where that is next to nothing there is nothing to win.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from scanstream.engines.group_commit import MOST_AT_ONCE
from scanstream.engines.sqlite import SqliteStore, open_store
from scanstream.log.entry import Registered
from scanstream.model import ANYONE, DiscoverRequest, ScanId

REGISTRATIONS = 1_000
ROUNDS = 5
SYNCS = 200
LEAST_RATIO = 10.0
LEAST_SYNC_MICROSECONDS = 50.0
SIDES = {"group commit": MOST_AT_ONCE, "commit per operation": 1}


def main() -> int:
    """Measure, print, judge; the exit code."""
    parser = argparse.ArgumentParser(
        description="Group commit against commit per operation: 1,000 concurrent registrations, 5 rounds, medians."
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="where to write (default: a temporary directory in the current one)"
    )
    data: Path | None = parser.parse_args().data
    if data is not None:
        data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data or Path.cwd(), prefix="bench-") as scratch:
        sync = microseconds_of_a_sync(Path(scratch))
        print(f"fdatasync of this disk: {sync:.0f} µs (median of {SYNCS})")
        seconds = {side: statistics.median(times) for side, times in measure(Path(scratch)).items()}
    print(f"\n{REGISTRATIONS} concurrent registrations, median of {ROUNDS} rounds:")
    for side, taken in seconds.items():
        print(f"  {side:<22} {taken:8.4f} s  {REGISTRATIONS / taken:10,.0f}/s")
    return verdict(sync, seconds["commit per operation"] / seconds["group commit"])


def verdict(sync: float, ratio: float) -> int:
    """Say whether it is good enough; the exit code."""
    print(f"  {'ratio':<22} {ratio:8.1f} ×\n")
    if sync < LEAST_SYNC_MICROSECONDS:
        print(f"This disk is too fast for the comparison: a sync costs less than {LEAST_SYNC_MICROSECONDS:.0f} µs.")
        return 0
    passed = ratio >= LEAST_RATIO
    print(f"{'PASS' if passed else 'FAIL'}: at least {LEAST_RATIO:.0f} × is asked for.")
    return 0 if passed else 1


def microseconds_of_a_sync(directory: Path) -> float:
    """The median of a small write and its fdatasync."""
    times: list[float] = []
    descriptor = os.open(directory / "sync", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for _ in range(SYNCS):
            started = time.perf_counter()
            os.write(descriptor, b"x" * 256)
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - started)
    finally:
        os.close(descriptor)
    return statistics.median(times) * 1e6


def measure(scratch: Path) -> dict[str, list[float]]:
    """Seconds of each round of both sides, in turn, each on a new store."""
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(ROUNDS):
        for side, most_at_once in SIDES.items():
            place = scratch / f"{side} {number}"
            times[side].append(uvloop.run(one_round(place, most_at_once)))
    return times


async def one_round(place: Path, most_at_once: int) -> float:
    """Seconds until all registrations are durable."""
    scans = [registration(number) for number in range(REGISTRATIONS)]
    async with open_store(place, most_at_once=most_at_once) as store:
        started = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:  # cheaper than anyio's: the client is not what is measured
            for scan in scans:
                tasks.create_task(register(store, scan))
        return time.perf_counter() - started


async def register(store: SqliteStore, scan: Registered) -> None:
    """One registration, which must win its slot."""
    assert await store.register(scan, None) == scan.scan_id


def registration(number: int) -> Registered:
    """A scan of its own slot, as large as a usual one."""
    return Registered(
        at=number,
        scan_id=ScanId(f"scan_{number:042x}"),
        principal=ANYONE,
        slot=f"{number:032x}",
        market="synthetic",
        digest="d" * 32,
        request=DiscoverRequest(symbols=["BTC/USDT"], parameters={"tsmom": {"walk_forward": 0}}),
        filters={"symbols": ["BTC/USDT"], "parameters": {"tsmom": {"walk_forward": 0}}},
        budgets={"tsmom": 120.0},
        budget=900.0,
        retention=3_600_000,
    )


if __name__ == "__main__":
    sys.exit(main())

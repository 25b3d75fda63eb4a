"""Group commit against commit per operation: 1,000 concurrent registrations at the store port, side by side in one run.

    python bench/group_commit.py [--data DIR] [--json FILE]

What the disk takes for a sync is measured beside each round, as the ratio is a matter of it: a registration among many
costs some 30 µs of CPU and next to no sync; one that is committed alone some 100 µs, its sync, and the switch to the
store's thread and back. On a disk that syncs in no time the ratio is 3, at a sync of 120 µs it is some 10.
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

from instrument.figures import Result, Sheet, Verdict, at_least, shown
from scanstream.engines.group_commit import MOST_AT_ONCE
from scanstream.engines.sqlite import SqliteStore, open_store
from scanstream.log.entry import Registered
from scanstream.model import ANYONE, DiscoverRequest, ScanId

NAME = "group_commit.py"
REGISTRATIONS = 1_000
ROUNDS = 5
SYNCS = 200
LEAST_RATIO = 10.0
LEAST_SYNC_MICROSECONDS = 50.0
TOGETHER, EACH = "group commit", "commit per operation"
SIDES = {TOGETHER: MOST_AT_ONCE, EACH: 1}
DISK = "fdatasync"
CASE = f"{REGISTRATIONS:,} registrations"


def main() -> int:
    """Measure, print, judge; the exit code."""
    parser = argparse.ArgumentParser(
        description="Group commit against commit per operation: 1,000 concurrent registrations, 5 rounds, medians."
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="where to write (default: a temporary directory in the current one)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    given = parser.parse_args()
    if given.data is not None:
        given.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.data or Path.cwd(), prefix="bench-") as scratch:
        sheet = measure(Path(scratch))
    print(f"{REGISTRATIONS} concurrent registrations, median of {ROUNDS} rounds (least to most):")
    for figure in sheet.figures():
        spread = f"({shown(min(figure.values))} to {shown(max(figure.values))})"
        print(f"  {figure.server:<22} {shown(figure.median):>8} {figure.unit}  {spread}")
    found = verdict(sheet)
    print(f"\n{found.what}: {found.measured}, asked for is {found.bound}: {WORDS[found.passed]}")
    if given.json:
        Result(sheet.figures(), [found]).write(given.json)
    return 1 if found.passed is False else 0


WORDS = {True: "PASS", False: "FAIL", None: "this disk is too fast for the comparison"}


def verdict(sheet: Sheet) -> Verdict:
    """Whether it is good enough; where a sync costs nothing there is nothing to win."""
    sync = statistics.median(sheet.values(DISK, CASE))
    what = f"Group commit against a commit each, at a sync of {sync:.0f} µs"
    found = at_least(what, LEAST_RATIO, sheet.ratios(EACH, TOGETHER, CASE))[0]
    return found if sync >= LEAST_SYNC_MICROSECONDS else found._replace(passed=None)


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


def measure(scratch: Path) -> Sheet:
    """Milliseconds of each round of both sides, in turn, each on a new store, and microseconds of a sync beside it."""
    sheet = Sheet(NAME, "ms")
    for number in range(ROUNDS):
        sheet.note(DISK, CASE, microseconds_of_a_sync(scratch), "µs")
        for side, most_at_once in SIDES.items():
            sheet.note(side, CASE, 1000 * uvloop.run(one_round(scratch / f"{side} {number}", most_at_once)))
    return sheet


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

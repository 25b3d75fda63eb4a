"""The speed of the work itself: shards a second and finds per strategy, and two workers against one.

    python bench/work.py [--json FILE]

1. On the generated market, one scan per strategy with its default parameters, three rounds, against a server with two
   workers.
2. In one worker process, all shards of a full scan: how often it opened the market's data.
3. On 256 generated symbols, as a Parquet file: full scans by one worker, by two, and by two that do not keep the memory
   of arrays that come and go (`KEPT_MEMORY` of core.py), in turn, three rounds.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx
import msgspec
import numpy as np
import polars
import uvloop
from anyio import CapacityLimiter, to_process
from msgspec import UNSET

from instrument.figures import Figure, Result, Sheet, at_least
from scanstream import panel as panel_module
from scanstream.client import AsyncClient
from scanstream.jobs import Shard
from scanstream.market.synthetic import SyntheticMarket
from scanstream.model import DiscoverRequest, ScanId
from scanstream.panel import FIELDS, Panel
from scanstream.scans.work import shard as worker
from scanstream.strategies.installed import registry
from serving import GIVING_BACK, PLAIN, followed, server

ROUNDS = 3
SYMBOLS = 256
LEAST_RATIO = 1.0
NAME = "work.py"
ONE, TWO, PAGING = "1 worker", "2 workers", "2 workers, memory given back"
SIDES: dict[str, tuple[str, tuple[str, ...]]] = {ONE: ("1", PLAIN), TWO: ("2", PLAIN), PAGING: ("2", GIVING_BACK)}
"""Workers, and how the server is run."""
SCAN = f"a full scan of {SYMBOLS} symbols"


class Measured(NamedTuple):
    """One scan."""

    shards: int
    found: int
    wall: float
    """Seconds from the discover to the end."""


def main() -> int:
    """Measure, print, judge; the exit code."""
    parser = argparse.ArgumentParser(
        description="Shards a second and finds per strategy; two workers against one on 256 symbols."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    given = parser.parse_args()
    with server(":memory:", "--workers", "2") as url:
        rows = uvloop.run(each_strategy(url))
    table(rows)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        anyio.run(count_loads, Path(scratch))
        file = Path(scratch) / "generated.parquet"
        write(SyntheticMarket(symbols=SYMBOLS).load(), file)
        compared = compare(file)
    if given.json:
        speeds = [
            Figure(NAME, strategy, "shards a second, 2 workers", "/s", [row.shards / row.wall])
            for strategy, row in rows.items()
        ]
        Result([*speeds, *compared.figures], compared.verdicts).write(given.json)
    return 0 if all(verdict.passed for verdict in compared.verdicts) else 1


async def each_strategy(url: str) -> dict[str, Measured]:
    """Strategy → the median round."""
    async with httpx.AsyncClient(base_url=url) as client:
        ids = [strategy["id"] for strategy in (await client.get("/opportunities/strategies")).json()]
    await one_scan(url, {})  # the worker processes come up here
    return {name: await median_scan(url, {"strategy_ids": [name]}) for name in ids}


async def median_scan(url: str, request: dict[str, Any]) -> Measured:
    """The scan of the median wall time."""
    rounds = [await one_scan(url, request) for _ in range(ROUNDS)]
    return sorted(rounds, key=lambda measured: measured.wall)[ROUNDS // 2]


async def one_scan(url: str, request: dict[str, Any]) -> Measured:
    """From the discover to the end."""
    async with AsyncClient(url) as client:
        began = time.perf_counter()
        state = (await followed(client, request)).state
        wall = time.perf_counter() - began
    assert state["status"] == "complete", state["message"]
    return Measured(state["progress"]["total_shards"], state["total_opportunities"], wall)


def table(rows: dict[str, Measured]) -> None:
    """Print what each strategy does."""
    print(f"One scan of the generated market per strategy; two workers, median of {ROUNDS}:")
    print(f"  {'strategy':<15} {'shards':>6} {'found':>6} {'seconds':>8} {'shards/s':>9}")
    for name, row in rows.items():
        print(f"  {name:<15} {row.shards:>6} {row.found:>6} {row.wall:>8.3f} {row.shards / row.wall:>9.1f}")
    shards, found, wall = (sum(getattr(row, field) for row in rows.values()) for field in ("shards", "found", "wall"))
    print(f"  {'all':<15} {shards:>6} {found:>6} {wall:>8.3f} {shards / wall:>9.1f}\n")


async def count_loads(directory: Path) -> None:
    """Run every shard in one worker process, and print how often it opened the data."""
    panel = SyntheticMarket().load().save(directory)
    one = CapacityLimiter(1)
    shards = list(every_shard(panel))
    for encoded in shards:
        found = await to_process.run_sync(worker.run, encoded, str(directory), os.getpid(), limiter=one)
        assert msgspec.msgpack.decode(found[0], type=worker.Outcome).error is UNSET
    loads = await to_process.run_sync(times_loaded, limiter=one)
    print(f"One worker process ran {len(shards)} shards and opened the market's data {loads} time(s).\n")
    assert loads == 1


def every_shard(panel: Panel) -> Iterator[bytes]:
    """Of a full scan, as the runner sends them."""
    for strategy in registry().values():
        units = strategy.strategy.units(panel, strategy.parse({}))
        for number, start in enumerate(range(0, units, strategy.chunk)):
            yield msgspec.msgpack.encode(
                Shard(
                    scan_id=ScanId("scan_bench"),
                    strategy_id=strategy.id,
                    number=number,
                    start=start,
                    stop=min(units, start + strategy.chunk),
                    digest=panel.digest,
                    request=DiscoverRequest(),
                    budget_seconds=strategy.budget_seconds,
                )
            )


def times_loaded() -> int:
    """How often this process has opened a saved panel."""
    return panel_module._mapped.cache_info().misses


def compare(file: Path) -> Result:
    """One worker, two, and two that give memory back, in turn."""
    sheet = Sheet(NAME, "s")
    with ExitStack() as stack:
        urls = {
            side: stack.enter_context(
                server(":memory:", "--market", f"files:{file}", "--workers", workers, program=program)
            )
            for side, (workers, program) in SIDES.items()
        }
        for url in urls.values():
            uvloop.run(one_scan(url, {}))
        for _ in range(ROUNDS):
            scans = {side: uvloop.run(one_scan(url, {})) for side, url in urls.items()}
            for side, scan in scans.items():
                sheet.note(side, SCAN, scan.wall)
    print(f"{SCAN}, {scans[ONE].shards} shards, median of {ROUNDS}:")
    for figure in sheet.figures():
        print(f"  {figure.server:<28} {figure.median:7.2f} s   ({', '.join(f'{wall:.2f}' for wall in figure.values)})")
    found = at_least("Two workers against one, a full scan", LEAST_RATIO, sheet.ratios(ONE, TWO, SCAN))
    kept = statistics.median(sheet.ratios(PAGING, TWO, SCAN))
    print(f"  two against one {found[0].measured}; memory kept against given back {kept:.2f} ×\n")
    print(f"{'PASS' if found[0].passed else 'FAIL'}: two workers must be faster than one.")
    return Result(sheet.figures(), found)


def write(panel: Panel, file: Path) -> None:
    """The panel's candles as a Parquet file, a bar a row."""
    bars, symbols = panel.close.shape
    columns = {name: getattr(panel, name).ravel() for name in FIELDS}
    times, names = np.repeat(panel.times, symbols), np.tile(panel.symbols, bars)
    polars.DataFrame({"symbol": names, "timestamp": times, **columns}).write_parquet(file)


if __name__ == "__main__":
    sys.exit(main())

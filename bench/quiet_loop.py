"""How long a ping over a WebSocket takes while a full scan saturates the workers, against an idle server.

    python bench/quiet_loop.py

Five rounds, each first idle, then under load, against one server process with two workers. The load is one full scan
after the other; another process follows them, so that the server pushes as it does in use. The pinging client shares
the machine's cores with all of it.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import NamedTuple

import httpx
import uvloop
from websockets.asyncio.client import ClientConnection, connect

from scanstream.client import AsyncClient
from serving import followed, server

ROUNDS = 5
PINGS = 400
PAUSE_SECONDS = 0.005
"""Between a pong and the next ping."""
BUSY = ("scanstream_scans_unfinished", "scanstream_shards_running")
MOST_RATIO = 2.0


class Round(NamedTuple):
    """Milliseconds of each ping."""

    idle: list[float]
    loaded: list[float]


def main() -> int:
    """Measure, print, judge; the exit code."""
    argparse.ArgumentParser(
        description="WebSocket ping p99 while a full scan saturates the workers, against idle; 5 rounds, medians."
    ).parse_args()
    with server(":memory:", "--workers", "2") as url:
        rounds = uvloop.run(measure(url))
    print(f"{PINGS} pings a run, {ROUNDS} rounds of both in turn, milliseconds:")
    for name in Round._fields:
        runs = [getattr(measured, name) for measured in rounds]
        shown = ", ".join(f"{centile(run, 99):.2f}" for run in runs)
        print(f"  {name:<7} p50 {median(runs, 50):6.2f}   p99 {median(runs, 99):6.2f}   (p99 of each run: {shown})")
    idle, loaded = (median([getattr(measured, name) for measured in rounds], 99) for name in Round._fields)
    passed = loaded <= MOST_RATIO * idle
    print(f"  ratio of the p99s {loaded / idle:.1f} ×\n")
    print(f"{'PASS' if passed else 'FAIL'}: at most {MOST_RATIO:g} × idle is asked for.")
    return 0 if passed else 1


def centile(run: list[float], which: int) -> float:
    """Of one run."""
    return statistics.quantiles(run, n=100)[which - 1]


def median(runs: list[list[float]], which: int) -> float:
    """The median over the runs of this centile."""
    return statistics.median(centile(run, which) for run in runs)


async def measure(url: str, numbers: Iterable[int] = range(ROUNDS)) -> list[Round]:
    """All rounds."""
    async with connect(f"ws{url.removeprefix('http')}/ws") as connection:
        with load(url):  # the worker processes come up here
            await pings(connection)
        return [Round(await pings(connection), await loaded(url, connection)) for _ in numbers]


async def loaded(url: str, pinging: ClientConnection) -> list[float]:
    """Pings while one full scan after the other is run and followed."""
    with load(url):
        return await pings(pinging)


@contextmanager
def load(url: str) -> Iterator[None]:
    """One full scan after the other, followed by a process of its own; from the first shard's outcome on."""
    spawning = multiprocessing.get_context("spawn")
    working = spawning.Event()
    process = spawning.Process(target=scan_after_scan, args=(url, working))
    process.start()
    try:
        if not working.wait(timeout=30):
            raise RuntimeError("no shard was done within 30 s")
        yield
        if not process.is_alive():
            raise RuntimeError("the load ended before the pings did")
    finally:
        process.kill()
        process.join()
        end_scans(url)


def end_scans(url: str) -> None:
    """Cancel what the load has left running, and wait for its end: the next pings are of an idle server."""
    with httpx.Client(base_url=url, timeout=30) as client:
        scan_id = client.post("/opportunities/cancel/latest").raise_for_status().json()["scan_id"]
        client.get(f"/opportunities/results/{scan_id}", params={"wait": 20}).raise_for_status()
        deadline = time.monotonic() + 10
        while busy := [name for name, value in gauges(client).items() if name in BUSY and value]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server is not idle: {busy}")
            time.sleep(0.05)


def gauges(client: httpx.Client) -> dict[str, float]:
    """What the server's metrics say now."""
    text = client.get("/metrics").raise_for_status().text
    plain = [line.split() for line in text.splitlines() if line and line[0] != "#" and "{" not in line]
    return {name: float(value) for name, value in plain}


def scan_after_scan(url: str, working: Event) -> None:
    """Full scans, each followed to its end as a page would, until killed."""

    async def scans() -> None:
        async with AsyncClient(url) as client:
            while True:
                scan = await followed(client, {}, working.set)
                assert scan.status == "complete", scan.state

    uvloop.run(scans())


async def pings(connection: ClientConnection) -> list[float]:
    """Milliseconds of each."""
    taken: list[float] = []
    for _ in range(PINGS):
        await asyncio.sleep(PAUSE_SECONDS)
        began = time.perf_counter()
        await connection.send('{"type": "ping"}')
        await connection.recv()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


if __name__ == "__main__":
    sys.exit(main())

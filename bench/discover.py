"""1,000 concurrent discovers against a real server process: how long until all of them are durably acknowledged.

    python bench/discover.py [--data DIR]

The client shares the machine's cores with the server: it speaks HTTP by hand over keep-alive connections, to be cheap.
"""

import argparse
import asyncio
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import uvloop

from serving import server

REQUESTS = 1_000
CONNECTIONS = 100
ROUNDS = 5
WARM_UP = 100
MOST_SECONDS = 1.0
REQUEST = {
    "force_refresh": True,
    "symbols": ["BTC/USDT"],
    "strategy_ids": ["tsmom"],
    "parameters": {"tsmom": {"walk_forward": 0}},
}

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Round(NamedTuple):
    """Of one round."""

    seconds: float
    latencies: list[float]
    scan_ids: list[str]


def main() -> int:
    """Measure, print, judge; the exit code."""
    parser = argparse.ArgumentParser(
        description="1,000 concurrent POST /opportunities/discover against a real server, 5 rounds, the median."
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="where it writes (default: a temporary directory in the current one)"
    )
    data: Path | None = parser.parse_args().data
    if data is not None:
        data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data or Path.cwd(), prefix="bench-") as scratch, server(scratch) as url:
        rounds = uvloop.run(measure(urlsplit(url).port or 0))
    latencies = [latency * 1000 for measured in rounds for latency in measured.latencies]
    centiles = statistics.quantiles(latencies, n=100)
    seconds = statistics.median(measured.seconds for measured in rounds)
    print(f"{REQUESTS} concurrent discovers over {CONNECTIONS} connections, {ROUNDS} rounds:")
    print(f"  until all are acked   {seconds:8.3f} s (median; {', '.join(f'{r.seconds:.3f}' for r in rounds)})")
    print(f"  discovers a second    {REQUESTS / seconds:8,.0f}")
    print(f"  one request           {centiles[49]:8.1f} ms p50, {centiles[98]:.1f} ms p99\n")
    passed = seconds <= MOST_SECONDS
    print(f"{'PASS' if passed else 'FAIL'}: at most {MOST_SECONDS:g} s is asked for.")
    return 0 if passed else 1


async def measure(port: int) -> list[Round]:
    """All rounds, each after the scans of the one before have ended."""
    rounds: list[Round] = []
    for requests in (WARM_UP, *[REQUESTS] * ROUNDS):
        async with connected(port) as connections:  # new ones: the server closes those that wait long
            rounds.append(await one_round(connections, requests))
            await until_ended(connections[0], rounds[-1].scan_ids)
    return rounds[1:]


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[list[Connection]]:
    """Keep-alive connections."""
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    try:
        yield connections
    finally:
        for _, writer in connections:
            writer.close()


async def one_round(connections: list[Connection], requests: int) -> Round:
    """Ask so often over all connections; each asks again as soon as it has its answer."""
    left = iter(range(requests))
    latencies: list[float] = []
    scan_ids: list[str] = []
    message = http("POST", "/opportunities/discover", json.dumps(REQUEST).encode())

    async def ask(connection: Connection) -> None:
        for _ in left:
            began = time.perf_counter()
            status, body = await exchange(connection, message)
            latencies.append(time.perf_counter() - began)
            if status != 202:
                raise RuntimeError(f"{status} instead of an ack: {body!r}")
            scan_ids.append(json.loads(body)["scan_id"])

    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for connection in connections:
            tasks.create_task(ask(connection))
    seconds = time.perf_counter() - started
    assert len(set(scan_ids)) == requests, "two discovers got one scan"
    return Round(seconds, latencies, scan_ids)


def http(method: str, path: str, body: bytes = b"") -> bytes:
    """A request of HTTP/1.1."""
    return f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def exchange(connection: Connection, message: bytes) -> tuple[int, bytes]:
    """One request, its status and body."""
    reader, writer = connection
    writer.write(message)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert length, "every answer of the server says how long it is"
    return int(head.split(b" ", 2)[1]), await reader.readexactly(int(length[1]))


async def until_ended(connection: Connection, scan_ids: list[str]) -> None:
    """Wait for each scan's end, so that a round does not run beside the scans of the last one."""
    for scan_id in scan_ids:
        status, body = await exchange(connection, http("GET", f"/opportunities/status/{scan_id}?wait=60"))
        state: dict[str, Any] = json.loads(body)
        while status == 200 and state["status"] == "scanning":
            await asyncio.sleep(0.1)
            status, body = await exchange(connection, http("GET", f"/opportunities/status/{scan_id}"))
            state = json.loads(body)
        assert status == 200, body
        assert state["status"] == "complete", state


if __name__ == "__main__":
    sys.exit(main())

"""What stops the server's loop, and for how long: every step of it is timed through all workloads.

    python bench/loop_lag.py [WORKLOAD …] [--json FILE]

A real server, in a process of its own, with a watch over its loop (watched.py). A *step* is what runs without giving
the loop back: of a task from one await to the next, a callback, a read of a connection. A *turn* is what whoever comes
has to wait for: all steps that are ready, and what uvloop does between them. Both are timed by the CPU that they take,
as on the clock they are also as long as others keep the machine busy. What comes before the server listens is shown and
not judged: nobody is there yet.

What takes long in the code does so each time. What the kernel or the machine adds to a step, whosever it is, does not:
a control (steady.py) that does the same work again and again shows how much that is in the same minutes. So a workload
in which a step was too long is run again, up to three times in all, and a part fails that was too long each time.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from crowd import crowd, get, subscriber, until
from stores import filled
from watched import UNCOLLECTED
from watching import MOST_SECONDS, Seen, Server, serving

SLOW = 600_000
"""Rounds of hashing in a shard: it takes some half second."""
START_UP = "start-up"
MOST_RUNS = 3
"""Of a workload in which a step was too long."""


async def of_scans(_scratch: Path) -> list[Seen]:
    """The work of scans, one after the other."""
    async with serving("--data", ":memory:", "--workers", "2", way_out="the way out, nobody there") as server:
        server.cut(START_UP)
        await asyncio.sleep(3)
        server.cut("idle")
        for _ in range(2):
            scan_id = await server.discover()
            async with crowd(server.url, [subscriber(scan_id)] * 20):
                await server.ended(scan_id)
        server.cut("full scans on the generated market, 20 readers")
        scan_id = await server.scripted(4096, 1)
        async with crowd(server.url, [subscriber(scan_id)] * 20):
            await server.ended(scan_id)
        server.cut("a plan of 4,096 shards, one find each")
        scan_id = await server.scripted(4096, 0, 20_000)
        await asyncio.sleep(1.5)
        await server.cancel(scan_id)
        server.cut("a plan of 4,096 shards, cancelled")
        scan_id = await server.scripted(1, 20_000)
        async with crowd(server.url, [subscriber(scan_id)] * 20):
            await server.ended(scan_id)
        server.cut("one shard of 20,000 finds, 20 readers")
        scan_id = await server.scripted(5, 20_000)
        await server.ended(scan_id)
        server.cut("five shards of 20,000 finds")
        for accept in ("application/json", "application/x-ndjson"):
            await asyncio.gather(
                *(server.client.get(f"/opportunities/results/{scan_id}", headers={"accept": accept}) for _ in range(2))
            )
        await server.client.get(f"/opportunities/results/{scan_id}", params={"limit": 20})
        async with crowd(server.url, [subscriber(scan_id)] * 5) as readers:
            await until(readers, lambda member: b'"end"' in member.last)
        server.cut("100,000 finds fetched and followed")
        return server.seen


async def of_questions(_scratch: Path) -> list[Seen]:
    """Discovers, polls and pages."""
    async with serving("--data", ":memory:", "--workers", "2", way_out="-") as server:
        server.cut("-")
        await mass(
            server, 1000, symbols=["BTC/USDT"], strategy_ids=["tsmom"], parameters={"tsmom": {"walk_forward": 0}}
        )
        server.cut("1,000 discovers at once")
        await server.idle()
        server.cut("… and their scans")
        for path in ("scans?limit=100", "market", "strategies"):
            await asyncio.gather(*(server.client.get(f"/opportunities/{path}") for _ in range(10)))
        for path in ("/metrics", "/readyz", "/openapi.json", "/asyncapi.json"):
            await asyncio.gather(*(server.client.get(path) for _ in range(10)))
        server.cut("lists, catalogue, metrics, contracts")
        scan_id = await server.scripted(200, 1, 200_000)
        polls = [get(f"/opportunities/status/{scan_id}?wait=60&since=")] * 5000
        async with crowd(server.url, polls) as members:
            await until(members, lambda member: member.taken > 0)
        await server.cancel(scan_id)
        server.cut("5,000 polls at once")
        scan_id = await server.scripted(200, 1, 200_000)
        polls = [get(f"/opportunities/results/{scan_id}?wait=60")] * 5000
        async with crowd(server.url, polls) as members:
            server.cut("5,000 long polls come")
            await asyncio.sleep(3)
            server.cut("5,000 long polls wait, shards end")
            await server.cancel(scan_id)
            await until(members, lambda member: member.taken > 0)
            server.cut("5,000 long polls are answered at once")
        for form, end in (("application/json", b"}"), ("text/event-stream", b"0\r\n\r\n")):
            await of_follows(server, form, end)
        return server.seen


async def of_follows(server: Server, form: str, end: bytes) -> None:
    """A crowd in one form of `follow`."""
    scan_id = await server.scripted(1, 0, 60 * SLOW)  # no news before it is cancelled
    await asyncio.sleep(1)
    state = (await server.client.get(f"/opportunities/status/{scan_id}")).json()
    body = json.dumps({"follow": [{"scan_id": scan_id, "since": state["cursor"]}], "wait": 60})
    head = f"POST /opportunities/follow HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {form}\r\n"
    follow = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    async with crowd(server.url, [follow] * 5000) as members:
        await asyncio.sleep(2)
        server.cut(f"5,000 follows come, {form}")
        await server.cancel(scan_id)
        await until(members, lambda member: member.last.endswith(end))
        server.cut(f"5,000 follows are told the end, {form}")


async def mass(server: Server, count: int, **request: Any) -> list[str]:
    """So many discovers at once, each a scan of its own; their ids."""
    body = json.dumps({"force_refresh": True, **request}).encode()
    head = f"POST /opportunities/discover HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with crowd(server.url, [head + body] * count) as members:
        await until(members, lambda member: b"scan_id" in member.last)
        return [match[0] for member in members if (match := re.search(r"scan_[0-9a-f]{42}", member.last.decode()))]


async def of_readers(_scratch: Path) -> list[Seen]:
    """Many readers."""
    async with serving("--data", ":memory:", "--workers", "2", way_out="the way out, 5,000 readers") as server:
        server.cut("-")
        scan_id = await server.scripted(4000, 1, SLOW)
        async with crowd(server.url, [subscriber(scan_id)] * 5000) as members:
            await until(members, lambda member: member.taken > 300)
            server.cut("5,000 readers come")
            await asyncio.sleep(5)
            server.cut("5,000 readers of one scan, its shards end")
            await server.cancel(scan_id)
            await until(members, lambda member: b'"end"' in member.last)
            server.cut("5,000 readers are told the end")
        await asyncio.sleep(1)
        server.cut("5,000 readers leave at once")
        scan_id = await server.scripted(4000, 1, SLOW)
        await asyncio.sleep(1)
        cursor = (await server.client.get(f"/opportunities/status/{scan_id}")).json()["cursor"]
        async with crowd(server.url, [subscriber(scan_id, cursor)] * 5000) as members:
            await until(members, lambda member: member.taken > 200)
            server.cut("5,000 readers resume at once, with cursors")
            await asyncio.sleep(2)
            server.cut("-")
            server.end("the way out, 5,000 readers")
            return server.seen
    raise AssertionError


async def of_many(_scratch: Path) -> list[Seen]:
    """Many scans, one reader each."""
    async with serving("--data", ":memory:", "--workers", "0", "--max-scans", "20000", way_out="-") as server:
        server.cut("-")
        ids: list[str] = []
        for _ in range(10):
            ids += await mass(server, 1000, symbols=["BTC/USDT"])
        server.cut("10,000 discovers, a thousand at a time")
        async with crowd(server.url, [subscriber(scan_id) for scan_id in ids]) as members:
            await until(members, lambda member: member.taken > 300)
            server.cut("10,000 scans, one reader each: they come")
            await asyncio.sleep(5)
            server.cut("10,000 scans, one reader each, at rest")
            cancels = [f"POST /opportunities/cancel/{scan_id} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" for scan_id in ids]
            for start in range(0, len(ids), 2000):
                async with crowd(server.url, [text.encode() for text in cancels[start : start + 2000]]) as asking:
                    await until(asking, lambda member: member.taken > 0)
            await until(members, lambda member: b'"end"' in member.last)
            server.cut("10,000 scans, one reader each, all cancelled")
        return server.seen


async def of_large_market(_scratch: Path) -> list[Seen]:
    """500 symbols × 10,000 bars."""
    async with serving("--data", ":memory:", "--workers", "2", large="500x10000", way_out="-") as server:
        server.cut(f"{START_UP}, 500 symbols × 10,000 bars")
        for tier in ("large", "mid", "small"):
            await server.cancel(await server.discover(strategy_ids=["tsmom"], asset_tiers=[tier]))
        for _ in range(3):
            await server.client.get("/opportunities/market")
        server.cut("tiers and the market's document, 500 × 10,000")
        for request in ({}, {"strategy_ids": ["pairs"], "asset_tiers": ["large"]}, {"strategy_ids": ["pairs"]}):
            scan_id = await server.discover(**request)
            async with crowd(server.url, [subscriber(scan_id)] * 20):
                await asyncio.sleep(12)
            await server.cancel(scan_id)
        server.cut("full scans and pairs, 500 × 10,000, 20 readers")
        return server.seen


async def of_recovery(scratch: Path) -> list[Seen]:
    """Unfinished scans are taken up."""
    seen: list[Seen] = []
    for count, workers, what in ((10_000, "2", "run"), (10_000, "0", "rest"), (50_000, "0", "rest")):
        data = filled(scratch / f"{count}-{workers}", unfinished=count)
        async with serving("--data", str(data), "--workers", workers, way_out="-") as server:
            server.cut(f"{START_UP} with {count:,} unfinished scans")
            await asyncio.sleep(8)
            server.cut(f"… and {count:,} {what}")
            seen += server.seen
    return seen


async def of_full_store(scratch: Path) -> list[Seen]:
    """A store that is full of scans."""
    data = filled(scratch / "finished", finished=100_000)
    async with serving("--data", str(data), "--workers", "0", way_out="-") as server:
        server.cut(f"{START_UP} with 100,000 finished scans")
        for _ in range(3):
            await mass(server, 1000, symbols=["BTC/USDT"])
        server.cut("3 × 1,000 discovers at once beside 100,000 finished scans")
        answer = (await server.client.get("/opportunities/scans?limit=100")).json()
        for scan in answer["scans"]:
            await server.client.get(f"/opportunities/status/{scan['scan_id']}")
        server.cut("lists and finished scans beside 100,000")
        seen = server.seen
    data = filled(scratch / "expiring", finished=100_000, expire_in=1)
    async with serving("--data", str(data), "--workers", "0", way_out="-") as server:
        server.cut(f"{START_UP} with 100,000 expired scans")
        await asyncio.sleep(4)
        for _ in range(5):
            await mass(server, 200, symbols=["BTC/USDT"])
            await asyncio.sleep(1)
        server.cut("100,000 expired scans are purged")
        return seen + server.seen


WORKLOADS: dict[str, Callable[[Path], Awaitable[list[Seen]]]] = {
    "scans": of_scans,
    "questions": of_questions,
    "readers": of_readers,
    "many": of_many,
    "large-market": of_large_market,
    "recovery": of_recovery,
    "full-store": of_full_store,
}


def main() -> int:
    """Measure, print, judge; the exit code."""
    parser = argparse.ArgumentParser(description="The longest stops of the server's loop, workload by workload.")
    parser.add_argument("workload", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)} (default: all)")
    parser.add_argument("--no-gc", action="store_true", help="without the garbage collector, to see what else there is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was seen there")
    given = parser.parse_args()
    if unknown := set(given.workload) - WORKLOADS.keys():
        parser.error(f"there is no workload {', '.join(sorted(unknown))}")
    if given.no_gc:
        os.environ[UNCOLLECTED] = "1"
    runs: list[list[Seen]] = []
    for name in given.workload or WORKLOADS:
        runs += repeated(name)
    if given.json:
        given.json.write_text(json.dumps([one._asdict() for seen in runs for one in seen], indent=1))
    return judged(by_part(runs))


def repeated(name: str) -> list[list[Seen]]:
    """A workload, again while one of its parts was too long each time."""
    runs: list[list[Seen]] = []
    while len(runs) < MOST_RUNS:
        print(f"\n{name}: CPU ms of the longest step, of a thousandth of them; the same of turns; on the clock")
        with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
            runs.append([one for one in uvloop.run(whole(name, Path(scratch))) if one.name != "-"])
        if not any(min(steps) > MOST_SECONDS for steps in longest(by_part(runs)).values()):
            break
    return runs


async def whole(name: str, scratch: Path) -> list[Seen]:
    """All of one workload."""
    return await WORKLOADS[name](scratch)


def by_part(runs: list[list[Seen]]) -> dict[str, list[Seen]]:
    """What is judged, each part with all its runs."""
    parts: dict[str, list[Seen]] = {}
    for one in (one for seen in runs for one in seen if not one.name.startswith(START_UP)):
        parts.setdefault(one.name, []).append(one)
    return parts


def longest(parts: dict[str, list[Seen]], what: str = "longest_step") -> dict[str, list[float]]:
    """Seconds of the longest step of each part, run by run."""
    return {name: [one.told[what] for one in seen] for name, seen in parts.items()}


def judged(parts: dict[str, list[Seen]]) -> int:
    """The exit code, with the words for it."""
    bound = f"{1000 * MOST_SECONDS:g} ms"
    turns = [name for name, turns in longest(parts, "longest_turn").items() if min(turns) > MOST_SECONDS]
    print(f"\nTurns above {bound} in {len(turns)} of {len(parts)} parts.")
    steps = longest(parts)
    for name in [name for name, of_part in steps.items() if max(of_part) > MOST_SECONDS]:
        print(
            f"{name}: {told(steps[name])}; the control beyond its usual: {told([excess(one) for one in parts[name]])}"
        )
    bad = [name for name, of_part in steps.items() if min(of_part) > MOST_SECONDS]
    if bad:
        print(f"FAIL: each time a step above {bound} of CPU in {len(bad)} of {len(parts)} parts: " + "; ".join(bad))
        return 1
    print(f"PASS: no step above {bound} of CPU in any of {len(parts)} parts, but for what does not come again.")
    return 0


def excess(seen: Seen) -> float:
    """Seconds that a step of the control took more than usual, at most."""
    control = seen.told["control"]
    return float(control["longest"] - control["usual"])


def told(seconds: list[float]) -> str:
    """Least, median and most."""
    least, median, most = (1000 * value for value in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{most:.1f} ms" if len(seconds) == 1 else f"{least:.1f} to {most:.1f} ms, median {median:.1f}"


if __name__ == "__main__":
    sys.exit(main())

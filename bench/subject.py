"""scanstream under test: the real server, as `scanstream serve` runs it, and somebody who appends to its scans.

Started by the bench; obeys its standard input as the peers do (peers/driving.py), and says on standard output what
came of it:

    scans COUNT                        → scans ID …         so many new scans, planned and running: a new group
    group NUMBER                       → group NUMBER       what follows is for this one, the first is 0
    run UPDATES PER_TICK MILLISECONDS  → done SEQ           so many revisions of each scan, some at each tick

Nothing of the server is another than in use: the revisions come in by `Store.append`, as from a worker, and are
durable, folded and framed before anybody sees them. What is added is two stamps a revision, in a file that the load
maps: when its append began, and when it had come out of the store, durable and not yet folded. The peers stamp an
update when they have it, before they encode it.
"""

import argparse
import asyncio
import mmap
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from unittest.mock import patch

import uvloop

from scanstream import server
from scanstream.collector import kept_apart
from scanstream.core import Core, open_core
from scanstream.engines.sqlite import SqliteStore
from scanstream.log.entry import AnyEntry, Cut, Planned, Registered, ShardDone, ShardFound
from scanstream.model import ANYONE, DiscoverRequest, Opportunity, ScanId, now, timestamp
from scanstream.push.flushes import TICK_SECONDS
from scanstream.scans.identity import new_scan_id
from scanstream.settings import Settings

STRATEGY = "so_long_as_280_bytes_take"
SHARDS = 4096
"""As many as a plan may have: one scan lasts for many runs."""
STAMPS = 1 << 16
"""As in load/load.h."""
DAY_SECONDS = 86_400.0
AT_ONCE = 500
"""Scans that are registered, or appended to, at a time."""
FINDS_EVERY = 4
"""Of the revisions of a tick that has several, every fourth brings a result; the others are progress."""

Fed = tuple[ScanId, int, AnyEntry]


class Stamps:
    """When each revision was durable, and when its append began: nanoseconds, by seq."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(2 * 8 * STAMPS))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 0)

    def durable(self, seq: int) -> None:
        """It has come out of the store, now."""
        struct.pack_into("=Q", self._map, 8 * (seq % STAMPS), time.monotonic_ns())

    def appended(self, seq: int, at: int) -> None:
        """Its append began then."""
        struct.pack_into("=Q", self._map, 8 * (STAMPS + seq % STAMPS), at)


class Scans:
    """A group of scans, and what is appended to each of them."""

    def __init__(self, core: Core, stamps: Stamps | None, shards: int) -> None:
        self._core = core
        self._stamps = stamps
        self._shards = shards
        self._ids: list[ScanId] = []
        self._seq = self._shard = self._found = 0

    async def begin(self, count: int) -> list[ScanId]:
        """New ones, registered, planned and running."""
        store = self._core.store
        self._ids = [new_scan_id(store.key, ANYONE, now()) for _ in range(count)]
        plan = Planned(at=now(), cuts={STRATEGY: Cut(self._shards)})

        async def one(scan_id: ScanId) -> None:
            await store.register(self._registration(scan_id), None)
            await store.append(scan_id, plan)

        await self._each(one)
        self._seq = 2
        return self._ids

    def _registration(self, scan_id: ScanId) -> Registered:
        panel = self._core.panels.current
        return Registered(
            at=now(),
            scan_id=scan_id,
            principal=ANYONE,
            slot=scan_id.removeprefix("scan_"),
            market=panel.market,
            digest=panel.digest,
            request=DiscoverRequest(),
            filters={},
            budgets={STRATEGY: DAY_SECONDS},
            budget=DAY_SECONDS,
            retention=3_600_000,
        )

    async def run(self, count: int, per_tick: int, seconds: float) -> int:
        """So many revisions, some at each tick; the seq of the last one."""
        due = time.monotonic()
        for _ in range(count // per_tick):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self._revise(list(self._entries(per_tick)))
            due = max(due + seconds, time.monotonic())
        return self._seq

    async def _revise(self, entries: list[AnyEntry]) -> None:
        at = time.monotonic_ns()
        for _ in entries:
            self._seq += 1
            if self._stamps:
                self._stamps.appended(self._seq, at)

        async def one(scan_id: ScanId) -> None:
            await self._core.store.append(scan_id, *entries)

        await self._each(one)

    async def _each(self, do: Callable[[ScanId], object]) -> None:
        """For every scan, many at a time: the store commits them together."""
        for start in range(0, len(self._ids), AT_ONCE):
            await asyncio.gather(*(do(scan_id) for scan_id in self._ids[start : start + AT_ONCE]))  # type: ignore[call-overload]

    def _entries(self, per_tick: int) -> Iterator[AnyEntry]:
        at = now()
        for number in range(per_tick):
            if per_tick > 1 and number % FINDS_EVERY == 0:
                self._found += 1
                yield ShardFound(
                    at=at, strategy_id=STRATEGY, shard=self._shard, opportunities=[opportunity(self._found)]
                )
            else:
                yield ShardDone(at=at, strategy_id=STRATEGY, shard=self._shard, elapsed_ms=25 + self._shard)
                self._shard += 1
                if self._shard >= self._shards - 1:
                    raise RuntimeError(f"a scan has {self._shards} shards, and all of them are done")


def opportunity(number: int) -> Opportunity:
    """As large as usual."""
    return Opportunity(
        id=f"{STRATEGY}:BTC/USDT:{number:024}",
        strategy_id=STRATEGY,
        strategy_name="Bench",
        opportunity_type="momentum",
        symbol="BTC/USDT",
        symbols=["BTC/USDT"],
        exchange="synthetic",
        side="long",
        entry_price=64000.0,
        exit_price=66100.0,
        stop_price=61800.0,
        quote_currency="USDT",
        expected_return=0.033,
        profit_potential_usd=33.0,
        required_capital_usd=1000.0,
        confidence_score=number % 100,
        hit_rate=0.54,
        hit_rate_n=118,
        risk_level="medium",
        estimated_timeframe="21h",
        metadata={"z": 1.07},
        discovered_at=timestamp(now()),
    )


@contextmanager
def core_kept() -> Iterator[list[Core]]:
    """`server.serving` opens a core of its own: keep hold of it."""
    kept: list[Core] = []

    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[Core]:
        async with open_core(settings) as core:
            kept.append(core)
            yield core

    with patch.object(server, "open_core", opened):
        yield kept


def stamp_all(stamps: Stamps) -> None:
    """Have every entry stamped as it comes out of the store."""
    feeding = SqliteStore.feed

    async def feed(self: SqliteStore) -> AsyncIterator[Fed]:
        async with aclosing(feeding(self)) as entries:  # type: ignore[type-var]  # it is a generator
            async for scan_id, seq, entry in entries:
                stamps.durable(seq)
                yield scan_id, seq, entry

    SqliteStore.feed = feed  # type: ignore[method-assign]


async def main(arguments: argparse.Namespace) -> None:
    """Serve, and obey until standard input ends."""
    stamps = Stamps(arguments.stamps) if arguments.stamps else None
    if stamps:
        stamp_all(stamps)
    tick = TICK_SECONDS if arguments.tick is None else arguments.tick
    settings = Settings(port=0, data=arguments.data, workers=0, stall=arguments.stall, tick=tick)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    with core_kept() as kept:
        async with kept_apart(), server.serving(settings) as url:
            print(url, flush=True)
            groups = Groups(lambda: Scans(kept[0], stamps, arguments.shards))
            while line := await commands.readline():
                print(await groups.obey(line.decode().split()), flush=True)


class Groups:
    """All groups of scans, and the one that is meant."""

    def __init__(self, new: Callable[[], Scans]) -> None:
        self._new = new
        self._groups: list[Scans] = []
        self._meant = 0

    async def obey(self, words: list[str]) -> str:
        """Do what one line asks for; what came of it."""
        match words:
            case ["scans", count]:
                self._meant = len(self._groups)
                self._groups.append(self._new())
                return f"scans {' '.join(await self._groups[-1].begin(int(count)))}"
            case ["group", number]:
                self._meant = int(number)
                return f"group {number}"
            case ["run", count, per_tick, milliseconds]:
                scans = self._groups[self._meant]
                return f"done {await scans.run(int(count), int(per_tick), float(milliseconds) / 1000)}"
        raise ValueError(f"not understood: {words}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default=":memory:")
    parser.add_argument("--stamps", type=Path)
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--stall", type=float, default=60.0)
    parser.add_argument("--tick", type=float, default=TICK_SECONDS)
    uvloop.run(main(parser.parse_args()))

"""The engine on NATS JetStream, measured against JetStream itself: three real servers, each message on three disks.

    PYTHONPATH=server:tests python bench/nats_engine.py    all of it, or of these
        latency    append on one node → visible on another, and bare JetStream in the same run
        writes     registrations and barriers
        live       the rate of appends with 1,000 and with 10,000 live scans
        start      a node's start with 100,000 finished scans in the stream

Servers and nodes share this machine, so it is the ratios that say something. The writer is a process of its own.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from scanstream.engines.nats.index import End
from scanstream.engines.nats.names import token
from scanstream.engines.nats.options import NatsOptions
from scanstream.engines.nats.store import NatsStore, open_nats
from scanstream.log.entry import Queued, ShardStarted, encode
from scanstream.model import ScanId
from support.nats import nats_cluster, nats_server
from support.stores import fact, feeding, registration

RATE = 1_000
SECONDS = 5.0
ROUNDS = 3
FINISHED = 100_000
BODY = encode(fact(0, f"{time.monotonic_ns()}"))


def options(servers: str) -> NatsOptions:
    """Of a node on these servers."""
    return NatsOptions(servers=tuple(servers.split(",")))


async def paced(send: Callable[[int], Coroutine[Any, Any, None]], rate: float, seconds: float) -> None:
    """Call `send` at this rate, whether the earlier calls have returned or not."""
    begun = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for number in range(round(rate * seconds)):
            await anyio.sleep(max(0, begun + number / rate - anyio.current_time()))
            tasks.start_soon(send, number)


async def write_ours(servers: str) -> None:
    """The writer's process: entries that say when they were written, over some scans."""
    async with open_nats(options(servers)) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(_fold, store, lambda _: None)
        await store.barrier()
        names = [ScanId(f"latency-{time.monotonic_ns()}-{number}") for number in range(100)]
        for name in names:
            await store.register(registration(name), None)

        async def send(number: int) -> None:
            await store.append(names[number % 100], fact(number, str(time.monotonic_ns())))

        await paced(send, RATE, SECONDS)
        tasks.cancel_scope.cancel()


async def write_bare(servers: str) -> None:
    """The same without us: publishing into a stream, acknowledged."""
    client = Client()
    await client.connect(servers.split(",", maxsplit=1)[0])
    stream = client.jetstream(timeout=10)

    async def send(number: int) -> None:
        await stream.publish(f"bare.{number % 100}", encode(fact(number, str(time.monotonic_ns()))))

    await paced(send, RATE, SECONDS)
    await client.close()


async def _fold(store: NatsStore, take: Callable[[ShardStarted], None]) -> None:
    async with aclosing(feeding(store)) as feed:
        async for _, _, entry in feed:
            if isinstance(entry, ShardStarted):
                take(entry)


async def _writer(what: str, servers: str) -> None:
    command = [sys.executable, __file__, what, servers]
    await anyio.run_process(command, stdout=None, stderr=None)


async def latency(servers: str) -> None:
    """Append on one node → visible on another."""
    ours: list[float] = []
    bare: list[float] = []
    async with open_nats(options(servers)):
        """Then the servers have found each other."""
    client = Client()
    await client.connect(servers.rsplit(",", maxsplit=1)[-1])
    stream = client.jetstream(timeout=30)
    await stream.add_stream(name="BARE", subjects=["bare.*"], num_replicas=3, storage="file")

    async def received(message: Msg) -> None:
        sent = int(message.data.partition(b'"strategy_id":"')[2].partition(b'"')[0])
        bare.append(time.monotonic_ns() - sent)

    await stream.subscribe("bare.*", ordered_consumer=True, cb=received)
    async with open_nats(options(servers)) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(_fold, store, lambda entry: ours.append(time.monotonic_ns() - int(entry.strategy_id)))
        await store.barrier()
        for _ in range(ROUNDS):
            await _writer("write_bare", servers)
            await _writer("write_ours", servers)
        tasks.cancel_scope.cancel()
    await client.close()
    ratios = [one / other for one, other in zip(_shown("ours", ours), _shown("bare JetStream", bare), strict=True)]
    print(f"  ratio: p50 {ratios[0]:.2f}, p99 {ratios[1]:.2f}")


def _shown(what: str, times: list[float]) -> tuple[float, float]:
    """Print, and return, the p50 and the p99 of these nanoseconds."""
    cuts = statistics.quantiles(times, n=100)
    print(f"  {what}: {len(times)} at {RATE}/s, p50 {cuts[49] / 1e6:.2f} ms, p99 {cuts[98] / 1e6:.2f} ms")
    return cuts[49], cuts[98]


async def writes(servers: str) -> None:
    """Registrations at once, and barriers one after the other."""
    async with open_nats(options(servers)) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(_fold, store, lambda _: None)
        await store.barrier()
        for attempt in range(ROUNDS):
            begun = time.perf_counter()
            async with anyio.create_task_group() as racing:
                for number in range(1_000):
                    racing.start_soon(store.register, registration(f"w{attempt}-{number}-{begun}"), None)
            took = time.perf_counter() - begun
            print(f"  1,000 registrations at once: {took * 1000:.0f} ms, {1_000 / took:,.0f}/s")
        times = []
        for _ in range(2_000):
            begun = time.perf_counter()
            await store.barrier()
            times.append((time.perf_counter() - begun) * 1e9)
        cuts = statistics.quantiles(times, n=100)
        print(f"  barrier: p50 {cuts[49] / 1e6:.2f} ms, p99 {cuts[98] / 1e6:.2f} ms")
        tasks.cancel_scope.cancel()


async def live(servers: str) -> None:
    """The rate of appends with few and with many live scans."""
    async with open_nats(options(servers)) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(_fold, store, lambda _: None)
        await store.barrier()
        rates: dict[int, list[float]] = {1_000: [], 10_000: []}
        names: list[ScanId] = []
        for scans, found in rates.items():
            names += [ScanId(f"live-{time.monotonic_ns()}") for _ in range(scans - len(names))]
            async with anyio.create_task_group() as registering:
                for part in range(64):
                    registering.start_soon(_register, store, names[len(names) - scans :][part::64])
            for _ in range(ROUNDS):
                found.append(await _rate(store, names))
        few, many = map(statistics.median, rates.values())
        print(f"  appends/s with 1,000 live scans {few:,.0f}, with 10,000 {many:,.0f}: ratio {many / few:.2f}")
        tasks.cancel_scope.cancel()


async def _register(store: NatsStore, names: list[ScanId]) -> None:
    for name in names:
        await store.register(registration(name), None)


async def _rate(store: NatsStore, names: list[ScanId]) -> float:
    numbers = count()
    until = time.perf_counter() + 3.0

    async def write() -> None:
        while time.perf_counter() < until:
            number = next(numbers)
            await store.append(names[number * 7919 % len(names)], fact(number))

    begun = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(256):
            tasks.start_soon(write)
    return next(numbers) / (time.perf_counter() - begun)


async def start(servers: str) -> None:
    """A node's start where very many scans have ended."""
    async with open_nats(options(servers)) as store:
        begun = time.perf_counter()
        await fill(store, FINISHED)
        print(f"  {FINISHED:,} finished scans written in {time.perf_counter() - begun:.0f} s")
    for _ in range(ROUNDS):
        begun, worked = time.perf_counter(), time.process_time()
        async with open_nats(options(servers)) as store, anyio.create_task_group() as tasks:
            tasks.start_soon(_fold, store, lambda _: None)
            await store.barrier()
            took, worked = time.perf_counter() - begun, time.process_time() - worked
            print(f"  ready with {FINISHED:,} finished scans after {took:.1f} s, {worked:.1f} s of them this process")
            tasks.cancel_scope.cancel()


async def fill(store: NatsStore, scans: int) -> None:
    """What so many scans leave behind, written past the store: only the last of each is waited for."""
    connection, names, client = store.connection, store.connection.names, store.connection.client
    end = msgspec.json.encode(End(round(time.time() * 1000) + 3_600_000))
    go, entry = encode(Queued(at=1)), encode(fact(0))
    numbers = iter(range(scans))

    async def write() -> None:
        for number in numbers:
            scan = registration(f"scan_{number:032x}", slot=f"{number:032x}")
            slot, name = names.slot(scan.slot), token(scan.scan_id)
            for kind, data in (("reg", encode(scan)), ("go", go), *4 * [("ev", entry)]):
                await client.publish(names.scan(slot, name, kind), data)
            await connection.publish(names.scan(slot, name, "end"), end, stream=names.stream("SCANS"))

    async with anyio.create_task_group() as tasks:
        for _ in range(64):
            tasks.start_soon(write)


def measure(what: str) -> None:
    """One of the measures, on servers of its own."""
    print(what)
    with tempfile.TemporaryDirectory() as directory:
        if what == "start":  # what it takes to read does not depend on how many hold it
            with nats_server(Path(directory)) as server:
                anyio.run(start, server.url, backend_options={"use_uvloop": True})
        else:
            with nats_cluster(Path(directory)) as servers:
                measures = {"latency": latency, "writes": writes, "live": live}
                urls = ",".join(server.url for server in servers)
                anyio.run(measures[what], urls, backend_options={"use_uvloop": True})


def main(arguments: list[str]) -> None:
    """Measure what is named, or all of it."""
    writers = {"write_ours": write_ours, "write_bare": write_bare}
    if arguments and arguments[0] in writers:
        anyio.run(writers[arguments[0]], arguments[1], backend_options={"use_uvloop": True})
    else:
        for what in arguments or ["latency", "writes", "live", "start"]:
            measure(what)


if __name__ == "__main__":
    main(sys.argv[1:])

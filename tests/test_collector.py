"""The collector keeps out of the way, and garbage goes all the same."""

import ctypes
import gc
import os
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import anyio
import msgspec
import pytest
from anyio import to_thread

from conftest import Serve
from scanstream import collector as module
from scanstream.collector import Collector, _beyond
from scanstream.core import open_core
from scanstream.launch import importing
from scanstream.model import ANYONE, DiscoverRequest
from scanstream.push.answers import StatusAnswer, Whole
from scanstream.settings import Settings
from soak.chaos.held import MEGABYTE, resident
from support.raw import HOST, connected, get
from support.wire import ONE_QUICK_SCAN, discover, request, websocket

ONE = DiscoverRequest(symbols=["BTC/USDT"], strategy_ids=["tsmom"], force_refresh=True)
FULL = 50_000
"""New objects, each in a list of its own: a full collection comes by itself."""


class Thing:
    """May be held, and may hold itself."""

    def __init__(self) -> None:
        self.held: object = None


@pytest.fixture
def collector() -> Iterator[Collector]:
    """At work in this process."""
    with Collector().at_work() as collector:
        yield collector


def cycle() -> weakref.ref[Thing]:
    """Something that nobody holds but itself."""
    thing = Thing()
    thing.held = thing
    return weakref.ref(thing)


def make_much() -> list[list[int]]:
    """So much that is new that the collector comes by itself."""
    return [[number] for number in range(FULL)]


def test_what_is_left_by_a_full_collection_is_frozen(collector: Collector) -> None:
    before = gc.get_freeze_count()
    held = make_much()
    assert gc.get_freeze_count() > before + FULL // 2
    assert len(gc.get_objects()) < FULL
    del held
    assert gc.get_freeze_count() < before + FULL // 2  # what nobody holds goes at once, frozen or not


def test_a_cycle_that_is_made_after_the_freeze_is_collected(collector: Collector) -> None:
    gone = cycle()
    held = make_much()
    assert gone() is None, len(held)


def test_a_frozen_thing_that_nobody_holds_goes_at_once(collector: Collector) -> None:
    thing = Thing()
    gone = weakref.ref(thing)
    gc.collect()
    assert gc.get_freeze_count()
    del thing
    assert gone() is None


def test_a_cycle_that_was_frozen_in_use_goes_at_a_quiet_moment(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORTH_BLOCKS", 1000)
    monkeypatch.setattr(collector, "_left", sys.getallocatedblocks())  # whatever other tests have let go since
    thing = Thing()
    thing.held = thing
    held = make_much()
    gone = weakref.ref(thing)
    del thing
    gc.collect()
    assert gone() is not None
    monkeypatch.setattr(module, "QUIET", -1.0)
    collector.look()
    assert gone() is not None  # it is busy
    monkeypatch.setattr(module, "QUIET", 1e9)
    there = [True]
    collector.anybody = lambda: bool(there)
    collector.look()
    assert gone() is not None  # somebody is there who would be held up
    there.clear()
    collector.look()
    assert gone() is None, len(held)


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library gives nothing back when asked"
)
def test_what_is_free_goes_back_to_the_system_at_a_quiet_moment(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUIET", 2.0)  # of one processor: more than a loop can be at work
    many = [bytes(2000) for _ in range(40_000)]
    del many[:-1:2]
    much = resident(os.getpid())
    many = many[::100]
    collector.anybody = lambda: True
    collector.look()
    assert resident(os.getpid()) > much - 10 * MEGABYTE  # it lies between what is in use
    collector.anybody = lambda: False
    collector.look()
    assert resident(os.getpid()) < much - 20 * MEGABYTE
    assert len(many) > 100


def test_no_collection_looks_at_much(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where old things go while new ones come, the collector's count of what is new stands still."""
    looked: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            looked.append(sum(len(gc.get_objects(generation=number)) for number in range(info["generation"] + 1)))

    gc.callbacks.append(note)  # behind the collector's own: it sees what is left to be looked at
    try:
        old = make_much()
        gc.collect()
        collections = len(looked)
        new = []
        for number in range(FULL):
            old.pop()
            new.append([number])
        held = make_much()
        assert len(looked) > collections
    finally:
        gc.callbacks.remove(note)
    assert len(new) + len(held) == 2 * FULL
    assert max(looked) <= module.MOST_OBJECTS + 10  # what this test itself makes is there, too


def test_much_that_is_frozen_is_looked_at_however_busy_it_is(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUIET", -1.0)
    monkeypatch.setattr(module, "MUCH_BLOCKS", FULL // 2)
    monkeypatch.setattr(collector, "_left", sys.getallocatedblocks() // 2)  # whatever other tests have left
    cycles = [Thing() for _ in range(5 * FULL)]
    for thing in cycles:
        thing.held = thing
    gone = weakref.ref(cycles[0])
    del cycles, thing
    if gone() is not None:
        collector.look()
    assert gone() is None


def test_afterwards_the_collector_is_as_it_was() -> None:
    before = gc.get_threshold(), list(gc.callbacks)
    with Collector().at_work():
        assert gc.get_threshold() == module.THRESHOLDS
    assert (gc.get_threshold(), list(gc.callbacks)) == before
    assert not gc.get_freeze_count()


def test_it_keeps_out_of_the_way_of_a_start_and_is_left_as_it_was() -> None:
    with importing():
        assert not gc.isenabled()
        with importing():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


@pytest.fixture
def kept() -> Iterator[Callable[[], list[object]]]:
    """No collections in here; asked for what of ours is garbage that only a collection would find."""

    def garbage() -> list[object]:
        gc.collect()
        ours = [one for one in gc.garbage if type(one).__module__.startswith(("scanstream", "uvicorn"))]
        gc.garbage.clear()
        return ours

    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield garbage
    finally:
        gc.set_debug(0)
        gc.enable()
        gc.garbage.clear()


def living() -> Counter[str]:
    """Of connections: how many of each kind live, garbage or not. A circle that leads through a generator is broken
    before the collector counts, which so tells nothing of it."""
    kinds = [kind for kind in map(type, gc.get_objects()) if kind not in (StatusAnswer, Whole)]  # kept for each scan
    served = ("scanstream.push", "uvicorn", "websockets.server")
    return Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith(served))


@pytest.mark.anyio
async def test_scans_come_and_go_without_cycles(kept: Callable[[], list[object]]) -> None:
    async with open_core(Settings(data=":memory:", port=0, fresh=0, retention=0.5)) as core:

        async def scan() -> None:
            ack = await core.desk.register(ANYONE, ONE)
            core.desk.release(ack.scan_id)
            with anyio.fail_after(30):
                await core.hub.until(ack.scan_id, lambda log: log.ended)

        await scan()
        kept()
        for _ in range(5):
            await scan()
        await core.store.barrier()
        assert kept() == []


@pytest.mark.anyio
async def test_connections_and_requests_come_and_go_without_cycles(
    serve: Serve, kept: Callable[[], list[object]]
) -> None:
    async with serve(fresh=0) as url:

        async def everything() -> None:
            async with websocket(url) as socket:
                await socket.send(type="subscribe", scan_id="no scan")
                assert (await socket.receive())["type"] == "error"
                await socket.send(type="discover", request=ONE_QUICK_SCAN)
                while (message := await socket.receive())["type"] != "end":
                    pass
            scan_id = message["scan_id"]
            for path in (f"results/{scan_id}", f"status/{scan_id}?wait=1", f"events/{scan_id}", "status/none", "scans"):
                await request(url, "GET", f"/opportunities/{path}")
            for follow in ([{"scan_id": scan_id}], [{"scan_id": "no scan"}], [], 2 * [{"scan_id": scan_id}]):
                for accept in ("application/json", "text/event-stream"):
                    asked = msgspec.json.encode({"follow": follow})
                    await request(url, "POST", "/opportunities/follow", asked, {"accept": accept})

        with anyio.fail_after(60):
            await everything()
            kept()
            before = living()
            for _ in range(3):
                await everything()
            assert {kind: more for kind, more in (living() - before).items() if more >= 3} == {}
            left = kept()
            assert left == []


@pytest.mark.anyio
async def test_those_who_wait_over_http_come_and_go_without_cycles(
    serve: Serve, kept: Callable[[], list[object]]
) -> None:
    async with serve(workers=0) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        path = f"/opportunities/status/{scan_id}"
        with anyio.fail_after(30):
            while (now := await request(url, "GET", path)).json()["phase"] != "running":
                pass
        held = get(f"{path}?wait=60").replace(b"\r\n\r\n", f"\r\nIf-None-Match: {now.headers['etag']}\r\n\r\n".encode())

        async def readers(count: int) -> None:
            with anyio.fail_after(30):
                while b"\nscanstream_connections %d.0\n" % count not in (await request(url, "GET", "/metrics")).body:
                    pass

        body = msgspec.json.encode({"follow": [{"scan_id": scan_id, "since": now.json()["cursor"]}], "wait": 60})
        head = f"POST /opportunities/follow HTTP/1.1\r\nContent-Length: {len(body)}\r\nAccept: ".encode()
        waiting = [
            get(path) + held,
            get(path) + held.replace(b"\r\n", b"\r\nOrigin: http://127.0.0.1\r\n", 1),
            get(f"/opportunities/events/{scan_id}"),
            get(path) + get(f"/opportunities/results/{scan_id}?wait=60"),
            *(get(path) + head + it + b"\r\n" + HOST + b"\r\n" + body for it in (b"*/*", b"text/event-stream")),
            get(path) + held + get(f"/opportunities/results/{scan_id}?wait=60") + get(path),
        ]

        async def everything() -> None:
            with ExitStack() as stack:
                connections = [stack.enter_context(connected(url, asked)) for asked in waiting]
                for connection in connections:
                    await to_thread.run_sync(connection.recv, 100)
                await readers(len(waiting))
            await readers(0)

        await everything()
        kept()
        before = living()
        for _ in range(3):
            await everything()
        assert {kind: more for kind, more in (living() - before).items() if more >= 3} == {}
        assert kept() == []


def test_what_another_thread_lets_go_ends_there_though_it_was_just_counted() -> None:
    ended: set[int] = set()
    over = threading.Event()

    class Kept:
        def __init__(self) -> None:
            self.something: list[int] = []

        def __del__(self) -> None:
            ended.add(threading.get_ident())

    def come_and_go() -> None:
        while not over.is_set():
            Kept()

    thread = threading.Thread(target=come_and_go)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        for _ in range(2000):
            _beyond(1000, 0)
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(interval)

    assert ended == {thread.ident}

"""Ctrl-C in the client without `await`: out within half a second, whatever is in the way, and the scan lives on.

Measured in the interrupted process: from the signal to the `KeyboardInterrupt` that has left the call, and the client.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from statistics import median
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from client.programs import heed_interrupts
from client.test_client import SECONDS
from scanstream.client import Client
from scanstream.client.living import _waited
from support.script import Script
from wire.proxy import Faults, Proxy, running

Trouble = Callable[[Proxy], AbstractContextManager[None]]

OUT_SECONDS = 0.5
FEW = 60
EXIT_SECONDS = 5
"""The interpreter's own end, on a machine that is busy with other things; a lookup that hangs takes 60 s here."""

PROGRAM = """
import json, os, signal, sys, threading, time
from scanstream.client import Client
from scanstream.client.living import _waited

def waits(main=threading.main_thread().ident):
    frame, names = sys._current_frames()[main], []
    while frame:
        names.append(frame.f_code.co_filename)
        frame = frame.f_back
    return names[0] == threading.__file__ and any(name.endswith("living.py") for name in names)

def interrupt():
    while not waits():
        time.sleep(0.01)
    at["signal"] = time.monotonic()
    os.kill(os.getpid(), signal.SIGINT)

for line in sys.stdin:
    url, request, call = json.loads(line)
    at = {}
    try:
        with Client(url) as client:
            scan = client.discover(**request)  # an identical one is under way
            while client.connection.state != "live":
                time.sleep(0.01)
            print("following", flush=True)
            sys.stdin.readline()
            threading.Thread(target=interrupt, daemon=True).start()
            try:
                eval(compile(call, call, "eval"))  # of a text it would make the exit code that of a death by SIGINT
            finally:
                at["call"] = time.monotonic()
    except KeyboardInterrupt:
        at["client"] = time.monotonic()
    print(json.dumps([at["call"] - at["signal"], at["client"] - at["signal"]]), flush=True)
print(time.monotonic(), flush=True)
"""
WAITS = ["scan.wait()", "scan.results()", "[*scan]"]
ASKS = [
    "client.discover(strategy_ids=['tsmom'], timeout=None)",
    "client.watch('latest', timeout=None)",
    "client.market()",
    "scan.cancel()",
]


@contextmanager
def well(proxy: Proxy) -> Iterator[None]:
    """Nothing is wrong."""
    del proxy
    yield


@contextmanager
def frozen(proxy: Proxy) -> Iterator[None]:
    """Connections stay open, and nothing passes; no new one answers."""
    proxy.faults.delay = 60
    proxy.freeze()
    yield
    proxy.faults.delay = 0


@contextmanager
def gone(proxy: Proxy) -> Iterator[None]:
    """Whoever asks is hung up on, and what was open is cut."""
    proxy.faults.hang_up, proxy.faults.drop_after = True, 1
    proxy.freeze()
    yield
    proxy.faults.hang_up, proxy.faults.drop_after = False, 0


@pytest.mark.parametrize(
    ("trouble", "calls"), [(well, WAITS), (frozen, WAITS + ASKS), (gone, WAITS + ASKS)], ids=["well", "frozen", "gone"]
)
def test_ctrl_c_is_out_at_once_and_the_scan_lives_on(
    server: str, portal: BlockingPortal, script: Script, trouble: Trouble, calls: list[str]
) -> None:
    with Client(server) as client, running(server, Faults()) as proxy:
        request = script.request(shards=1)
        scan = client.discover(**request)
        shard = portal.call(script.started)
        with program(PROGRAM) as process:
            taken = [interrupted(process, proxy, trouble, [request, call]) for call in calls * (9 // len(calls))]
            out, errors = process.communicate(timeout=SECONDS)
            assert (process.returncode, errors) == (0, "")
            assert time.monotonic() - float(out) < EXIT_SECONDS
        left_call, left_client = zip(*taken, strict=True)
        assert max(median(left_call), median(left_client)) < OUT_SECONDS, taken
        portal.call(shard.tell, "find 1", "end")
        assert scan.wait(SECONDS)["status"] == "complete"


@contextmanager
def program(code: str, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    """A process that runs this; it ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,  # noqa: PLW1509  # touches no lock
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=SECONDS)


def interrupted(
    process: "subprocess.Popen[str]", proxy: Proxy, trouble: Trouble, told: list[Any]
) -> tuple[float, float]:
    """Seconds from the signal until the interrupt had left the call, and the client."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([proxy.url, *told]) + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "following\n"
    with trouble(proxy):
        process.stdin.write("\n")
        process.stdin.flush()
        left_call, left_client = json.loads(process.stdout.readline())
    return left_call, left_client


HANGING = """
import os, signal, socket, sys, threading, time
from scanstream.client import Client
from scanstream.client.living import _waited

def hang(*_, **__):
    hanging.set()
    time.sleep(60)

def interrupt():
    hanging.wait()
    at["signal"] = time.monotonic()
    os.kill(os.getpid(), signal.SIGINT)

at, hanging, token = {}, threading.Event(), None
if sys.argv[1] == "name server":
    socket.getaddrinfo = hang
else:
    token = hang
threading.Thread(target=interrupt, daemon=True).start()
try:
    with Client("http://scanstream.example:8000", token=token) as client:
        if sys.argv[1] == "signal":  # it comes to another thread, as if it had come just before the wait
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        client.market()
except KeyboardInterrupt:
    print(time.monotonic() - at["signal"], time.monotonic(), flush=True)
"""


@pytest.mark.parametrize("what", ["name server", "token", "signal"])
def test_what_hangs_where_the_client_lives_holds_up_neither_ctrl_c_nor_the_end_of_the_program(what: str) -> None:
    taken, ends = [], []
    for _ in range(3):
        with program(HANGING, what) as process:
            shown, errors = process.communicate(timeout=SECONDS)
            left, out = map(float, shown.split())
            taken.append(left)
            ends.append(time.monotonic() - out)
            assert (process.returncode, errors) == (0, "")
    assert median(taken) < OUT_SECONDS, taken
    assert median(ends) < EXIT_SECONDS, ends


OPENING = """
import os, signal, threading
from scanstream.client import Client
from scanstream.client.living import _waited
from scanstream.client.client import AsyncClient

opening = AsyncClient.__aenter__

async def slow(self):
    os.kill(os.getpid(), signal.SIGINT)
    return await opening(self)

AsyncClient.__aenter__ = slow
try:
    with Client():
        raise AssertionError
except KeyboardInterrupt:
    for thread in threading.enumerate():
        if thread.name == "scanstream.client":
            thread.join(30)
    print([thread.name for thread in threading.enumerate()])
"""


def test_a_client_that_is_interrupted_while_it_opens_leaves_no_thread() -> None:
    with program(OPENING) as process:
        shown, errors = process.communicate(timeout=SECONDS)
    assert (shown, errors) == ("['MainThread']\n", "")


ANY_MOMENT = """
import signal, sys, threading, time
from scanstream.client import Client
from scanstream.client.living import _waited

signal.signal(signal.SIGALRM, signal.default_int_handler)
times, rounds, slow = int(sys.argv[1]), 0, []
for _ in range(2):  # the first one takes longer
    began = time.perf_counter()
    with Client() as client:
        client.reconnect()
    whole = time.perf_counter() - began
for number in range(times):
    at = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-5 + whole * 0.8 * number / times)
        at += signal.getitimer(signal.ITIMER_REAL)[0]
        with Client() as client:
            client.reconnect()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        rounds += 1
        slow.append(time.monotonic() - at)
        client = None
def threads():  # Python goes on listing one whose start was interrupted before there was any
    return [thread.name for thread in threading.enumerate() if thread.is_alive()]

until = time.monotonic() + 30
while len(threads()) > 1 and time.monotonic() < until:
    time.sleep(0.01)
print(threads(), rounds > 0, sorted(slow)[len(slow) // 2])
"""


def test_one_that_comes_while_python_takes_a_lock_is_one_all_the_same() -> None:
    class Torn(Future[None]):
        def exception(self, timeout: float | None = None) -> None:
            try:
                raise KeyboardInterrupt
            finally:
                threading.Lock().release()  # as `threading.Condition` does that was not entered

    with pytest.raises(KeyboardInterrupt):
        _waited(Torn())


@pytest.mark.parametrize("times", [FEW, pytest.param(2000, marks=pytest.mark.soak)])
def test_whenever_it_comes_while_a_client_opens_asks_or_closes_no_thread_is_left(times: int) -> None:
    with program(ANY_MOMENT, str(times)) as process:
        shown, errors = process.communicate(timeout=3 * SECONDS)
    assert times > FEW or "scanstream" not in errors  # Python tells where a callback of its own was interrupted
    threads, interrupted, took = shown.rsplit(" ", 2)
    assert (threads, interrupted) == ("['MainThread']", "True")
    assert float(took) < OUT_SECONDS

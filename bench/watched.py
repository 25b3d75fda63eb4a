"""`scanstream serve` with a watch over its loop: every step of it is timed, by its CPU and on the clock.

    python bench/watched.py serve --port 0 --data :memory:

The loop is uvloop's, as in use. What Python schedules in it (steps of tasks, callbacks, timers, readers of pipes) and
what it calls of a connection are timed one by one; what uvloop does itself, in C, is in the time of the turn. A line on
standard input ends a part of the watch, and what was seen in it is printed as one line of JSON behind `WATCHED`. One
letter of a signal each 2 ms looks where a long step is: the stack names the culprit. The price is some 2 µs a step.
"""

import asyncio
import gc
import json
import os
import signal
import sys
import threading
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, NoReturn

import numpy as np
import uvloop

from scanstream import cli, leaving
from scanstream.market.synthetic import SyntheticMarket
from scanstream.push.transport.http import HttpTransport
from scanstream.push.transport.websocket import WebSocketTransport
from scanstream.settings import Settings

TOLD_SECONDS = 0.002
"""A step, a turn or a pause above this is told."""
LOOK_SECONDS = 0.002
MOST_TOLD = 8
SCHEDULING = {
    "call_soon": 0,
    "call_soon_threadsafe": 0,
    "call_later": 1,
    "call_at": 1,
    "add_reader": 1,
    "add_writer": 1,
}
"""The methods of a loop that take a callback, and how many arguments stand before it."""
OF_CONNECTIONS = ("connection_made", "connection_lost", "data_received", "eof_received", "resume_writing")
LARGE_MARKET = "SCANSTREAM_BENCH_LARGE_MARKET"
"""`<symbols>x<bars>` in the environment: a generated market of this size in place of the usual one."""
UNCOLLECTED = "SCANSTREAM_BENCH_UNCOLLECTED"
"""In the environment: no garbage collector, so that what else stops the loop is seen."""


class Part:
    """What was seen in one part of the watch."""

    def __init__(self) -> None:
        self.steps = array("f")
        """CPU seconds of each."""
        self.turns = array("f")
        """CPU seconds from when a callback was scheduled until it ran: what whoever comes has to wait for."""
        self.longest_steps: list[tuple[float, float, str]] = []
        """(CPU, wall, what it was) of the longest."""
        self.longest_turns: list[tuple[float, float, str]] = []
        self.held: list[tuple[float, str]] = []
        """(seconds that a step stood still without using the processor or waiting for it, what it was)."""
        self.collections: list[tuple[float, str]] = []

    def told(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "steps": len(self.steps),
            "step_999": _centile(self.steps),
            "turn_999": _centile(self.turns),
            "longest_turn": max(self.turns, default=0.0),
            "longest_step": max(self.steps, default=0.0),
            "longest_steps": self.longest_steps,
            "longest_turns": self.longest_turns,
            "held": self.held,
            "collections": self.collections,
        }


def _centile(values: "array[float]") -> float:
    return float(np.quantile(np.frombuffer(values, np.float32), 0.999)) if values else 0.0


def _keep(longest: list[Any], item: Any) -> None:
    longest.append(item)
    longest.sort(reverse=True)
    del longest[MOST_TOLD:]


class Watch:
    """Over the steps of one loop, in the thread that makes it."""

    def __init__(self) -> None:
        self.part = Part()
        self._schedule: Callable[..., Any] = lambda *_: None
        self._callback: Any = None
        """What is run just now; None between two steps."""
        self._began = 0.0
        self._seen: Counter[str] = Counter()
        self._marked = False
        self._looking = False
        self._turn: deque[tuple[Any, float]] = deque(maxlen=50_000)
        self._collected = 0.0
        self._schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        self._waited = 0.0
        self._thread = threading.get_ident()

    def begin(self, schedule: Callable[..., Any]) -> None:
        """`schedule`: the loop's own `call_soon`."""
        self._schedule = schedule
        gc.callbacks.append(self._collect)
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)

    def run(self, callback: Callable[..., Any], *arguments: Any) -> Any:
        """One step."""
        if self._callback is not None:
            return callback(*arguments)
        if not self._marked:
            self._marked = True
            self._schedule(self._mark, time.thread_time(), time.perf_counter())
        self._callback = callback
        wall = time.perf_counter()
        self._began = cpu = time.thread_time()
        try:
            return callback(*arguments)
        finally:
            self._end(time.thread_time() - cpu, time.perf_counter() - wall)

    def _end(self, cpu: float, wall: float) -> None:
        callback, self._callback = self._callback, None
        self.part.steps.append(cpu)
        self._turn.append((callback, cpu))
        if wall > TOLD_SECONDS:
            before, self._waited = self._waited, self._waited_for_a_processor()
            name = _name(callback)
            if cpu > TOLD_SECONDS:
                _keep(self.part.longest_steps, (cpu, wall, f"{name}{self._where()}"))
            held = wall - cpu - (self._waited - before)
            if held > TOLD_SECONDS:
                _keep(self.part.held, (held, f"{name}{self._where()}"))
        if self._seen:
            self._seen.clear()

    def _where(self) -> str:
        return "".join(f" < {stack}" for stack, _ in self._seen.most_common(1))

    def _waited_for_a_processor(self) -> float:
        with suppress(OSError, ValueError, IndexError):
            return int(os.pread(self._schedstat, 100, 0).split()[1]) / 1e9
        return 0.0

    def _mark(self, cpu: float, wall: float) -> None:
        self._marked = False
        spent = time.thread_time() - cpu
        self.part.turns.append(spent)
        if spent > TOLD_SECONDS:
            shares: Counter[str] = Counter()
            times: Counter[str] = Counter()
            for callback, seconds in self._turn:
                shares[_name(callback)] += int(seconds * 1e6)
                times[_name(callback)] += 1
            steps = ", ".join(f"{times[name]} × {name} {spent / 1e3:.1f}" for name, spent in shares.most_common(3))
            own = spent - sum(seconds for _, seconds in self._turn)
            told = f"{steps}, uvloop {1e3 * own:.1f} ms"
            _keep(self.part.longest_turns, (spent, time.perf_counter() - wall, told))
        self._turn.clear()

    def _look(self, _number: int, frame: FrameType | None) -> None:
        """Of this thread only: to ask for the frames of others now and then hangs (CPython's gh-106883)."""
        """Never within itself: the interpreter holds a lock while it lists the frames, and may collect meanwhile."""
        if self._looking:
            return
        self._looking = True
        try:
            self._see(frame)
        finally:
            self._looking = False

    def _see(self, frame: FrameType | None) -> None:
        if self._callback is not None and time.thread_time() - self._began > TOLD_SECONDS / 2:
            self._seen[_stack(frame)] += 1

    def _collect(self, phase: str, info: dict[str, int]) -> None:
        if threading.get_ident() != self._thread:
            return
        if phase == "start":
            self._collected = time.thread_time()
        elif (pause := time.thread_time() - self._collected) > TOLD_SECONDS:
            self._seen[f"garbage collection, generation {info['generation']}"] += int(pause / LOOK_SECONDS)
            _keep(self.part.collections, (pause, f"generation {info['generation']}, {info['collected']} collected"))

    def cut(self) -> dict[str, Any]:
        """End a part; what was seen in it."""
        part, self.part = self.part, Part()
        return part.told()


def _name(callback: Any) -> str:
    """Of a step of a task that of its coroutine, which anyio gives the task for a name."""
    while isinstance(callback, partial):
        callback = callback.func
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        name, coroutine = owner.get_name(), owner.get_coro()
        if name.startswith("Task-"):
            return str(getattr(coroutine, "__qualname__", name))
        return f"{name.removeprefix('scanstream.')}{_waits(coroutine)}"
    return str(getattr(callback, "__qualname__", type(callback).__name__))


def _waits(coroutine: Any) -> str:
    """Which function of ours a task has come to, at the end of its step."""
    place = ""
    while (inner := getattr(coroutine, "cr_await", None)) is not None:
        coroutine = inner
        code = getattr(coroutine, "cr_code", None)
        if code is not None and "scanstream/" in code.co_filename:
            place = f" ({code.co_qualname})"
    return place


def _stack(frame: FrameType | None, most: int = 4) -> str:
    """The innermost frames, the last one first."""
    places: list[str] = []
    while frame is not None and len(places) < most:
        code = frame.f_code
        if code.co_filename == __file__:
            break
        file = code.co_filename.partition("site-packages/")[2] or code.co_filename.rpartition("scanstream/")[2]
        places.append(f"{file}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " < ".join(places)


class WatchedLoop(uvloop.Loop):
    """uvloop's, in which whatever Python schedules is a step of the watch."""

    def __init__(self) -> None:
        super().__init__()
        WATCH.begin(super().call_soon)


def _scheduled(method: Callable[..., Any], before: int) -> Callable[..., Any]:
    """A method of the loop that takes a callback behind so many other arguments."""

    def scheduled(self: Any, *arguments: Any, **options: Any) -> Any:
        return method(self, *arguments[:before], WATCH.run, *arguments[before:], **options)

    return scheduled


def _watched(method: Callable[..., Any]) -> Callable[..., Any]:
    def watched(self: Any, *arguments: Any) -> Any:
        return WATCH.run(partial(method, self), *arguments)

    return watched


def _say() -> None:
    sys.stdout.write(f"WATCHED {json.dumps(WATCH.cut())}\n")
    sys.stdout.flush()


def _listen() -> None:
    for _ in sys.stdin:
        _say()
    os.kill(os.getpid(), signal.SIGTERM)  # whoever started this server is gone


def main() -> None:
    """Serve."""
    for name, before in SCHEDULING.items():
        setattr(WatchedLoop, name, _scheduled(getattr(uvloop.Loop, name), before))
    uvloop.new_event_loop = WatchedLoop  # what anyio asks for
    for kind in (HttpTransport, WebSocketTransport):
        for name in OF_CONNECTIONS:
            setattr(kind, name, _watched(getattr(kind, name)))
    if size := os.environ.get(LARGE_MARKET):
        symbols, bars = map(int, size.split("x"))
        setattr(Settings, "open_market", lambda _: SyntheticMarket(symbols=symbols, bars=bars))  # noqa: B010
    if UNCOLLECTED in os.environ:
        gc.disable()
        setattr(gc, "enable", gc.disable)  # noqa: B010
    leave = leaving.Leaving.leave

    def say_and_leave(self: leaving.Leaving, status: int) -> NoReturn:
        with suppress(OSError):  # nobody reads it any more
            _say()
        leave(self, status)

    setattr(leaving.Leaving, "leave", say_and_leave)  # noqa: B010  # the types say that it has one
    threading.Thread(target=_listen, name="bench", daemon=True).start()
    cli.main()


WATCH = Watch()

if __name__ == "__main__":
    main()

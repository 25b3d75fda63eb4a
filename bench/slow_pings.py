"""What the slowest pings beside a full scan have waited for, told by the kernel's scheduler.

    sudo python bench/slow_pings.py [--workers N] [--pings N]

The same pings as quiet_loop.py's, while every switch of a processor is recorded (tracefs; that needs root). Between a
ping and its pong either the client or the server's loop is at work, or one of them could run and something else has its
processor, or both wait for something else. The table says how the time of the slowest hundredth divides among these.
Recording costs something: read the shares here, and the ratio there.
"""

import argparse
import asyncio
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from websockets.asyncio.client import ClientConnection, connect

from quiet_loop import PAUSE_SECONDS, centile, load, pings
from serving import server

TRACING = Path("/sys/kernel/tracing")
EVENTS = ("sched_switch", "sched_wakeup")
BUFFER_KIB = 131_072
SLOWEST = 100
"""One ping of so many."""
LINE = re.compile(r"\s*.+-(?P<thread>\d+)\s+\[(?P<core>\d+)\]\s+\S+\s+(?P<at>[\d.]+): (?P<event>\w+): (?P<rest>.*)")
SWITCH = re.compile(r"prev_comm=.* prev_pid=(\d+) .* prev_state=(\S+) ==> next_comm=(.*) next_pid=(\d+) ")
WAKEUP = re.compile(r"comm=.* pid=(\d+) .*target_cpu=(\d+)")
CLIENT, LOOP = "the client at work", "the server's loop at work"
ELSEWHERE = "both wait for another thread"


@dataclass
class Cores:
    """Who has each processor, and which of the two threads could run, and where."""

    client: int
    loop: int
    workers: set[int]
    running: dict[int, tuple[int, str]] = field(default_factory=dict)
    ready: dict[int, int] = field(default_factory=dict)

    def take(self, core: int, event: str, rest: str) -> None:
        """One event more."""
        if event == "sched_switch" and (switch := SWITCH.match(rest)):
            before, state, name, after = switch.groups()
            if int(before) in (self.client, self.loop) and state.startswith("R"):
                self.ready[int(before)] = core
            self.ready.pop(int(after), None)
            self.running[core] = int(after), name
        elif event == "sched_wakeup" and (woken := WAKEUP.match(rest)) and int(woken[1]) in (self.client, self.loop):
            self.ready[int(woken[1])] = int(woken[2])

    def cause(self) -> str:
        """What the time goes to that passes now."""
        threads = [thread for thread, _ in self.running.values()]
        for thread, name in ((self.loop, LOOP), (self.client, CLIENT)):
            if thread in threads:
                return name
        for thread, name in ((self.loop, "the loop"), (self.client, "the client")):
            if thread in self.ready:
                return f"{name} could run, and its processor has {self._who(self.ready[thread])}"
        return ELSEWHERE

    def _who(self, core: int) -> str:
        thread, name = self.running.get(core, (0, ""))
        if thread == 0:
            return "nobody: it wakes up"
        if thread in self.workers:
            return "a worker"
        return "something of the kernel" if _of_kernel(thread) else f"another process ({name})"


def _of_kernel(thread: int) -> bool:
    try:
        return Path(f"/proc/{thread}/cmdline").read_bytes() == b""
    except OSError:
        return False


@dataclass
class Ping:
    """Milliseconds from ping to pong, in all and by cause."""

    began: float
    by_cause: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    taken: float = 0.0


def main() -> int:
    """Record, divide, print; the exit code."""
    asked = argparse.ArgumentParser(description="What the slowest pings beside a full scan have waited for.")
    asked.add_argument("--workers", type=int, default=2, help="of the server (2)")
    asked.add_argument("--pings", type=int, default=2000, help="so many (2000)")
    flags = asked.parse_args()
    if not os.access(TRACING / "trace_marker", os.W_OK):
        print(f"{TRACING} cannot be written to: this needs root, and tracefs mounted there.", file=sys.stderr)
        return 2
    with server(":memory:", "--workers", str(flags.workers)) as url:
        recorded = uvloop.run(record(url, flags.pings))
    show(recorded)
    return 0


async def record(url: str, number: int) -> list[Ping]:
    """The pings of a loaded server, each with what its time went to."""
    loop = _listening(int(url.rpartition(":")[2]))
    async with connect(f"ws{url.removeprefix('http')}/ws") as connection:
        with load(url):
            await pings(connection)
        with load(url):
            workers = set(_workers(loop))
            with recording():
                await marked(connection, number)
            workers |= set(_workers(loop))
    with (TRACING / "trace").open(errors="replace") as lines:
        return list(divided(Cores(os.getpid(), loop, workers), lines))


async def marked(connection: ClientConnection, number: int) -> None:
    """Pings, the begin and the end of each written into the recording."""
    with (TRACING / "trace_marker").open("wb", buffering=0) as marker:
        for _ in range(number):
            await asyncio.sleep(PAUSE_SECONDS)
            marker.write(b"ping\n")
            await connection.send('{"type": "ping"}')
            await connection.recv()
            marker.write(b"pong\n")


@contextmanager
def recording() -> Iterator[None]:
    """The scheduler's events, from here to the end of the block."""

    def turn(on: bool) -> None:
        (TRACING / "tracing_on").write_text(str(int(on)))
        for event in EVENTS:
            (TRACING / "events/sched" / event / "enable").write_text(str(int(on)))

    (TRACING / "buffer_size_kb").write_text(str(BUFFER_KIB))
    (TRACING / "trace").write_text("")
    turn(True)
    try:
        yield
    finally:
        turn(False)


def divided(cores: Cores, lines: Iterable[str]) -> Iterator[Ping]:
    """What was recorded (the text of tracefs), ping by ping."""
    ping, before = None, 0.0
    for read in filter(None, map(LINE.match, lines)):
        at = float(read["at"])
        if ping is not None:
            ping.by_cause[cores.cause()] += (at - before) * 1000
        before = at
        if read["event"] != "tracing_mark_write":
            cores.take(int(read["core"]), read["event"], read["rest"])
            continue
        cores.running[int(read["core"])] = cores.client, ""
        if ping is not None:
            ping.taken = (at - ping.began) * 1000
            yield ping
        ping = Ping(at) if read["rest"] == "ping" else None


def show(recorded: list[Ping]) -> None:
    """The slowest, beside all."""
    taken = [ping.taken for ping in recorded]
    slowest = sorted(recorded, key=lambda ping: ping.taken)[-max(1, len(recorded) // SLOWEST) :]
    print(f"{len(recorded)} pings: p50 {centile(taken, 50):.2f} ms, p99 {centile(taken, 99):.2f} ms")
    print(f"\n  a ping    of the slowest {len(slowest)}    ms, on average")
    whole, slow = averages(recorded), averages(slowest)
    for cause, spent in sorted(slow.items(), key=lambda item: -item[1]):
        print(f"  {whole[cause]:6.3f}    {spent:6.3f}                {cause}")


def averages(pings: list[Ping]) -> dict[str, float]:
    """Milliseconds of each cause, of one ping."""
    causes = {cause for ping in pings for cause in ping.by_cause}
    return {cause: sum(ping.by_cause.get(cause, 0.0) for ping in pings) / len(pings) for cause in causes}


def _listening(port: int) -> int:
    """The process that listens on a port of this machine."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {
        f"socket:[{line[9]}]" for line in lines if line[3] == "0A" and int(line[1].partition(":")[2], 16) == port
    }
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if sockets & {str(name.readlink()) for name in (process / "fd").iterdir()}:
                return int(process.name)
        except OSError:
            continue
    raise RuntimeError(f"nobody listens on port {port}")


def _workers(loop: int) -> Iterator[int]:
    """The threads of the server's children."""
    for process in Path(f"/proc/{loop}/task/{loop}/children").read_text().split():
        try:
            yield from (int(thread.name) for thread in Path(f"/proc/{process}/task").iterdir())
        except OSError:
            continue


if __name__ == "__main__":
    sys.exit(main())

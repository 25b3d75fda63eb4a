"""One scan, many readers: CPU of the server for one delivery, a message to a reader.

CPU of a run with N readers less that of the same run with one, by the messages that the N had more. So what an update
costs once (its append, its fold, its frame) is no part of it.
"""

import argparse
from contextlib import ExitStack
from typing import NamedTuple

from instrument.crowd import Crowd, following
from instrument.figures import Result, Sheet, Verdict, at_most, repetitions
from instrument.machine import progress
from instrument.servers import (
    BATCHING_FLOOR,
    FLOOR,
    NAIVE,
    NODE_SOCKETIO,
    NODE_WS,
    SCANSTREAM,
    SOCKETIO,
    WEBSOCKETS,
    Server,
    choice,
    kinds,
    present,
    running,
)

NAME = "fanout"
ABOUT = "CPU of the server a delivery, one update a tick"


class Size(NamedTuple):
    """A number of readers, and what is broadcast to them."""

    readers: int
    updates: int
    milliseconds: float
    """Between two updates: long enough for every server to be done, and for each to be a frame of its own."""


SIZES = {
    100: Size(100, 80, 30),
    1_000: Size(1_000, 60, 30),
    5_000: Size(5_000, 15, 75),
    10_000: Size(10_000, 10, 150),
}


def size_of(readers: int) -> Size:
    """What is broadcast to so many."""
    return SIZES.get(readers) or Size(readers, 60, max(30.0, readers * 0.012))


BRIEF_MILLISECONDS = 30.0
"""Between two updates to one reader: nothing to wait for, but each is to be a frame of its own."""


class Side(NamedTuple):
    """A server with its readers, and the same with one."""

    server: Server
    crowd: Crowd
    alone: Server
    reader: Crowd


def opened(stack: ExitStack, name: str, readers: int, *flags: str) -> tuple[Server, Crowd]:
    """A server with so many readers, until the stack is closed."""
    server = stack.enter_context(running(name, *flags))
    server.begin_scans()
    return server, stack.enter_context(following(server, readers))


def side(stack: ExitStack, name: str, readers: int) -> Side:
    """Both of them."""
    return Side(*opened(stack, name, readers), *opened(stack, name, 1))


class Spent(NamedTuple):
    """What one run of a side has cost: of the readers beyond the one that the server has alone."""

    cpu: float
    """Seconds."""
    messages: int
    updates: int

    @property
    def a_message(self) -> float:
        """Microseconds of CPU."""
        return self.cpu / self.messages * 1e6

    @property
    def an_update(self) -> float:
        """Microseconds of CPU, where one message may tell of several."""
        return self.cpu / self.updates * 1e6


def spent(side: Side, updates: int, per_tick: int, milliseconds: float) -> Spent:
    """By the many readers, less by the one."""
    runs = []
    brief = min(milliseconds, BRIEF_MILLISECONDS)
    for server, crowd, between in ((side.server, side.crowd, milliseconds), (side.alone, side.reader, brief)):
        before = server.cpu()
        taken = crowd.take(server, updates=updates, per_tick=per_tick, milliseconds=between)
        runs.append(Spent(server.cpu() - before, taken.messages, taken.updates))
    many, one = runs
    return Spent(many.cpu - one.cpu, many.messages - one.messages, many.updates - one.updates)


def flags(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--readers", type=int, nargs="+", default=list(SIZES), help="how many (default: all sizes)")
    parser.add_argument("--updates", type=int, help="how many are broadcast in a run (default: by the size)")
    choice(parser)


def measure(asked: argparse.Namespace) -> Result:
    """All sizes; at each of them all servers in turn, again and again."""
    sheet = Sheet(NAME, "µs")
    for readers in asked.readers:
        size = size_of(readers)
        names = present(*(asked.servers or taking_part(readers)))
        progress(f"  {NAME}: {readers:,} readers of {', '.join(names)}")
        with ExitStack() as stack:
            sides = {name: side(stack, name, readers) for name in names}
            for _ in repetitions(NAME, asked.repetitions):
                for name in names:
                    run = spent(sides[name], asked.updates or size.updates, 1, size.milliseconds)
                    sheet.note(name, case(readers), run.a_message)
    return Result(sheet.figures(), verdicts(sheet))


def case(readers: int) -> str:
    """As tables have it."""
    return f"{readers:,} readers"


def taking_part(readers: int) -> list[str]:
    """Who is measured at this size."""
    if readers > 5_000:
        return [FLOOR, SCANSTREAM]
    return [
        name for name in kinds() if name not in ((BATCHING_FLOOR, SOCKETIO) if readers > 1_000 else (BATCHING_FLOOR,))
    ]


def verdicts(sheet: Sheet) -> list[Verdict]:
    """Against what the issue asks for."""
    thousand = case(1_000)
    found = at_most("CPU a delivery, 1,000 readers, against C", 1.6, sheet.ratios(SCANSTREAM, FLOOR, thousand))
    for other, bound in ((SOCKETIO, 1 / 8), (NAIVE, 1.0), (WEBSOCKETS, 1.0), (NODE_WS, 1.0), (NODE_SOCKETIO, 1.0)):
        found += at_most(f"… against {other}", bound, sheet.ratios(SCANSTREAM, other, thousand))
    growth = sheet.ratios(SCANSTREAM, SCANSTREAM, case(10_000), case(100))
    return found + at_most("CPU a delivery, 10,000 readers against 100", 2.0, growth)

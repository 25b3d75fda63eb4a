"""One scan, many readers: CPU of the server for one delivery, a message to a reader.

CPU of a run with N readers less that of the same updates with one, by the messages that the N had more. So what an
update costs once (its append, its fold, its frame) is no part of it. All servers of all sizes are up at once and take
turns.
"""

import argparse
from contextlib import ExitStack
from itertools import chain
from typing import NamedTuple

from instrument.crowd import Crowd, following
from instrument.figures import Cost, Result, Sheet, Verdict, at_most, repetitions
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
COST = Cost(40, 102)


class Size(NamedTuple):
    """A number of readers, and what is broadcast to them."""

    readers: int
    updates: int
    milliseconds: float
    """Between two updates: long enough for every server to be done, and for each to be a frame of its own."""


UPDATES = 120
FEWER = 24
"""To 5,000 readers and more. An update to them takes the slowest server a tenth of a second, so 120 would take a minute
and a half a repetition; and as they are 120,000 deliveries and more already, as with 120 to 1,000 readers, the figure
would not be steadier."""
BRIEF_MILLISECONDS = 30.0
"""Between two updates where nothing is to wait for but the server's tick of 25 ms: each is to be a frame of its own."""
SIZES = {
    100: Size(100, UPDATES, BRIEF_MILLISECONDS),
    1_000: Size(1_000, UPDATES, BRIEF_MILLISECONDS),
    5_000: Size(5_000, FEWER, 100),
    10_000: Size(10_000, FEWER, 150),
}
ALONE = 60
"""Updates to the one reader, at each repetition once for all sizes. What an update costs alone is the same for all."""


def size_of(readers: int) -> Size:
    """What is broadcast to so many."""
    return SIZES.get(readers) or Size(readers, UPDATES, max(BRIEF_MILLISECONDS, readers * 0.02))


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
    """What one run has cost."""

    cpu: float
    """Seconds."""
    broadcast: int
    messages: int
    updates: int
    """That came to readers: of each as many as were broadcast."""

    @property
    def a_message(self) -> float:
        """Microseconds of CPU."""
        return self.cpu / self.messages * 1e6

    @property
    def an_update(self) -> float:
        """Microseconds of CPU, where one message may tell of several."""
        return self.cpu / self.updates * 1e6

    def beyond(self, one: "Spent") -> "Spent":
        """Of the readers beyond the one that a run of the same server had, by as many updates."""
        share = self.broadcast / one.broadcast
        return Spent(
            self.cpu - one.cpu * share,
            self.broadcast,
            self.messages - round(one.messages * share),
            self.updates - round(one.updates * share),
        )


def ran(server: Server, crowd: Crowd, updates: int, per_tick: int, milliseconds: float) -> Spent:
    """One run."""
    before = server.cpu()
    taken = crowd.take(server, updates=updates, per_tick=per_tick, milliseconds=milliseconds)
    return Spent(server.cpu() - before, updates, taken.messages, taken.updates)


def spent(side: Side, updates: int, per_tick: int, milliseconds: float) -> Spent:
    """By the many readers, less by the one."""
    many = ran(side.server, side.crowd, updates, per_tick, milliseconds)
    return many.beyond(ran(side.alone, side.reader, updates, per_tick, min(milliseconds, BRIEF_MILLISECONDS)))


def flags(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--readers", type=int, nargs="+", default=list(SIZES), help="how many (default: all sizes)")
    parser.add_argument("--updates", type=int, help="how many are broadcast in a run (default: by the size)")
    choice(parser)


def measure(asked: argparse.Namespace) -> Result:
    """All servers of all sizes in turn, again and again."""
    sheet = Sheet(NAME, "µs")
    with ExitStack() as stack:
        sides = {readers: present(*(asked.servers or taking_part(readers))) for readers in asked.readers}
        alone = {name: opened(stack, name, 1) for name in dict.fromkeys(chain(*sides.values()))}
        crowds = {}
        for readers, names in sides.items():
            progress(f"  {NAME}: {readers:,} readers of {', '.join(names)}")
            crowds.update({(readers, name): opened(stack, name, readers) for name in names})
        for _ in repetitions(NAME, asked.repetitions):
            few = min(ALONE, asked.updates or ALONE)
            ones = {name: ran(*side, few, 1, BRIEF_MILLISECONDS) for name, side in alone.items()}
            for (readers, name), crowd in crowds.items():
                size = size_of(readers)
                many = ran(*crowd, asked.updates or size.updates, 1, size.milliseconds)
                sheet.note(name, case(readers), many.beyond(ones[name]).a_message)
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
    found = at_most(
        "CPU a delivery, 1,000 readers, one update a tick, against C", 1.6, sheet.ratios(SCANSTREAM, FLOOR, thousand)
    )
    for other, bound in ((SOCKETIO, 1 / 8), (NAIVE, 1.0), (WEBSOCKETS, 1.0), (NODE_WS, 1.0), (NODE_SOCKETIO, 1.0)):
        found += at_most(f"… against {other}", bound, sheet.ratios(SCANSTREAM, other, thousand))
    growth = sheet.ratios(SCANSTREAM, SCANSTREAM, case(10_000), case(100))
    return found + at_most("CPU a delivery, 10,000 readers against 100", 2.0, growth)

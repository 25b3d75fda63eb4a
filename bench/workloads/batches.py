"""Sixteen updates a tick to 1,000 readers: CPU of the server for one update to one reader.

Of our sixteen revisions four bring a result and twelve are progress: results are all delivered, progress is conflated,
and what counts is how far every reader got. The peers deliver each of the sixteen; the batching C server in one send().
"""

import argparse
from contextlib import ExitStack

from instrument.figures import Cost, Result, Sheet, at_most, repetitions
from instrument.servers import (
    BATCHING_FLOOR,
    FLOOR,
    NODE_SOCKETIO,
    SCANSTREAM,
    SOCKETIO,
    choice,
    kinds,
    present,
)
from workloads.fanout import side, spent

NAME = "batches"
ABOUT = "CPU of the server an update and reader, sixteen updates a tick"
COST = Cost(12, 17)
READERS = 1_000
PER_TICK = 16
TICKS = {FLOOR: 30, BATCHING_FLOOR: 30, SCANSTREAM: 30, SOCKETIO: 3, NODE_SOCKETIO: 4}
OTHER_TICKS = 10
"""Fewer for those who need longer: what counts is the CPU of one update."""
MOST_TICKS = 320
"""Over all repetitions: a scan has 4,096 shards, of which twelve of the sixteen revisions end one."""
TICK_MILLISECONDS = 25.0
CASE = "16 a tick, 1,000 readers"


def flags(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    choice(parser)


def measure(asked: argparse.Namespace) -> Result:
    """All servers in turn, again and again."""
    sheet = Sheet(NAME, "µs")
    names = present(*(asked.servers or kinds()))
    with ExitStack() as stack:
        sides = {name: side(stack, name, READERS) for name in names}
        for _ in repetitions(NAME, asked.repetitions):
            for name in names:
                updates = PER_TICK * min(TICKS.get(name, OTHER_TICKS), MOST_TICKS // asked.repetitions)
                run = spent(sides[name], updates, PER_TICK, TICK_MILLISECONDS)
                sheet.note(name, CASE, run.an_update)
    found = at_most(
        "Sixteen updates a tick, against C that batches", 2.0, sheet.ratios(SCANSTREAM, BATCHING_FLOOR, CASE)
    )
    found += at_most("… against python-socketio", 1 / 50, sheet.ratios(SCANSTREAM, SOCKETIO, CASE))
    return Result(sheet.figures(), found)

"""How long an update takes to 200 readers, 200 times a second.

From when the server has it (a peer: before it encodes it; scanstream: when it came out of the store, durable and not
yet folded) until the load has read it. scanstream once without a tick, once with its own, which is conflation on
purpose: 25 ms of it are the longest that an update may have to wait, and what is judged is the rest. The last column is
from the append on, with the disk.
"""

import argparse
from contextlib import ExitStack

from instrument.crowd import Crowd
from instrument.figures import Cost, Result, Sheet, at_most, repetitions
from instrument.servers import FLOOR, NAIVE, NODE_SOCKETIO, NODE_WS, SCANSTREAM, SOCKETIO, WEBSOCKETS, Server, present
from scanstream.push.flushes import TICK_SECONDS
from workloads.fanout import opened

NAME = "latency"
ABOUT = "latency to 200 readers at 200 updates a second"
COST = Cost(8, 21)
READERS = 200
UPDATES = 500
MOST_UPDATES = 4_000
"""Over all repetitions: a scan has 4,096 shards, of which each revision ends one."""
MILLISECONDS = 5.0
TICK_MILLISECONDS = 1000 * TICK_SECONDS
WITHOUT_TICK = "scanstream, tick 0"
CASE = "p99, 200 × 200/s"
MEDIAN = "p50, 200 × 200/s"


def flags(_parser: argparse.ArgumentParser) -> None:
    """Nothing can be asked for."""


def measure(asked: argparse.Namespace) -> Result:
    """All servers in turn, again and again."""
    sheet = Sheet(NAME, "ms")
    with ExitStack() as stack:
        names = present(FLOOR, SCANSTREAM, NAIVE, WEBSOCKETS, NODE_WS, NODE_SOCKETIO, SOCKETIO)
        sides: dict[str, tuple[Server, Crowd]] = {name: opened(stack, name, READERS) for name in names}
        sides[WITHOUT_TICK] = opened(stack, SCANSTREAM, READERS, "--tick", "0")
        count = min(UPDATES, MOST_UPDATES // asked.repetitions)
        for _ in repetitions(NAME, asked.repetitions):
            for name, (server, crowd) in sides.items():
                taken = crowd.take(server, updates=count, per_tick=1, milliseconds=MILLISECONDS)
                sheet.note(name, MEDIAN, taken.latency["p50"])
                sheet.note(name, CASE, taken.latency["p99"])
                if taken.whole:
                    sheet.note(name, "p99 from the append on", taken.whole["p99"])
    found = at_most("p99 latency without a tick, against C", 1.5, sheet.ratios(WITHOUT_TICK, FLOOR, CASE))
    found += at_most("… against Node ws", 1.0, sheet.ratios(WITHOUT_TICK, NODE_WS, CASE))
    found += at_most("… against python-socketio", 0.25, sheet.ratios(WITHOUT_TICK, SOCKETIO, CASE))
    late = [p99 - TICK_MILLISECONDS for p99 in sheet.values(SCANSTREAM, CASE)]
    beyond = [one / other for one, other in zip(late, sheet.values(FLOOR, CASE), strict=False)]
    found += at_most("… with the tick of 25 ms, beyond those 25 ms, against C", 1.5, beyond)
    return Result(sheet.figures(), found)

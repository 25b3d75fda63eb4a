"""100 of 1,000 readers read nothing: what that does to the others' latency."""

import argparse
from contextlib import ExitStack

from instrument.crowd import Crowd, following
from instrument.figures import Cost, Result, Sheet, at_most, repetitions
from instrument.servers import SCANSTREAM, Server, running

NAME = "slow"
ABOUT = "100 of 1,000 readers read nothing: latency of the others"
COST = Cost(8, 6)
READERS = 1_000
SILENT = 100
UPDATES = 90
MILLISECONDS = 30.0
FILLING = 60
"""Ticks of sixteen revisions at first: some 170 KiB, more than the buffers of a reader that takes nothing hold."""
WITHOUT, WITH = "p99, all read", "p99, 100 do not"


def flags(_parser: argparse.ArgumentParser) -> None:
    """Nothing can be asked for."""


def measure(asked: argparse.Namespace) -> Result:
    """With and without them, in turn, again and again."""
    sheet = Sheet(NAME, "ms")
    with ExitStack() as stack:
        all_read = opened(stack, READERS - SILENT, 0)
        some_do_not = opened(stack, READERS, SILENT)
        for _ in repetitions(NAME, asked.repetitions):
            sheet.note(SCANSTREAM, WITHOUT, p99(*all_read))
            sheet.note(SCANSTREAM, WITH, p99(*some_do_not))
    found = at_most(
        "100 of 1,000 readers read nothing: p99 of the others", 1.5, sheet.ratios(SCANSTREAM, SCANSTREAM, WITH, WITHOUT)
    )
    return Result(sheet.figures(), found)


def opened(stack: ExitStack, readers: int, silent: int) -> tuple[Server, Crowd]:
    """A server whose silent readers have had more than they hold."""
    server = stack.enter_context(running(SCANSTREAM, "--stall", "3600"))
    server.begin_scans()
    crowd = stack.enter_context(following(server, readers, silent=silent))
    crowd.take(server, updates=FILLING * 16, per_tick=16, milliseconds=MILLISECONDS)
    return server, crowd


def p99(server: Server, crowd: Crowd) -> float:
    """Milliseconds, of one run."""
    return crowd.take(server, updates=UPDATES, per_tick=1, milliseconds=MILLISECONDS).latency["p99"]

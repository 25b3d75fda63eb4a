"""What one revision costs the server, append, fold and frame, when there is ten times as much of something.

CPU of all that the server does for one revision of one scan with one reader, at some 30 a second. That it is nearly the
same in all rows is what they are to show: nothing of it grows with the scans beside, with the shards of the plan or
with the revisions before. Readers ten times as many are the fan-out's own columns.
"""

import argparse
from contextlib import ExitStack

from instrument.crowd import Crowd, following
from instrument.figures import Cost, Result, Sheet, repetitions
from instrument.servers import SCANSTREAM, Server, running

NAME = "growth"
ABOUT = "CPU of one revision with ten times the scans, shards, revisions"
COST = Cost(18, 9)
REVISIONS = 50
MILLISECONDS = 30.0
SIZES = {
    "alone, 4,096 shards": (0, 4096, 0),
    "beside 1,000 scans": (1_000, 4096, 0),
    "beside 10,000 scans": (10_000, 4096, 0),
    "of 410 shards": (0, 410, 0),
    "after 300 revisions": (0, 4096, 300),
    "after 3,000 revisions": (0, 4096, 3_000),
}
"""Other scans that run; shards; revisions before."""


def flags(_parser: argparse.ArgumentParser) -> None:
    """Nothing can be asked for."""


def measure(asked: argparse.Namespace) -> Result:
    """All sizes in turn, again and again."""
    sheet = Sheet(NAME, "µs")
    with ExitStack() as stack:
        sides = {case: opened(stack, *size) for case, size in SIZES.items()}
        revisions = min(REVISIONS, 400 // asked.repetitions)  # the smallest scan has no more
        for _ in repetitions(NAME, asked.repetitions):
            for case, (server, crowd) in sides.items():
                used = server.cpu()
                crowd.take(server, updates=revisions, per_tick=1, milliseconds=MILLISECONDS)
                sheet.note(SCANSTREAM, case, (server.cpu() - used) / revisions * 1e6)
    return Result(sheet.figures())


def opened(stack: ExitStack, beside: int, shards: int, before: int) -> tuple[Server, Crowd]:
    """A server with so much in it."""
    server = stack.enter_context(running(SCANSTREAM, "--shards", str(shards)))
    if beside:
        server.begin_scans(beside)
    server.begin_scans()
    if before:
        server.begin_run(before, 1, 1)
        server.end_run()
    return server, stack.enter_context(following(server, 1))

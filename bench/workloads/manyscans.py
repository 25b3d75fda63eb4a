"""10,000 scans with a reader each, against one scan with 10,000 readers: CPU of the server for one delivery.

Of many scans each revision is an append, a fold and a frame of its own; what that costs without any reader is
subtracted, so that a delivery is left: its frame, which nobody shares, and its way out.
"""

import argparse
from contextlib import ExitStack

from instrument.crowd import Crowd, following
from instrument.figures import Cost, Result, Sheet, at_most, repetitions
from instrument.servers import SCANSTREAM, Server, running
from workloads.fanout import side, spent

NAME = "manyscans"
ABOUT = "10,000 scans with a reader each, against 10,000 readers of one"
COST = Cost(25, 8)
COUNT = 10_000
REVISIONS = 2
MILLISECONDS = 500.0
FOLLOWED, UNSEEN = 0, 1
"""The groups of scans, in one server."""


def flags(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--scans", type=int, default=COUNT)


def measure(asked: argparse.Namespace) -> Result:
    """Both in turn, again and again."""
    sheet = Sheet(NAME, "µs")
    count: int = asked.scans
    many, one = f"{count:,} scans × 1", f"1 × {count:,}"
    with ExitStack() as stack:
        shared = side(stack, SCANSTREAM, count)
        server = stack.enter_context(running(SCANSTREAM, "--shards", "100"))
        server.begin_scans(count)
        crowd = stack.enter_context(following(server, count))
        server.begin_scans(count)
        for _ in repetitions(NAME, asked.repetitions):
            used = followed(server, crowd) - unseen(server)
            sheet.note(SCANSTREAM, many, used / (REVISIONS * count) * 1e6)
            sheet.note(SCANSTREAM, one, spent(shared, REVISIONS * 5, 1, MILLISECONDS / 2).a_message)
    found = at_most(f"CPU a delivery, {many} against {one}", 3.0, sheet.ratios(SCANSTREAM, SCANSTREAM, many, one))
    return Result(sheet.figures(), found)


def followed(server: Server, crowd: Crowd) -> float:
    """CPU of revisions of which each has its reader."""
    server.ask(f"group {FOLLOWED}")
    used = server.cpu()
    crowd.take(server, updates=REVISIONS, per_tick=1, milliseconds=MILLISECONDS)
    return server.cpu() - used


def unseen(server: Server) -> float:
    """CPU of the same revisions of as many scans that nobody reads."""
    server.ask(f"group {UNSEEN}")
    used = server.cpu()
    server.begin_run(REVISIONS, 1, MILLISECONDS)
    server.end_run()
    return server.cpu() - used

"""5,000 readers come back at once, each with its cursor, 100 revisions behind: how long until all have caught up."""

import argparse

from instrument.crowd import following
from instrument.figures import Result, Sheet, repetitions
from instrument.questions import cursor
from instrument.servers import SCANSTREAM, running

NAME = "storm"
ABOUT = "5,000 reconnects with cursors at once"
READERS = 5_000
BEHIND = 100


def flags(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--readers", type=int, default=READERS)


def measure(asked: argparse.Namespace) -> Result:
    """A server anew at each repetition."""
    sheet = Sheet(NAME, "s")
    case = f"{asked.readers:,} at once"
    for _ in repetitions(NAME, asked.repetitions):
        with running(SCANSTREAM) as server:
            server.begin_scans()
            since = cursor(server)
            server.begin_run(BEHIND, 1, 1)
            server.end_run()
            used = server.cpu()
            with following(server, asked.readers, window=asked.readers, since=since) as crowd:
                sheet.note(SCANSTREAM, case, crowd.joined.seconds)
                sheet.note(SCANSTREAM, "CPU of each", (server.cpu() - used) / asked.readers * 1e6, "µs")
    return Result(sheet.figures())

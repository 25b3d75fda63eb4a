"""5,000 long polls wait for news of one scan: what each costs while it comes to wait, and how soon all are answered.

The first row is the CPU of a connection, its request and what is set up for its wait; the second that of its answer,
when one revision wakes all of them; the third how long it takes from the revision until the last answer was read. Each
answer must be whole and have the cursor of that revision.
"""

import argparse
import time

from instrument.crowd import polling
from instrument.figures import Cost, Result, Sheet, repetitions
from instrument.questions import cursor, status_path, until_waiting
from instrument.servers import SCANSTREAM, running
from workloads.polling import get

NAME = "longpolls"
ABOUT = "5,000 long polls, all answered by one revision"
COST = Cost(1, 3)
CROWD = 5_000


def flags(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--readers", type=int, default=CROWD)


def measure(asked: argparse.Namespace) -> Result:
    """One server; at each repetition a crowd of its own."""
    sheet = Sheet(NAME, "µs")
    crowd: int = asked.readers
    with running(SCANSTREAM) as server:
        server.begin_scans()
        for _ in repetitions(NAME, asked.repetitions):
            since = cursor(server)
            request = get(f"{status_path(server)}?wait=60&since={since}")
            used = server.cpu()
            flags = ("--connections", crowd, "--each", 1, "--expect", f'"cursor":"{following(since)}"')
            with polling(server, request, *flags) as pollers:
                until_waiting(server, crowd)
                sheet.note(SCANSTREAM, "connects and waits", (server.cpu() - used) / crowd * 1e6)
                used, began = server.cpu(), time.monotonic()
                server.begin_run(1, 1, 1)
                server.end_run()
                pollers.answered()
                sheet.note(SCANSTREAM, "is answered", (server.cpu() - used) / crowd * 1e6)
                sheet.note(SCANSTREAM, f"all {crowd:,} answered", (time.monotonic() - began) * 1000, "ms")
    return Result(sheet.figures())


def following(cursor: str) -> str:
    """The cursor after one revision more that brings no result."""
    log, seq, held = cursor.replace("-", ".").split(".")
    return f"{log}-{int(seq) + 1}.{held}"

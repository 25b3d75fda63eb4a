"""5,000 readers come back at once, each with its cursor, 100 revisions behind: how long until all have caught up.

Seconds from the first connect until the last reader has the last revision, and what each has cost the server in CPU:
its handshake, its subscription, and one frame that tells of all 100 revisions. Each frame must go on from the cursor.
All connects are under way at once, as after a network's fault. They are more than the listener's queue holds: some are
dropped there, and come in when the client's kernel tries again, one or three seconds later. So the seconds are TCP's
more than ours; the CPU is ours.
"""

import argparse

from instrument.crowd import Wrong, following
from instrument.figures import Cost, Result, Sheet, repetitions
from instrument.questions import cursor
from instrument.servers import SCANSTREAM, running

NAME = "storm"
ABOUT = "5,000 reconnects with cursors at once"
COST = Cost(0, 5)
READERS = 5_000
BEHIND = 100


def flags(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--readers", type=int, default=READERS)


def measure(asked: argparse.Namespace) -> Result:
    """A server anew at each repetition."""
    sheet = Sheet(NAME, "s")
    readers: int = asked.readers
    for _ in repetitions(NAME, asked.repetitions):
        with running(SCANSTREAM) as server:
            server.begin_scans()
            since = cursor(server)
            server.begin_run(BEHIND, 1, 1)
            last = server.end_run()
            used = server.cpu()
            with following(server, readers, window=readers, since=since) as crowd:
                rest = crowd.until(last)
                told = crowd.joined.updates + rest.updates
                if told != BEHIND * readers:
                    raise Wrong(f"{told} revisions came to {readers} readers, not {BEHIND} each")
                sheet.note(SCANSTREAM, f"{readers:,} at once", crowd.joined.seconds + rest.seconds)
                sheet.note(SCANSTREAM, "CPU of each", (server.cpu() - used) / readers * 1e6, "µs")
    return Result(sheet.figures())

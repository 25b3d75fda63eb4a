"""5,000 long polls wait for news of one scan: what each costs while it comes to wait, and how soon all are answered."""

import argparse
import time

from instrument.crowd import polling
from instrument.figures import Result, Sheet, repetitions
from instrument.questions import answer, cursor, status_path
from instrument.servers import SCANSTREAM, Server, running
from workloads.polling import get

NAME = "longpolls"
ABOUT = "5,000 long polls, all answered by one revision"
CROWD = 5_000
PATIENCE_SECONDS = 60


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
            request = get(f"{status_path(server)}?wait=60&since={cursor(server)}")
            used = server.cpu()
            with polling(server, request, "--connections", crowd, "--each", 1) as pollers:
                until_waiting(server, crowd)
                sheet.note(SCANSTREAM, "connects and waits", (server.cpu() - used) / crowd * 1e6)
                used, began = server.cpu(), time.monotonic()
                server.begin_run(1, 1, 1)
                server.end_run()
                pollers.answered()
                sheet.note(SCANSTREAM, "is answered", (server.cpu() - used) / crowd * 1e6)
                sheet.note(SCANSTREAM, f"all {crowd:,} answered", (time.monotonic() - began) * 1000, "ms")
    return Result(sheet.figures())


def until_waiting(server: Server, count: int) -> None:
    """All of the crowd wait: the server counts its readers."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        metrics = answer(server, "/metrics").text.splitlines()
        line = next(line for line in metrics if line.startswith("scanstream_readers "))
        if float(line.split()[1]) == count:
            return
        time.sleep(0.1)
    raise RuntimeError(f"of {count} long polls not all wait after {PATIENCE_SECONDS} s")

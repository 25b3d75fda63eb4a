"""One discover after the other: from the request until the scan is durably acknowledged.

Against the sum of its two parts, each as bare as can be: a Starlette route that reads and writes JSON, and the
transaction of a registration in SQLite, synchronous=FULL, on the same file system. A moment passes between two
requests, with all three, so that what the last one left to do is done.
"""

import argparse
import json
import statistics
import subprocess
import sys

from instrument.crowd import polling
from instrument.figures import Result, Sheet, at_most, repetitions
from instrument.machine import cores, pinned
from instrument.servers import BENCH, NAIVE, SCANSTREAM, Server, running

NAME = "acks"
ABOUT = "from a discover to its durable ack, one at a time"
COUNT = 150
PAUSE_SECONDS = 0.01
CASE = "p50"
PARTS = "echo + transaction"
TRANSACTION = "SQLite"
REQUEST = {
    "force_refresh": True,
    "symbols": ["BTC/USDT"],
    "strategy_ids": ["tsmom"],
    "parameters": {"tsmom": {"walk_forward": 0}},
}


def flags(_parser: argparse.ArgumentParser) -> None:
    """Nothing can be asked for."""


def measure(asked: argparse.Namespace) -> Result:
    """The three of them in turn, again and again."""
    sheet = Sheet(NAME, "ms")
    with running(SCANSTREAM) as ours, running(NAIVE) as bare:
        for number in repetitions(NAME, asked.repetitions):
            sheet.note(SCANSTREAM, CASE, one_at_a_time(ours, "/opportunities/discover"))
            echo = one_at_a_time(bare, "/echo")
            transaction = registrations(bare, number)
            sheet.note(NAIVE, CASE, echo)
            sheet.note(TRANSACTION, CASE, transaction)
            sheet.note(PARTS, CASE, echo + transaction)
    found = at_most("Discover to durable ack, against echo + transaction", 1.5, sheet.ratios(SCANSTREAM, PARTS, CASE))
    return Result(sheet.figures(), found)


def one_at_a_time(server: Server, path: str) -> float:
    """Milliseconds of the median request."""
    body = json.dumps(REQUEST)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    with polling(server, request, "--total", COUNT, "--pause", PAUSE_SECONDS, "--status", 202) as pollers:
        return pollers.answered().latency["p50"]


def registrations(server: Server, number: int) -> float:
    """Milliseconds of the median transaction, on the server's core and beside its files."""
    script = [sys.executable, str(BENCH / "peers" / "registration.py")]
    command = [*script, str(server.scratch / f"{number}.db"), str(COUNT), str(PAUSE_SECONDS)]
    ran = subprocess.run(pinned(cores()[0], command), capture_output=True, text=True, check=True)
    taken: list[float] = json.loads(ran.stdout)
    return statistics.median(taken)

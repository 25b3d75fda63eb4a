"""What a connection costs: CPU until it has joined, and memory while it does nothing.

2,000 connections to a server that holds 1,000, so that what it loads and allocates once is no part of it. Of
scanstream the handshake and a subscription with its first frame; of the others the handshake.
"""

import argparse

from instrument.crowd import following
from instrument.figures import Cost, Result, Sheet, at_most, repetitions
from instrument.servers import BATCHING_FLOOR, NAIVE, SCANSTREAM, choice, kinds, present, running

NAME = "connecting"
ABOUT = "CPU of a connect and subscribe, memory of an idle reader"
COST = Cost(0, 15)
READERS = 2_000
BEFORE = 1_000
"""Enough to fill the memory that a process has left over from its start: what comes then is what a connection takes."""
CPU = "connect and subscribe"
MEMORY = "idle reader"


def flags(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--readers", type=int, default=READERS)
    choice(parser)


def measure(asked: argparse.Namespace) -> Result:
    """Each server anew at each repetition."""
    sheet = Sheet(NAME, "µs")
    for _ in repetitions(NAME, asked.repetitions):
        for name in present(*(asked.servers or [name for name in kinds() if name != BATCHING_FLOOR])):
            with running(name) as server:
                server.begin_scans()
                with following(server, BEFORE):
                    used, had = server.cpu(), server.resident()
                    with following(server, asked.readers):
                        sheet.note(name, CPU, (server.cpu() - used) / asked.readers * 1e6)
                        sheet.note(name, MEMORY, (server.resident() - had) / asked.readers / 1024, "KiB")
    found = at_most("Memory of an idle reader, against a bare Starlette", 1.0, sheet.ratios(SCANSTREAM, NAIVE, MEMORY))
    found += at_most("CPU of connect and subscribe, against its accept", 1.3, sheet.ratios(SCANSTREAM, NAIVE, CPU))
    return Result(sheet.figures(), found)

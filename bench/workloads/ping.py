"""How long a ping takes while a full scan computes, against an idle server: the ratio of bench/quiet_loop.py."""

import argparse

import uvloop

from instrument.figures import Cost, Result, Sheet, at_most, repetitions
from instrument.servers import SCANSTREAM
from quiet_loop import centile
from quiet_loop import measure as rounds
from serving import server

NAME = "ping"
ABOUT = "ping p99 while a full scan computes, against idle"
COST = Cost(4, 6)
IDLE, LOADED = "p99, idle", "p99, a full scan computes"


def flags(_parser: argparse.ArgumentParser) -> None:
    """Nothing can be asked for."""


def measure(asked: argparse.Namespace) -> Result:
    """Idle and loaded, in turn, again and again; on all cores, as in use."""
    sheet = Sheet(NAME, "ms")
    with server(":memory:", "--workers", "2") as url:
        for measured in uvloop.run(rounds(url, repetitions(NAME, asked.repetitions))):
            sheet.note(SCANSTREAM, IDLE, centile(measured.idle, 99))
            sheet.note(SCANSTREAM, LOADED, centile(measured.loaded, 99))
    ratios = sheet.ratios(SCANSTREAM, SCANSTREAM, LOADED, IDLE)
    return Result(sheet.figures(), at_most("Ping p99 while a full scan computes, against idle", 2.0, ratios))

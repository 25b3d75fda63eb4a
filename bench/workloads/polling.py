"""Status polls over connections that are kept: answers a second, against a bare Starlette route that gives JSON.

The bare route makes its answer anew each time, as ours would without a cache, of a state as ours is.
"""

import argparse

from instrument.crowd import polling
from instrument.figures import Cost, Result, Sheet, at_least, repetitions
from instrument.questions import answer, status_path
from instrument.servers import NAIVE, SCANSTREAM, Server, running

NAME = "polling"
ABOUT = "status polls a second, 200 and 304"
COST = Cost(2, 6)
CONNECTIONS = 32
SECONDS = 2.0
UNCHANGED = "304"
WHOLE = "200"


def flags(_parser: argparse.ArgumentParser) -> None:
    """Nothing can be asked for."""


def get(path: str, *headers: str) -> bytes:
    """A request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


def measure(asked: argparse.Namespace) -> Result:
    """The three of them in turn, again and again."""
    sheet = Sheet(NAME, "/s")
    with running(SCANSTREAM) as ours, running(NAIVE) as bare:
        ours.begin_scans()
        path = status_path(ours)
        tag = answer(ours, path).headers["etag"]
        for _ in repetitions(NAME, asked.repetitions):
            note(sheet, ours, WHOLE, get(path), 200)
            note(sheet, ours, UNCHANGED, get(path, f"If-None-Match: {tag}"), 304)
            note(sheet, bare, WHOLE, get("/status"), 200)
    found = at_least("Status 200, against a bare Starlette route", 1.0, sheet.ratios(SCANSTREAM, NAIVE, WHOLE))
    found += at_least("Status 304, against its 200", 1.0, sheet.ratios(SCANSTREAM, NAIVE, UNCHANGED, WHOLE))
    return Result(sheet.figures(), found)


def note(sheet: Sheet, server: Server, case: str, request: bytes, status: int) -> None:
    """One run."""
    used = server.cpu()
    flags = ("--connections", CONNECTIONS, "--seconds", SECONDS, "--status", status)
    with polling(server, request, *flags) as pollers:
        polled = pollers.answered()
    sheet.note(server.name, case, polled.answers / polled.seconds)
    sheet.note(server.name, f"{case}, CPU", (server.cpu() - used) / polled.answers * 1e6, "µs")

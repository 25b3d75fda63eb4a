"""One discover after the other: from the request until the scan is durably acknowledged, over HTTP and a WebSocket.

Against the sum of its two parts, each as bare as can be: a Starlette route that reads and writes JSON, or a WebSocket
that says again what it is told, and the transaction of a registration in SQLite, synchronous=FULL, on the same file
system. A moment passes between two requests, with all of them, so that what the last one left to do is done. Each
WebSocket asks once: its handshake is before the question, and the frames of the scan that it then follows are after
the ack.
"""

import argparse
import json
import statistics
import subprocess
import sys

from instrument.crowd import asking, polling
from instrument.figures import Cost, Result, Sheet, at_most, repetitions
from instrument.machine import cores, pinned
from instrument.servers import BENCH, NAIVE, SCANSTREAM, Server, running

NAME = "acks"
ABOUT = "from a discover to its durable ack, one at a time"
COST = Cost(3, 8)
COUNT = 150
PAUSE_SECONDS = 0.01
HTTP, WEBSOCKET = "HTTP, p50", "WebSocket, p50"
PARTS = "echo + transaction"
TRANSACTION = "SQLite"
REQUEST = {
    "force_refresh": True,
    "symbols": ["BTC/USDT"],
    "strategy_ids": ["tsmom"],
    "parameters": {"tsmom": {"walk_forward": 0}},
}
MESSAGE = json.dumps({"type": "discover", "request": REQUEST}, separators=(",", ":")).encode()
ACK = '{"type":"ack"'


def flags(_parser: argparse.ArgumentParser) -> None:
    """Nothing can be asked for."""


def measure(asked: argparse.Namespace) -> Result:
    """All of them in turn, again and again."""
    sheet = Sheet(NAME, "ms")
    with running(SCANSTREAM) as ours, running(NAIVE) as bare:
        for number in repetitions(NAME, asked.repetitions):
            sheet.note(SCANSTREAM, HTTP, one_at_a_time(ours, "/opportunities/discover"))
            sheet.note(SCANSTREAM, WEBSOCKET, over_websockets(ours, ACK, "--subprotocol", "scanstream.v1.json"))
            echoes = {HTTP: one_at_a_time(bare, "/echo"), WEBSOCKET: over_websockets(bare, MESSAGE.decode())}
            transaction = registrations(bare, number)
            for case, echo in echoes.items():
                sheet.note(NAIVE, case, echo)
                sheet.note(TRANSACTION, case, transaction)
                sheet.note(PARTS, case, echo + transaction)
    what = "Discover to durable ack over {}, against echo + transaction"
    found = at_most(what.format("HTTP"), 1.5, sheet.ratios(SCANSTREAM, PARTS, HTTP))
    found += at_most(what.format("a WebSocket"), 1.5, sheet.ratios(SCANSTREAM, PARTS, WEBSOCKET))
    return Result(sheet.figures(), found)


def one_at_a_time(server: Server, path: str) -> float:
    """Milliseconds of the median request."""
    body = json.dumps(REQUEST)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    with polling(server, request, "--total", COUNT, "--pause", PAUSE_SECONDS, "--status", 202) as pollers:
        return pollers.answered().latency["p50"]


def over_websockets(server: Server, expected: str, *flags: str) -> float:
    """Milliseconds of the median message."""
    with asking(server, MESSAGE, "--total", COUNT, "--pause", PAUSE_SECONDS, "--expect", expected, *flags) as askers:
        return askers.answered().latency["p50"]


def registrations(server: Server, number: int) -> float:
    """Milliseconds of the median transaction, on the server's core and beside its files."""
    script = [sys.executable, str(BENCH / "peers" / "registration.py")]
    command = [*script, str(server.scratch / f"{number}.db"), str(COUNT), str(PAUSE_SECONDS)]
    ran = subprocess.run(pinned(cores()[0], command), capture_output=True, text=True, check=True)
    taken: list[float] = json.loads(ran.stdout)
    return statistics.median(taken)

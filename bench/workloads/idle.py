"""What a connection holds while it does nothing, kind by kind: memory of the process, KiB each.

1,000 more connections to a server that holds 500 of the kind, so that what it loads and allocates once is no part of
it; the kernel's part is the same for all and not in it. A plain one has had the answer to one request and is kept for
the next; a WebSocket has shaken hands, and has subscribed to a scan or has not; a poll and a follow wait for news,
results for the end; an event stream has had its first event. The bare Starlette has the least code for the same; it
knows no subscription, no follow of many scans, and no results.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from instrument.crowd import following, holding
from instrument.figures import Cost, Result, Sheet, repetitions
from instrument.questions import cursor, status_path, until_waiting
from instrument.servers import NAIVE, SCANSTREAM, Server, running
from workloads.polling import get

NAME = "idle"
ABOUT = "memory of an idle connection, kind by kind"
COST = Cost(0, 14)
CONNECTIONS = 1_000
BEFORE = 500
WAITING = "?wait=60&since="
UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
EVENTS = "Accept: text/event-stream"
SUBSCRIBED = "WebSocket, one scan"


class Idle(NamedTuple):
    """What a connection of some kind says."""

    request: bytes
    answer: str = ""
    """How the answer begins; empty: none comes, the request waits for news."""


def followed(server: Server, form: str, more: dict[str, object]) -> bytes:
    """A follow of the one scan from where it is."""
    asked = json.dumps({"follow": [{"scan_id": server.scan_ids[0], "since": cursor(server)}], **more})
    head = ("POST /opportunities/follow HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", form)
    return "\r\n".join([*head, f"Content-Length: {len(asked)}", "", asked]).encode()


KINDS: dict[str, dict[str, Callable[[Server], Idle]]] = {
    "HTTP, kept alive": {
        SCANSTREAM: lambda server: Idle(get(status_path(server)), "HTTP/1.1 200"),
        NAIVE: lambda _: Idle(get("/status"), "HTTP/1.1 200"),
    },
    "WebSocket": {
        SCANSTREAM: lambda _: Idle(get("/ws", *UPGRADE), "HTTP/1.1 101"),
        NAIVE: lambda _: Idle(get("/ws", *UPGRADE), "HTTP/1.1 101"),
    },
    "held poll": {
        SCANSTREAM: lambda server: Idle(get(status_path(server) + WAITING + cursor(server))),
        NAIVE: lambda _: Idle(get("/poll")),
    },
    "results, waited for": {
        SCANSTREAM: lambda server: Idle(get(f"/opportunities/results/{server.scan_ids[0]}?wait=60")),
    },
    "event stream": {
        SCANSTREAM: lambda server: Idle(get(f"/opportunities/events/{server.scan_ids[0]}", EVENTS), "HTTP/1.1 200"),
        NAIVE: lambda _: Idle(get("/events", EVENTS), "HTTP/1.1 200"),
    },
    "held follow": {
        SCANSTREAM: lambda server: Idle(followed(server, "Accept: application/json", {"wait": 60})),
    },
    "follow, event stream": {
        SCANSTREAM: lambda server: Idle(followed(server, EVENTS, {}), "HTTP/1.1 200"),
    },
}


def flags(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--connections", type=int, default=CONNECTIONS)


def measure(asked: argparse.Namespace) -> Result:
    """A server anew for each kind, at each repetition."""
    sheet = Sheet(NAME, "KiB")
    connections: int = asked.connections
    for _ in repetitions(NAME, asked.repetitions):
        for case, servers in KINDS.items():
            for name, idle in servers.items():
                with running(name) as server:
                    server.begin_scans()
                    sheet.note(name, case, each_holds(server, idle(server), connections))
        with running(SCANSTREAM) as server:
            server.begin_scans()
            with following(server, BEFORE):
                had = server.resident()
                with following(server, connections):
                    sheet.note(SCANSTREAM, SUBSCRIBED, (server.resident() - had) / connections / 1024)
    return Result(sheet.figures())


def each_holds(server: Server, idle: Idle, connections: int) -> float:
    """KiB."""
    with held(server, idle, BEFORE, BEFORE):
        had = server.resident()
        with held(server, idle, connections, BEFORE + connections):
            return (server.resident() - had) / connections / 1024


@contextmanager
def held(server: Server, idle: Idle, connections: int, waiting: int) -> Iterator[None]:
    """So many more connections, of which all are there before and after; of those that wait so many in all."""
    with holding(server, idle.request, connections, idle.answer) as crowd:
        if not idle.answer:
            until_waiting(server, waiting)
        yield
        crowd.still()

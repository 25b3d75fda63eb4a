"""A crowd of readers, or of pollers: the load generator, on the load's core."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from instrument import built, machine
from instrument.servers import Server

PATIENCE_SECONDS = 300
"""In which a run must have come to every reader."""


class Wrong(Exception):
    """Something was lost, came twice, or was not what it must be: no figure is worth anything then."""


class Taken(NamedTuple):
    """What a crowd has been told since the last time; times in milliseconds."""

    seconds: float
    messages: int
    updates: int
    """Revisions that readers have got on by: where frames cover several it is more than messages."""
    results: int
    bytes: int
    latency: dict[str, float]
    whole: dict[str, float]


class Crowd:
    """Readers that are connected and have joined."""

    def __init__(self, process: "subprocess.Popen[bytes]", readers: int, silent: int) -> None:
        self._process = process
        self._readers = readers - silent
        self.joined = self._taken("ready", readers)

    def _taken(self, name: str, expected: int) -> Taken:
        line = machine.line_of(self._process)
        if not line:
            raise Wrong("the load generator has ended")
        told: dict[str, Any] = json.loads(line)
        if told[name] != expected or told["broken"] or told["left"]:
            raise Wrong(f"of {expected} readers: {line}")
        return Taken(**{field: told[field] for field in Taken._fields})

    def take(self, server: Server, *, updates: int, per_tick: int, milliseconds: float) -> Taken:
        """Have the server broadcast, and wait until every reader has all of it; each message was checked."""
        server.begin_run(updates, per_tick, milliseconds)
        last = server.end_run()
        taken = self.until(last)
        if taken.updates != updates * self._readers:
            raise Wrong(f"{taken.updates} updates came to {self._readers} readers, not {updates} each")
        return taken

    def until(self, last: int) -> Taken:
        """Wait until every reader that reads has this update."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"take {last} {PATIENCE_SECONDS}\n".encode())
        return self._taken("complete", self._readers)


@contextmanager
def following(
    server: Server, readers: int, *, silent: int = 0, window: int = 200, since: str | None = None
) -> Iterator[Crowd]:
    """So many connections to a server, of which the first `silent` read nothing; closed with the block."""
    kind = server.kind
    flags = ["--port", server.port, "--path", kind.path, "--dialect", kind.dialect, "--readers", readers]
    flags += ["--silent", silent, "--window", window]
    if kind.dialect == "scanstream":
        words = server.scratch / "words"
        more = {} if since is None else {"since": since}
        subscribe = [{"type": "subscribe", "scan_id": scan_id, **more} for scan_id in server.scan_ids]
        words.write_text("".join(json.dumps(message) + "\n" for message in subscribe))
        flags += ["--says", words, "--subprotocol", "scanstream.v1.json"]
        flags += ["--stamps", server.stamps] if len(server.scan_ids) == 1 else []
        flags += [] if since is None else ["--since", since.partition("-")[2]]
    command = machine.pinned(machine.cores()[1], [str(built.load()), "follow", *map(str, flags)])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            yield Crowd(process, readers, silent)
        finally:
            process.kill()


class Polled(NamedTuple):
    """What pollers were answered; times in milliseconds."""

    answers: int
    seconds: float
    bytes: int
    least: int
    """Bytes of the shortest answer."""
    most: int
    latency: dict[str, float]


@contextmanager
def polling(server: Server, request: bytes, *flags: object) -> Iterator["Pollers"]:
    """Connections that ask the same, again and again: see load/poll.c for the flags."""
    (server.scratch / "request").write_bytes(request)
    with _loading("poll", server, "--request", server.scratch / "request", *flags) as process:
        yield Pollers(process)


@contextmanager
def asking(server: Server, question: bytes, *flags: object) -> Iterator["Pollers"]:
    """One message after the other, each over a WebSocket of its own: see load/ask.c for the flags."""
    (server.scratch / "question").write_bytes(question)
    with _loading("ask", server, "--path", server.kind.path, "--says", server.scratch / "question", *flags) as process:
        yield Pollers(process)


@contextmanager
def holding(server: Server, request: bytes, connections: int, expected: str = "") -> Iterator["Held"]:
    """Connections that say this, have an answer that begins so, or none, and do nothing more: see load/hold.c."""
    (server.scratch / "request").write_bytes(request)
    flags = ["--expect", expected] if expected else []
    size = ("--connections", connections)
    with _loading("hold", server, *size, "--request", server.scratch / "request", *flags) as process:
        yield Held(process, connections)


@contextmanager
def _loading(kind: str, server: Server, *flags: object) -> "Iterator[subprocess.Popen[bytes]]":
    command = machine.pinned(
        machine.cores()[1], [str(built.load()), kind, "--port", str(server.port), *map(str, flags)]
    )
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


class Pollers:
    """Connections that have asked."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        _line(process)

    def answered(self) -> Polled:
        """Wait until they have been answered as often as was asked for."""
        told = _line(self._process)
        return Polled(**{field: told[field] for field in Polled._fields})


class Held:
    """Connections that are there, and stay."""

    def __init__(self, process: "subprocess.Popen[bytes]", connections: int) -> None:
        self._process = process
        self._connections = connections
        self._all_there()

    def _all_there(self) -> None:
        told = _line(self._process)
        if told["ready"] != self._connections:
            raise Wrong(f"of {self._connections} connections: {told}")

    def still(self) -> None:
        """All of them are there still, and nothing came that was not to come."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._all_there()


def _line(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    line = machine.line_of(process)
    if not line:
        raise Wrong("the load generator has ended")
    told: dict[str, Any] = json.loads(line)
    if told.get("broken") or told.get("left"):
        raise Wrong(line)
    return told

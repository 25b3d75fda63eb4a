"""The servers that are measured: scanstream and its peers, each a process on the server's core."""

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from instrument import built, machine

BENCH = built.BENCH
STOP_SECONDS = 10


class Kind(NamedTuple):
    """How to start one, and how to talk to it."""

    command: list[str]
    dialect: str = "plain"
    path: str = "/ws"
    needs: str = ""
    """A Python module, or `node:` and a package, without which it is left out."""

    @property
    def missing(self) -> str:
        """What this machine lacks for it; empty: nothing."""
        if self.needs.startswith("node:"):
            package = self.needs.removeprefix("node:")
            there = shutil.which("node") and (BENCH / "peers" / "node_modules" / package).is_dir()
            return "" if there else f"node with the package {package} (npm install in bench/peers)"
        return "" if not self.needs or importlib.util.find_spec(self.needs) else f"the package {self.needs}"


def _python(file: str) -> list[str]:
    return [sys.executable, str(BENCH / file)]


def _node(file: str) -> list[str]:
    return ["node", str(BENCH / "peers" / file)]


_told: set[str] = set()

SCANSTREAM = "scanstream"
FLOOR = "C"
BATCHING_FLOOR = "C, batched"
NAIVE = "Starlette"
WEBSOCKETS = "websockets"
PICOWS = "picows"
SOCKETIO = "python-socketio"
NODE_WS = "Node ws"
NODE_SOCKETIO = "socket.io"
NAMES = (FLOOR, BATCHING_FLOOR, SCANSTREAM, NAIVE, WEBSOCKETS, PICOWS, SOCKETIO, NODE_WS, NODE_SOCKETIO)
ENGINE = "/socket.io/?EIO=4&transport=websocket"
"""Where Engine.IO takes WebSockets at once, without a long poll before."""


def kinds() -> dict[str, Kind]:
    """Every server by the name that tables have."""
    return {
        FLOOR: Kind([str(built.floor())]),
        BATCHING_FLOOR: Kind([str(built.floor()), "batch"]),
        SCANSTREAM: Kind(_python("subject.py"), "scanstream"),
        NAIVE: Kind(_python("peers/naive.py")),
        WEBSOCKETS: Kind(_python("peers/websockets_peer.py")),
        PICOWS: Kind(_python("peers/picows_peer.py"), needs="picows"),
        SOCKETIO: Kind(_python("peers/socketio_peer.py"), "socketio", ENGINE, needs="socketio"),
        NODE_WS: Kind(_node("ws.js"), needs="node:ws"),
        NODE_SOCKETIO: Kind(_node("socketio.js"), "socketio", ENGINE, needs="node:socket.io"),
    }


def choice(parser: argparse.ArgumentParser) -> None:
    """Let whoever runs a workload name the servers."""
    parser.add_argument(
        "--servers", nargs="+", choices=NAMES, metavar="NAME", help=f"these only, of {', '.join(NAMES)}"
    )


def present(*names: str) -> list[str]:
    """Those of the servers that this machine has what they need; what is left out is said, once."""
    for name, kind in kinds().items():
        if name in names and kind.missing and name not in _told:
            _told.add(name)
            machine.progress(f"  without {name}: it needs {kind.missing}")
    return [name for name in names if not kinds()[name].missing]


class Server:
    """One that runs."""

    def __init__(self, name: str, kind: Kind, process: "subprocess.Popen[bytes]", scratch: Path) -> None:
        self.name = name
        self.kind = kind
        self.pid = process.pid
        self._process = process
        self.scratch = scratch
        address = machine.line_of(process)
        if not address.startswith("http://"):
            raise RuntimeError(f"{name} did not start: {address!r}")
        self.port = int(address.rsplit(":", 1)[1])
        self.scan_ids: list[str] = []

    def ask(self, line: str) -> str:
        """Have it do something; the line that it answers."""
        self.tell(line)
        return self.told()

    def tell(self, line: str) -> None:
        """Have it do something, and not wait."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def told(self) -> str:
        """The answer to what it was told."""
        if not (answer := machine.line_of(self._process)):
            raise RuntimeError(f"{self.name} has ended")
        return answer

    def begin_scans(self, count: int = 1) -> list[str]:
        """Of scanstream: so many new scans; a peer has nothing to begin."""
        if self.kind.dialect == "scanstream":
            self.scan_ids = self.ask(f"scans {count}").split()[1:]
        return self.scan_ids

    def begin_run(self, updates: int, per_tick: int, milliseconds: float) -> None:
        """Have it broadcast."""
        self.tell(f"run {updates} {per_tick} {milliseconds:g}")

    def end_run(self) -> int:
        """The number of the last update."""
        return int(self.told().removeprefix("done "))

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        return machine.cpu_seconds(self.pid)

    def resident(self) -> int:
        """Bytes of memory that it has."""
        return machine.resident_bytes(self.pid)

    @property
    def stamps(self) -> Path:
        """Where scanstream writes when each revision was there."""
        return self.scratch / "stamps"


@contextmanager
def running(name: str, *flags: str) -> Iterator[Server]:
    """One of the servers, on its core, in a process of its own; ended with the block."""
    kind = kinds()[name]
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as directory:
        scratch = Path(directory)
        own = ["--data", str(scratch / "data"), "--stamps", str(scratch / "stamps")] if name == SCANSTREAM else []
        command = machine.pinned(machine.cores()[0], [*kind.command, *own, *flags])
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
            try:
                yield Server(name, kind, process, scratch)
            finally:
                _stop(process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """By the end of its standard input, and by force where that does not do it in time."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()

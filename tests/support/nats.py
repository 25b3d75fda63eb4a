"""Real servers of NATS, each with its own directory and port, started by a test and always stopped by it."""

import secrets
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scanstream.engines.nats.options import NatsOptions
from support.process import stand_still

EXECUTABLE = Path(sysconfig.get_path("scripts")) / "nats-server"
PORTS = range(10_000, 32_768)
"""Below those that the kernel gives to outgoing connections: a server that is started again must find its port free."""
START_SECONDS = 30
PATIENCE_SECONDS = 20.0


class NatsServer:
    """One server. `kill` and `start` again as often as wanted: its directory and its ports stay."""

    def __init__(
        self,
        directory: Path,
        name: str = "",
        *,
        routes: Sequence[int] = (),
        route: int = 0,
        extra: str = "",
        jetstream: str = "",
        executable: Path = EXECUTABLE,
    ) -> None:
        """`routes`: the ports on which the servers of its cluster meet, `route` its own; `extra`: lines of its file."""
        self.name = name or f"test-{secrets.token_hex(4)}"
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._executable = executable
        self._file = directory / f"{self.name}.conf"
        directory.mkdir(parents=True, exist_ok=True)
        self.store = directory / self.name
        self.log = directory / f"{self.name}.log"
        meets = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        cluster = f"cluster {{ name: test, listen: 127.0.0.1:{route}, routes: [{meets}] }}" if routes else ""
        self._file.write_text(
            f'server_name: {self.name}\nlisten: 127.0.0.1:{self.port}\nlog_file: "{self.log}"\n'
            f'jetstream {{ store_dir: "{self.store}"\n{jetstream}\n}}\n{cluster}\n{extra}\n'
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return when it can be connected to, and is the one that was started."""
        self.process = subprocess.Popen([str(self._executable), "-c", str(self._file)], stderr=subprocess.DEVNULL)
        until = time.monotonic() + START_SECONDS
        while self._greeted_by() != self.name:
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server did not start: {self.log.read_text() if self.log.exists() else ''}")
            time.sleep(0.01)

    def _greeted_by(self) -> str:
        """The name of the server at our port, from the line that it greets with."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                line = connection.recv(4096).decode()
        except OSError:
            return ""
        return line.partition('"server_name":"')[2].partition('"')[0]

    def send(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def pause(self) -> None:
        """It stands still as this returns, and its sockets stay open."""
        assert self.process is not None
        stand_still(self.process.pid)

    def go_on(self) -> None:
        """After `pause`."""
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """`kill -9`: what it had not written is lost."""
        self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal that ends it, and wait for that."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGCONT)
                self.process.send_signal(number)
            self.process.wait(timeout=START_SECONDS)
            self.process = None


def free_port() -> int:
    """A port that is free now, and that no outgoing connection takes."""
    while True:
        port = PORTS[secrets.randbelow(len(PORTS))]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def nats_server(directory: Path, *, extra: str = "", jetstream: str = "") -> Iterator[NatsServer]:
    """A server alone. `jetstream`: lines of that block, as `max_file_store: 1MB`."""
    server = NatsServer(directory, extra=extra, jetstream=jetstream)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def nats_cluster(
    directory: Path, size: int = 3, *, jetstream: str = "sync_interval: always"
) -> Iterator[list[NatsServer]]:
    """So many servers that hold each message together; a stream can be made a second or some later."""
    routes = [free_port() for _ in range(size)]
    servers = [
        NatsServer(directory, f"test-{number}-{secrets.token_hex(4)}", routes=routes, route=route, jetstream=jetstream)
        for number, route in enumerate(routes)
    ]
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.kill()


def options(*servers: NatsServer, namespace: str = "", url: str = "", **others: object) -> NatsOptions:
    """How a node reaches these servers, in a namespace of its own unless one is given; `url`: by another way."""
    named = namespace or f"t{secrets.token_hex(4)}"
    urls = (url,) if url else tuple(server.url for server in servers)
    return NatsOptions(servers=urls, namespace=named, **others)  # type: ignore[arg-type]

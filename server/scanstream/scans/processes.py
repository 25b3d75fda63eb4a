"""The worker processes, as the loop sees them: work goes in as bytes, and its result comes out as bytes, in time.

`anyio.to_process` because one worker that dies breaks one call only, a hang is killed at its deadline, and a dead
worker is replaced; a `ProcessPoolExecutor` breaks as a whole and cannot cancel a running call.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import anyio
from anyio import BrokenWorkerProcess, EndOfStream, to_process

from scanstream.scans import shard as worker

WORKER_DIED = (BrokenWorkerProcess, EndOfStream, ProcessLookupError)
"""What anyio raises when a worker process is gone; the last two when it was killed while it came up."""

Work: TypeAlias = Callable[[bytes, str, int, bool], bytes]
"""What a worker process runs: (job, directory of the panels, process id of the server, whether idle) → result."""


class Processes:
    """At most so many calls into worker processes at once."""

    def __init__(self, panels: Path, *, most: int, idle: bool = True) -> None:
        self.panels = panels
        """The directory of the saved panels."""
        self.most = most
        self._idle = idle
        self._limiter = anyio.CapacityLimiter(most)

    async def run(self, work: Work, job: bytes, *, seconds: float) -> bytes:
        """Have a worker do this.

        :raises TimeoutError: if it takes longer than so many seconds; its process is killed
        :raises BaseException: one of `WORKER_DIED`
        """
        await self._ready()
        with anyio.fail_after(seconds):
            return await to_process.run_sync(
                work, job, str(self.panels), os.getpid(), self._idle, cancellable=True, limiter=self._limiter
            )

    async def _ready(self) -> None:
        """See that an idle worker process is there, and prepared.

        Shielded: a call that is cancelled while anyio waits for a new process to come up leaves that process behind.
        """
        with anyio.CancelScope(shield=True):
            await to_process.run_sync(worker.prepare, os.getpid(), self._idle, limiter=self._limiter)

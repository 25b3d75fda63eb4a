"""The worker processes, as the loop sees them: work goes in as bytes, and its result comes out as bytes, in time.

Why not `anyio.to_process`: it hands a call to an idle process and waits, however long that one does not take it; and
one that is cancelled while a process comes up leaves the process behind. Here every wait for a process has a deadline
or can be cancelled; then the process is killed, and the next call gets another. A `ProcessPoolExecutor` breaks as a
whole when one process dies, and cannot cancel a running call.
"""

import logging
import os
import pickle
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import anyio

from scanstream.errors import Shortage
from scanstream.scans.budget import Seconds, limited
from scanstream.scans.work.shard import prepare
from scanstream.scans.work.worker import GONE, MOST_ANSWERED, OutOfStep, Worker, is_stopped
from scanstream.shortage import shortage

START_SECONDS = 60.0
"""In which a new process is there: it imports what the strategies import, on a machine that may be busy."""
HAND_OVER_SECONDS = 20.0
"""In which a process takes up its call: it was idle, and may have to wait for a processor."""
MOST_HAND_OVERS = 3
"""Processes that a call is offered to."""
LOOK_SECONDS = 0.5
"""From one look at the processes to the next."""
IDLE_LOOKS = 600
"""Looks in a row that find a process without work, until it is let go: five minutes."""
DEAD_LOOKS = 2
"""Looks in a row that find a process ended, until nobody waits for its answer any more."""
DEATH_PAUSE_SECONDS = 0.3
"""From one that died in the middle of a call to the next attempt, times those so far …"""
KILLED_PAUSE_SECONDS = 2.0
"""… and where somebody else has killed it (SIGKILL)."""
STOPPED_LOOKS = 4
"""Looks in a row that find a process stopped, until it is replaced."""

logger = logging.getLogger("scanstream")

Result = TypeVar("Result", bytes, list[bytes])
Work: TypeAlias = Callable[[bytes, str, int, bool], Result]
"""What a worker process runs: (job, directory of the panels, process id of the server, whether idle) → result, whole or
in pieces."""


class WorkerDied(Exception):
    """The process ended in the middle of a call."""

    def __init__(self, pid: int, *, killed: bool) -> None:
        """`killed`: somebody else has ended it, and not what it did."""
        super().__init__(f"process {pid}")
        self.killed = killed


def pause_after(death: WorkerDied, attempt: int) -> Seconds:
    """How long to wait after so many deaths: it may be the kernel that ends them, until others give memory back."""
    return attempt * (KILLED_PAUSE_SECONDS if death.killed else DEATH_PAUSE_SECONDS)


class Processes:
    """At most so many worker processes, started when they are needed, each with one call at a time."""

    def __init__(self, panels: Path, *, most: int, idle: bool = True) -> None:
        """`idle`: they compute in the time that nothing else wants (priority.py)."""
        self.panels = panels
        """The directory of the saved panels."""
        self.most = most
        self._idle_class = idle
        self._places = anyio.CapacityLimiter(most)
        self.started = 0
        self.deaths = 0
        """Processes that ended, or had to be ended, in the middle of a call, or did not take one."""
        self._all: set[Worker] = set()
        self._idle: list[Worker] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Look after the processes; at the end they are gone, whatever they do."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
                await self._bury_all()

    async def run(
        self, work: Work[Result], job: bytes, *, left: Callable[[], Seconds], at_work: AbstractContextManager[object]
    ) -> Result:
        """Have a worker do this. A call that is cancelled ends its process.

        :param left: what is left of its time, asked again and again while it runs
        :param at_work: entered when a process has taken it up, left when that has ended
        :raises TimeoutError: if nothing is left of its time; its process is killed
        :raises Shortage: if the machine lacks what a process needs; the work was not begun
        :raises WorkerDied: if the process ended in the middle of it
        """
        result: Result = await self.call(
            work, job, str(self.panels), os.getpid(), self._idle_class, left=left, at_work=at_work
        )
        return result

    async def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        left: Callable[[], Seconds],
        at_work: AbstractContextManager[object],
    ) -> Any:
        """Run any function of a module, as `run` does; what it raises is raised here."""
        message = pickle.dumps((function, arguments), pickle.HIGHEST_PROTOCOL)
        async with self._places:
            worker = await self._taken(message)
            try:
                with at_work:
                    returned, value = await limited(left, partial(_answered, worker))
            except GONE as error:
                self.deaths += 1
                try:
                    killed = await worker.was_killed()
                finally:
                    await self._discard(worker)
                raise WorkerDied(worker.pid, killed=killed) from error
            except BaseException:
                await self._discard(worker)
                raise
            worker.seen_idle = 0
            self._idle.append(worker)
        if not returned:
            raise (value if isinstance(value, Exception) else RuntimeError("a worker process did not say why"))
        return value

    def pids(self) -> set[int]:
        """The process ids of all of them."""
        return {worker.pid for worker in self._all}

    def renew(self) -> None:
        """End the processes that do nothing: what one lacks by itself, a new one may have."""
        for worker in self._idle:
            worker.kill()

    async def _taken(self, message: bytes) -> Worker:
        """A process that is at this call now."""
        for _ in range(MOST_HAND_OVERS):
            worker = self._idle.pop() if self._idle else await self._start()
            try:
                with anyio.fail_after(HAND_OVER_SECONDS):
                    await worker.tell(message)
            except (TimeoutError, *GONE) as error:  # idle and dead: the call was not begun, so nothing has happened
                self.deaths += 1
                if isinstance(error, TimeoutError):
                    logger.warning("worker process %d does not take its call; it is replaced", worker.pid)
                await self._discard(worker)
            except BaseException:
                await self._discard(worker)
                raise
            else:
                return worker
        raise Shortage("Worker processes do not take their calls", lacking="processes")

    async def _start(self) -> Worker:
        worker = Worker.start()
        self.started += 1
        self._all.add(worker)
        try:
            with anyio.fail_after(START_SECONDS):
                await worker.tell(pickle.dumps(sys.path))
                await worker.tell(pickle.dumps((prepare, (os.getpid(), self._idle_class))))
                returned, value = await _answered(worker)
                if not returned:
                    raise value
        except (TimeoutError, MemoryError, OSError, *GONE) as error:
            self.deaths += 1
            await self._discard(worker)
            lacking = shortage(error) or "processes"
            raise Shortage("A worker process could not come up", lacking=lacking) from error
        except BaseException:
            await self._discard(worker)
            raise
        return worker

    async def _discard(self, worker: Worker) -> None:
        await worker.bury()
        self._all.discard(worker)

    async def _bury_all(self) -> None:
        for worker in self._all:
            worker.kill()
        with anyio.CancelScope(shield=True):
            for worker in tuple(self._all):
                await self._discard(worker)

    async def _look(self) -> None:
        """End processes that never would answer, as somebody has stopped them (SIGSTOP), and those that are idle."""
        while True:
            await anyio.sleep(LOOK_SECONDS)
            for worker in tuple(self._all):
                worker.seen_stopped = worker.seen_stopped + 1 if is_stopped(worker.pid) else 0
                if worker.seen_stopped == STOPPED_LOOKS:
                    logger.warning("worker process %d was stopped; it is replaced", worker.pid)
                    worker.kill()
                worker.seen_dead = 0 if worker.alive else worker.seen_dead + 1
                if worker.seen_dead == DEAD_LOOKS:
                    worker.hang_up()
            for worker in self._idle:
                worker.seen_idle += 1
                if worker.seen_idle == IDLE_LOOKS:
                    worker.kill()
            gone = [worker for worker in self._idle if not worker.alive]
            self._idle = [worker for worker in self._idle if worker.alive]
            for worker in gone:
                await self._discard(worker)


async def _answered(worker: Worker) -> tuple[bool, Any]:
    """(whether the call returned, what it returned or raised); pieces are taken one by one, with turns between.

    :raises OutOfStep: if it says neither, or too much
    """
    returned, value, count = _opened(await worker.answer())
    left = MOST_ANSWERED
    pieces: list[bytes] = []
    for _ in range(count):
        pieces.append(await worker.answer())
        left -= len(pieces[-1])
        if left < 0:
            raise OutOfStep
    return returned, pieces if count else value


def _opened(answer: bytes) -> tuple[bool, Any, int]:
    """(whether the call returned, what it returned or raised, how many pieces follow)."""
    try:
        returned, value, pieces = pickle.loads(answer)  # noqa: S301  # from a process that this one has started
        return bool(returned), value, int(pieces)
    except BaseException as error:  # what a plug-in has raised may do anything as it is unpacked
        raise OutOfStep from error

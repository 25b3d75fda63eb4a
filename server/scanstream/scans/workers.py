"""Worker processes, seen from the server: each runs one call at a time, and none is trusted to answer.

Why not `anyio.to_process`: it hands a call to an idle process and waits, however long that one does not take it; and
one that is cancelled while a process comes up leaves the process behind. Here every wait for a process has a deadline
or can be cancelled; then the process is killed, and the next call gets another. `ProcessPoolExecutor` breaks as a whole
when one process dies.
"""

import errno
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio

from scanstream.errors import Shortage
from scanstream.scans import errands
from scanstream.scans.shard import prepare
from scanstream.shortage import shortage

START_SECONDS = 60.0
"""In which a new process is there: it imports what the strategies import, on a machine that may be busy."""
HAND_OVER_SECONDS = 20.0
"""In which a process takes up its call: it was idle, and may have to wait for a processor."""
MOST_HAND_OVERS = 3
"""Processes that a call is offered to."""
LOOK_SECONDS = 1.0
"""From one look at the processes to the next; one that is found stopped twice is replaced."""
MOST_READ = 1024 * 1024
"""Bytes of an answer taken at once."""
FAREWELL_SECONDS = 2.0
"""In which a process that was killed is gone, unless the kernel itself hangs."""

logger = logging.getLogger("scanstream")


class WorkerDied(Exception):
    """The process ended in the middle of a call."""


class Worker:
    """One process, and the two pipes to it.

    Made by `subprocess` and not by the loop: uvloop 0.22 leaves descriptors behind whenever a start fails, and a start
    fails just when there are none.
    """

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._calls, self._answers = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(self._calls, False)
        os.set_blocking(self._answers, False)
        self.seen_stopped = 0
        """Looks in a row that found it stopped."""

    @classmethod
    def start(cls) -> "Worker":
        """A new process, which is not there yet.

        :raises Shortage: if it cannot be made
        """
        command = [sys.executable, "-c", errands.BOOT]
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        except OSError as error:
            lacking = "processes" if error.errno == errno.EAGAIN else shortage(error)
            raise Shortage(f"No worker process can be started: {error.strerror}", lacking=lacking) from error
        return cls(process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    async def tell(self, message: bytes) -> None:
        """Send what it is to do, and wait until it is at it."""
        left = memoryview(message)
        while left:
            await anyio.wait_writable(self._calls)
            with suppress(BlockingIOError):
                left = left[os.write(self._calls, left) :]
        await self.answer()

    async def answer(self) -> bytes:
        """The next answer.

        :raises EOFError: if the process ends before
        """
        return await self._read(int.from_bytes(await self._read(errands.LENGTH_BYTES), "big"))

    async def _read(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            await anyio.wait_readable(self._answers)
            with suppress(BlockingIOError):
                part = os.read(self._answers, min(size - len(received), MOST_READ))
                if not part:
                    raise EOFError
                received += part
        return bytes(received)

    def kill(self) -> None:
        """End it; a stopped one, too."""
        self._process.kill()

    async def bury(self) -> None:
        """End it, and let go of its pipes."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            if not pipe.closed:
                anyio.notify_closing(pipe)
                pipe.close()
        with anyio.move_on_after(FAREWELL_SECONDS, shield=True):
            while self.alive:  # noqa: ASYNC110  # the kernel tells when it likes
                await anyio.sleep(0.001)


GONE = (EOFError, BrokenPipeError, ConnectionResetError, anyio.ClosedResourceError)
"""What a pipe to a process raises that has ended."""


class Workers:
    """At most so many processes, started when they are needed."""

    def __init__(self, most: int, *, idle: bool = True) -> None:
        """`idle`: they compute in the time that nothing else wants (priority.py)."""
        self._places = anyio.CapacityLimiter(most)
        self._idle_class = idle
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

    async def call(
        self, function: Callable[..., Any], *arguments: Any, begun: Callable[[], None] = lambda: None
    ) -> Any:
        """Run a function of a module in a process. A call that is cancelled ends its process.

        :param begun: is called when a process has taken it up
        :raises Shortage: if the machine lacks what a process needs; the call was not begun
        :raises WorkerDied: if the process ended in the middle of it
        :raises Exception: what the function raised
        """
        message = pickle.dumps((function, arguments), pickle.HIGHEST_PROTOCOL)
        async with self._places:
            worker = await self._taken(message)
            begun()
            try:
                answer = await worker.answer()
            except GONE as error:
                await self._discard(worker)
                raise WorkerDied(f"process {worker.pid}") from error
            except BaseException:
                await self._discard(worker)
                raise
            self._idle.append(worker)
        returned, value = pickle.loads(answer)  # noqa: S301  # from a process that this one has started
        if not returned:
            raise value
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
        self._all.add(worker)
        try:
            with anyio.fail_after(START_SECONDS):
                await worker.tell(pickle.dumps(sys.path))
                await worker.tell(pickle.dumps((prepare, (os.getpid(), self._idle_class))))
                await worker.answer()
        except (TimeoutError, *GONE) as error:
            await self._discard(worker)
            raise Shortage("A worker process could not come up", lacking="processes") from error
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
        """End processes that somebody has stopped (SIGSTOP): they would never answer."""
        while True:
            await anyio.sleep(LOOK_SECONDS)
            for worker in tuple(self._all):
                worker.seen_stopped = worker.seen_stopped + 1 if is_stopped(worker.pid) else 0
                if worker.seen_stopped > 1:
                    logger.warning("worker process %d was stopped; it is replaced", worker.pid)
                    worker.kill()
            gone = [worker for worker in self._idle if not worker.alive]
            self._idle = [worker for worker in self._idle if worker.alive]
            for worker in gone:
                await self._discard(worker)


def is_stopped(pid: int) -> bool:
    """Whether a process stands still because somebody told it to (`T` in proc(5)); where that is not told: no."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] == "T"

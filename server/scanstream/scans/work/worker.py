"""One worker process, seen from the server: it is told what to do, answers, and can be ended whatever it does."""

import errno
import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import anyio

from scanstream.errors import Shortage
from scanstream.scans.work import errands
from scanstream.scans.work.priority import make_way
from scanstream.shortage import shortage

MOST_READ = 1024 * 1024
"""Bytes of an answer taken at once."""
MOST_ANSWERED = 256 * MOST_READ
"""Bytes of one answer: more than any shard may find (shard.py)."""
END_SECONDS = 0.5
"""From the end of its pipe to that of the process, where it is one."""
FAREWELL_SECONDS = 2.0
"""In which a process that was killed is gone, unless the kernel itself hangs, or has no time for it."""


class OutOfStep(Exception):
    """What came through the pipe is no answer: somebody else has written there. Nothing after it can be trusted."""


class Worker:
    """One process, and the two pipes to it.

    Made by `subprocess` and not by the loop: uvloop 0.22 leaves descriptors behind whenever a start fails, and a start
    fails just when there are none.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", calls: int, answers: int) -> None:
        """`calls`, `answers`: our ends of the pipes."""
        self._process = process
        self._calls, self._answers = calls, answers
        self._pipes = [calls, answers]
        """Those that are open."""
        os.set_blocking(calls, False)
        os.set_blocking(answers, False)
        self.seen_stopped = 0
        """Looks in a row that found it stopped."""
        self.seen_dead = 0
        """Looks in a row that found that it has ended."""
        self.seen_idle = 0
        """Looks in a row that found it without work."""

    @classmethod
    def start(cls) -> "Worker":
        """A new process, which is not there yet.

        :raises Shortage: if it cannot be made
        """
        try:
            return cls._started([sys.executable, "-c", errands.BOOT])
        except OSError as error:
            lacking = "processes" if error.errno == errno.EAGAIN else shortage(error)
            raise Shortage(f"No worker process can be started: {error.strerror}", lacking=lacking) from error

    @classmethod
    def _started(cls, command: list[str]) -> "Worker":
        """Over pipes of ours: where descriptors run out, Python before 3.11.4 leaves open those that it had made."""
        with ExitStack() as theirs, ExitStack() as ours:
            (hears, calls), (answers, says) = _pipe(theirs, ours), _pipe(ours, theirs)
            process = subprocess.Popen(command, stdin=hears, stdout=says)
            ours.pop_all()
        return cls(process, calls, answers)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    async def was_killed(self) -> bool:
        """Whether somebody has ended it with SIGKILL; for when its pipe has ended, which comes a moment before."""
        with anyio.move_on_after(END_SECONDS):
            while self.alive:  # noqa: ASYNC110  # as in `bury`
                await anyio.sleep(0.001)
        return self._process.returncode == -signal.SIGKILL

    async def tell(self, message: bytes) -> None:
        """Send what it is to do, and wait until it is at it.

        :raises EOFError: if the process ends before
        :raises OutOfStep: if it says something else
        """
        left = memoryview(message)
        while left:
            await anyio.wait_writable(self._calls)
            with suppress(BlockingIOError):
                left = left[os.write(self._calls, left) :]
        if await self.answer() != errands.TAKEN:
            raise OutOfStep

    async def answer(self) -> bytes:
        """The next answer.

        :raises EOFError: if the process ends before
        :raises OutOfStep: if it is none
        """
        length = int.from_bytes(await self._read(errands.LENGTH_BYTES), "big")
        if length > MOST_ANSWERED:
            raise OutOfStep
        return await self._read(length)

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
        if self.alive:
            make_way(self.pid)
            self._process.kill()

    def hang_up(self) -> None:
        """Whoever waits for an answer gets none: it has ended, and left its pipe to a child of its own."""
        anyio.notify_closing(self._answers)

    async def bury(self) -> None:
        """End it, and let go of its pipes. Whatever it still does then, its end is waited for."""
        self.kill()
        while self._pipes:
            pipe = self._pipes.pop()
            anyio.notify_closing(pipe)
            os.close(pipe)
        with anyio.move_on_after(FAREWELL_SECONDS, shield=True):
            while self.alive:  # noqa: ASYNC110  # the kernel tells when it likes
                await anyio.sleep(0.001)
            return
        with suppress(RuntimeError):  # no thread is to be had
            threading.Thread(target=self._process.wait, name="burial", daemon=True).start()


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """A pipe: the end to read from and the one to write to, each of which is closed with its stack."""
    read, write = os.pipe()
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    return read, write


GONE = (EOFError, BrokenPipeError, ConnectionResetError, anyio.ClosedResourceError, OutOfStep)
"""What a pipe to a process raises that has ended, or is as good as that."""


def is_stopped(pid: int) -> bool:
    """Whether a process stands still because somebody told it to (`T` in proc(5)); where that is not told: no."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] == "T"

"""Worker processes that die, stand still, never come up or cannot be had: no call waits for them for ever."""

import ctypes
import errno
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from scans.planted import has_entered_the_idle_class
from scanstream.errors import Shortage
from scanstream.scans.work import errands, worker
from scanstream.scans.work import processes as pool
from scanstream.scans.work.priority import NICENESS
from scanstream.scans.work.processes import Processes, WorkerDied
from support.process import stand_still

pytestmark = pytest.mark.anyio


def hang() -> None:
    """Never end."""
    threading.Event().wait()


def hold_much() -> None:
    """Memory that the kernel has to take back at the end, which takes a while."""
    globals()["held"] = b"x" * 200_000_000


def die() -> None:
    """As the kernel ends a process that takes too much."""
    os.kill(os.getpid(), signal.SIGKILL)


def stop_myself() -> None:
    """As Ctrl-Z or a debugger stops a process."""
    os.kill(os.getpid(), signal.SIGSTOP)  # noqa: TID251  # in there nothing else runs
    time.sleep(0.01)


def leave_a_child_and_die() -> None:
    """The child has the pipes of its parent, so that they do not end with it: it is forked behind Python's back."""
    if ctypes.CDLL(None).fork() == 0:
        threading.Event().wait(10)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def fork() -> bool:
    """The child comes back from here, too."""
    os.fork()
    return True


def read_input() -> bytes:
    """As a program does that is started without an input of its own."""
    return os.read(0, 1)


def write_to_every_pipe(payload: bytes) -> None:
    """Between the answers; to the server, if it knew which of them leads there."""
    for descriptor in range(3, 32):
        with suppress(OSError):
            os.write(descriptor, payload)


def chatter() -> str:
    """Print where the answers go."""
    print("all over the pipe", flush=True)
    os.write(1, b"x" * 100_000)
    os.write(2, b"x" * 100_000)
    return "said"


class Bomb(Exception):
    """Goes off where it is unpacked."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (3,)


def leave(how: str) -> None:
    """Raise what would end whoever raises it again, or unpacks it."""
    raise SystemExit(3) if how == "raised" else Bomb


class Workers(Processes):
    """Processes whose calls may take as long as they like, unless told."""

    def __init__(self, most: int) -> None:
        super().__init__(Path(), most=most)

    async def do(
        self,
        function: Callable[..., Any],
        *arguments: object,
        begun: Callable[[], None] = lambda: None,
        left: Callable[[], float] = lambda: 60.0,
    ) -> Any:
        """Call it; `begun` when a process has taken it up."""

        @contextmanager
        def at_work() -> Iterator[None]:
            begun()
            yield

        return await self.call(function, *arguments, left=left, at_work=at_work())


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    """One process at most."""
    workers = Workers(1)
    async with workers.open():
        yield workers


def gone(pid: int) -> bool:
    """Whether there is no such process (any more)."""
    return not Path(f"/proc/{pid}").exists()


def open_descriptors() -> int:
    """How many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_process_serves_one_call_after_the_other_behind_the_server(workers: Workers) -> None:
    begun: list[str] = []
    pid = await workers.do(os.getpid, begun=lambda: begun.append("begun"))
    assert begun == ["begun"]
    assert pid != os.getpid()
    assert await workers.do(os.getpid) == pid
    assert await workers.do(os.nice, 0) == min(19, os.nice(0) + NICENESS)
    if sys.platform == "linux":
        assert await workers.do(has_entered_the_idle_class)


async def test_what_a_call_prints_does_not_get_between(workers: Workers) -> None:
    assert await workers.do(chatter) == "said"
    assert await workers.do(max, 1, 2) == 2


async def test_what_a_call_raises_comes_back(workers: Workers) -> None:
    with pytest.raises(ZeroDivisionError):
        await workers.do(divmod, 1, 0)
    assert await workers.do(max, 1, 2) == 2


async def test_a_process_that_dies_breaks_its_call_only(workers: Workers) -> None:
    pid = await workers.do(os.getpid)
    with pytest.raises(WorkerDied) as died:
        await workers.do(die)
    assert died.value.killed
    with pytest.raises(WorkerDied) as died:
        await workers.do(os._exit, 1)
    assert not died.value.killed
    assert await workers.do(os.getpid) != pid


async def test_a_process_that_dies_and_leaves_its_pipes_to_a_child_is_not_waited_for(workers: Workers) -> None:
    await workers.do(os.getpid)  # it is there: to start takes its own time
    with anyio.fail_after(8), pytest.raises(WorkerDied):
        await workers.do(leave_a_child_and_die)
    assert await workers.do(max, 1, 2) == 2


async def test_a_call_that_forks_is_answered_once(workers: Workers) -> None:
    for number in range(10):
        assert await workers.do(fork)
        assert await workers.do(max, number, 0) == number


async def test_there_is_no_call_to_read_for_who_reads_standard_input(workers: Workers) -> None:
    with anyio.fail_after(60):
        assert await workers.do(read_input) == b""
    assert await workers.do(max, 1, 2) == 2


@pytest.mark.parametrize("how", ["raised", "unpacked"])
async def test_what_a_call_raises_never_ends_the_server(how: str, workers: Workers) -> None:
    with pytest.raises((RuntimeError, WorkerDied)):
        await workers.do(leave, how)
    assert await workers.do(abs, -1) == 1


@pytest.mark.parametrize(
    "payload",
    [
        errands.framed(b""),
        errands.framed(b"no pickle"),
        errands.framed(pickle.dumps("no pair")),
        errands.framed(pickle.dumps((True, "forged"))) * 3,
        b"\xff" * errands.LENGTH_BYTES,
    ],
    ids=["empty", "no pickle", "no answer", "answers of its own", "endless"],
)
async def test_what_a_call_writes_between_the_answers_costs_no_other_call(payload: bytes, workers: Workers) -> None:
    with suppress(WorkerDied):
        await workers.do(write_to_every_pipe, payload)
    for number in range(3):
        assert await workers.do(max, number, 0) == number


async def test_a_process_without_work_is_let_go(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(pool, "IDLE_LOOKS", 5)
    pid = await workers.do(os.getpid)
    with anyio.fail_after(20):
        while workers.pids():  # noqa: ASYNC110  # the kernel tells nobody
            await anyio.sleep(0.01)
    assert gone(pid)
    assert await workers.do(max, 1, 2) == 2


async def test_a_call_that_is_cancelled_ends_its_process(workers: Workers) -> None:
    pid = await workers.do(os.getpid)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: workers.do(hang, begun=tasks.cancel_scope.cancel))
    assert gone(pid)
    assert await workers.do(max, 1, 2) == 2


async def test_a_call_whose_time_is_over_is_ended_with_its_process(workers: Workers) -> None:
    pid = await workers.do(os.getpid)
    asked = iter([0.01, 0.01, 0.0])
    with pytest.raises(TimeoutError):
        await workers.do(hang, left=lambda: next(asked))
    assert gone(pid)


async def test_one_that_takes_long_to_end_is_waited_for_by_nobody_and_leaves_nothing_behind(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "FAREWELL_SECONDS", 0.0)
    pid = await workers.do(os.getpid)
    await workers.do(hold_much)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: workers.do(hang, begun=tasks.cancel_scope.cancel))
    assert not workers.pids()
    with anyio.fail_after(20):
        while not gone(pid):  # noqa: ASYNC110  # the kernel tells nobody
            await anyio.sleep(0.01)


async def test_an_idle_process_that_died_is_not_missed(workers: Workers) -> None:
    pid = await workers.do(os.getpid)
    os.kill(pid, signal.SIGKILL)
    assert await workers.do(os.getpid) != pid


async def test_an_idle_process_that_does_not_take_its_call_is_replaced(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "is_stopped", lambda _: False)  # where the kernel does not tell
    pid = await workers.do(os.getpid)
    stand_still(pid)
    monkeypatch.setattr(pool, "HAND_OVER_SECONDS", 2.0)
    with anyio.fail_after(60):
        assert await workers.do(os.getpid) != pid
    assert gone(pid)


async def test_a_process_that_is_stopped_is_replaced_idle_or_at_work(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.1)
    pid = await workers.do(os.getpid)
    stand_still(pid)
    with anyio.fail_after(20):
        while not gone(pid):  # noqa: ASYNC110  # the kernel tells nobody
            await anyio.sleep(0.01)
        with pytest.raises(WorkerDied):
            await workers.do(stop_myself)
        assert await workers.do(max, 1, 2) == 2


@contextmanager
def no_more_descriptors(but: int) -> Iterator[None]:
    """This process can open nothing more, but for so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + but, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_descriptors_there_is_no_process_and_nothing_is_left_behind(workers: Workers) -> None:
    before = open_descriptors()
    for few in range(6):  # two pipes to it, and one by which Python hears why there is none
        with no_more_descriptors(few), pytest.raises(Shortage) as caught:
            await workers.do(max, 1, 2)
        assert caught.value.lacking == "file descriptors"
    assert open_descriptors() == before
    assert await workers.do(max, 1, 2) == 2


async def test_where_no_process_can_be_forked_that_is_a_shortage(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refused)
    with pytest.raises(Shortage) as caught:
        await workers.do(max, 1, 2)
    assert caught.value.lacking == "processes"


async def test_a_process_that_does_not_come_up_is_a_shortage_and_is_not_left_behind(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errands, "BOOT", "raise SystemExit(1)")
    with pytest.raises(Shortage):
        await workers.do(max, 1, 2)
    monkeypatch.setattr(errands, "BOOT", "import threading; threading.Event().wait()")
    monkeypatch.setattr(pool, "START_SECONDS", 0.2)
    with pytest.raises(Shortage):
        await workers.do(max, 1, 2)
    assert not workers.pids()


async def test_at_the_end_no_process_is_left_whatever_it_does() -> None:
    workers = Workers(2)
    async with workers.open():
        pid = await workers.do(os.getpid)
        stand_still(pid)
    assert gone(pid)
    assert not workers.pids()

"""A worker gives way, but never stands still: measured in processes of their own, on one processor."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scanstream.scans.work import priority

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the scheduling classes are Linux's")

BUSY = "while True: pass"
WORKER = """
import os, sys
from pathlib import Path
from scanstream.scans.work import priority

measured, room, seconds = priority._times, Path(sys.argv[1]), 0

def times(thread):
    global seconds
    print(os.sched_getscheduler(thread), flush=True)
    seconds += room.exists()  # so many in which it ran all the time, and waited for nothing
    ran, waited = measured(thread)
    return ran + seconds * 10**12, waited

priority._times = times
priority.step_back(idle=True)
while True: pass
"""
"""What it has waited for is the kernel's figure. That there is room is told it: others may be at this processor.

At each look it says its class.
"""


@contextmanager
def running(program: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A Python program on this test's processor."""
    with subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def one_processor() -> Iterator[None]:
    """Everything that a test starts shares one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def wait_for_class(process: int, wanted: int) -> None:
    """Until the kernel says so."""
    deadline = time.monotonic() + 60
    while os.sched_getscheduler(process) != wanted:
        assert time.monotonic() < deadline, os.sched_getscheduler(process)
        time.sleep(0.05)


def test_a_worker_that_is_starved_leaves_its_class_until_there_is_room(one_processor: None, tmp_path: Path) -> None:
    room = tmp_path / "room"
    with running(BUSY), running(BUSY), running(WORKER, str(room)) as worker:
        assert worker.stdout is not None
        assert int(worker.stdout.readline()) == os.SCHED_IDLE
        wait_for_class(worker.pid, os.SCHED_OTHER)
        room.touch()
        wait_for_class(worker.pid, os.SCHED_IDLE)


def test_what_a_thread_has_run_and_waited_is_what_the_kernel_says() -> None:
    began, (ran, waited) = time.thread_time_ns(), priority._times(threading.get_native_id())
    while time.thread_time_ns() < began + 50_000_000:
        pass
    ran_then, waited_then = priority._times(threading.get_native_id())
    assert 25_000_000 < ran_then - ran < time.thread_time_ns() - began + 25_000_000
    assert waited_then >= waited


def test_who_could_not_leave_the_class_does_not_enter_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user may enter it, and never leave: beside a program that never rests it would stand still."""
    classes: list[int] = []
    monkeypatch.setattr(os, "nice", ordinary)
    monkeypatch.setattr(os, "sched_setscheduler", lambda _, wanted, __: classes.append(wanted))
    priority.step_back(idle=True)
    assert not classes


def ordinary(increment: int) -> int:
    """As the kernel answers one who is not privileged."""
    if increment < 0:
        raise PermissionError(1, "Operation not permitted")
    return 0


@pytest.mark.parametrize("refused", [["nice"], ["sched_setscheduler"], ["nice", "sched_setscheduler"]])
def test_a_sandbox_that_refuses_refuses_no_shard(refused: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "nice", lambda _: 0)
    for name in refused:
        monkeypatch.setattr(os, name, refuse)
    priority.step_back(idle=True)

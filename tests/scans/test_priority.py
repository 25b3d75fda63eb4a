"""A worker gives way, but never stands still: measured in processes of their own, on one processor."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scanstream.scans.work import priority

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the scheduling classes are Linux's")

BUSY = "while True: pass"
WORKER = f"from scanstream.scans.work.priority import step_back; step_back(idle=True); print(flush=True)\n{BUSY}"


@contextmanager
def running(program: str) -> Iterator[int]:
    """A Python program on this test's processor; its process id."""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        try:
            yield process.pid
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


def test_a_worker_that_is_starved_leaves_its_class_until_there_is_room(one_processor: None) -> None:
    with running(WORKER) as worker:
        wait_for_class(worker, os.SCHED_IDLE)
        with running(BUSY), running(BUSY):
            wait_for_class(worker, os.SCHED_OTHER)
        wait_for_class(worker, os.SCHED_IDLE)


def test_a_sandbox_that_refuses_refuses_no_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "nice", refuse)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    priority.step_back(idle=True)

"""How a worker process gives way to the server, and yet never stands still.

On Linux a low priority alone is not enough: a thread of the server that wakes up may wait for the next tick of the
kernel, some 4 ms, until one that computes is interrupted. One of the class `SCHED_IDLE` is interrupted at once. But
beside a program that never rests such a one gets next to nothing (0.3 % of a core, sched(7)). So a thread watches: a
worker that waits for a processor nearly all the time goes back to the usual class, until there is room again. Who is
not privileged may enter the class and never leave it (sched(7), "SCHED_IDLE"); such a worker stays out of it.
"""

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

NICENESS = 10
"""The push loop comes first."""
SECONDS = 1.0
"""From one look to the next."""
STARVED, ROOM = 0.95, 0.5
"""Share of the time in which it could have run, and did not: above the first it leaves the class, below the other it
returns."""


def step_back(*, idle: bool) -> None:
    """Come after the server; if `idle`, compute only in time that nothing else of this control group wants.

    A sandbox may refuse either; then the worker runs as it may.
    """
    with suppress(OSError):
        os.nice(NICENESS)
    if idle and sys.platform == "linux" and _may_come_back():
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            watched = threading.get_native_id()
            threading.Thread(target=_watch, args=(watched,), name="priority", daemon=True).start()


def make_way(process: int) -> None:
    """Let a process that is about to be killed have the time to end: it takes its last steps itself.

    Only who is privileged may raise another; else it ends when there is room.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setscheduler(process, os.SCHED_OTHER, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, process, os.nice(0))


if sys.platform == "linux":

    def _may_come_back() -> bool:
        """Whether one that entered the class could leave it: the kernel asks for the same as for a lower niceness."""
        try:
            os.nice(-1)
            os.nice(1)
        except OSError:
            return False
        return True

    def _watch(thread: int) -> None:
        with suppress(OSError):  # a kernel that does not tell, or a thread that has ended
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # this thread: it must see it
            ran, waited = _times(thread)
            while True:
                threading.Event().wait(SECONDS)
                before, (ran, waited) = (ran, waited), _times(thread)
                share = (waited - before[1]) / max(1, ran - before[0] + waited - before[1])
                wanted = ran + waited - sum(before) > SECONDS * 5e8  # nanoseconds: it did not just wait for work
                if wanted and share > STARVED:
                    os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
                elif share < ROOM:
                    os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))

    def _times(thread: int) -> tuple[int, int]:
        """(nanoseconds that a thread has run, that it could have run and waited): the kernel's sched-stats.rst."""
        ran, waited, _ = Path(f"/proc/self/task/{thread}/schedstat").read_text().split()
        return int(ran), int(waited)

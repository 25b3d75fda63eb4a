"""Open files: as many as the system grants, and enough of them kept so that watchers cannot starve scans."""

import resource
from contextlib import suppress

from scanstream.errors import SettingError

MOST_DESCRIPTORS = 1_048_576
"""Where the hard limit is higher, or there is none."""
LEAST_DESCRIPTORS = 64
"""With fewer a server would start, and serve nobody."""
RESERVE, RESERVE_A_WORKER = 160, 8
"""Kept for what is no client: the store and its journal, maps of market data (a dozen each), logs, strategies that
wait for input, a live market; and for each worker process its pipes and what it takes to start one."""
LEAST_SHARE = 4
"""Where the limit is so low that nothing would be left, clients have this part of it (a fourth)."""


def raise_limit() -> None:
    """Take as many descriptors as this process may have: the soft limit is for programs that use `select`.

    :raises SettingError: if that is too few for a server
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    with suppress(OSError, ValueError):  # macOS grants less than it says
        if limit() < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if limit() < LEAST_DESCRIPTORS:
        raise SettingError(
            f"A server needs {LEAST_DESCRIPTORS} open files, and this process may have {limit()} (see ulimit -n)"
        )


def limit() -> int:
    """How many this process may have open now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def places(workers: int) -> int:
    """How many clients may be connected; asked each time, as the limit of a running process can be changed."""
    most = limit()
    return max(most - RESERVE - workers * RESERVE_A_WORKER, most // LEAST_SHARE)

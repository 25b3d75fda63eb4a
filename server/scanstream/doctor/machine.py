"""The machine and what is installed on it: versions, extras, limits, room."""

import os
import platform
import re
import resource
import shutil
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from scanstream import __version__
from scanstream.descriptors import RESERVE, RESERVE_A_WORKER
from scanstream.doctor.finding import Finding, bad, good

OLDEST_PYTHON = (3, 11)
LEAST_MEMORY_BYTES = 512 * 1024 * 1024
LEAST_ROOM_BYTES = 1024 * 1024 * 1024
CLIENTS = 1000
"""Descriptors that a server should have for them."""
LEAST_YEAR = 2025
EXTRAS = ("server", "nats", "live", "parquet", "jwt", "notebook", "otel")
"""What may be installed beside the client; what else is in the package's metadata is for those who develop it."""

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*])?[^;]*?(?:;.*extra == [\"']([a-z-]+)[\"'])?$")


def versions() -> Iterator[Finding]:
    """Python, ours, and those of the libraries."""
    here = platform.python_version()
    if tuple(map(int, platform.python_version_tuple()[:2])) < OLDEST_PYTHON:
        yield bad("python", f"{here} on {platform.system()}", "use Python 3.11 or newer")
    else:
        yield good("python", f"{here} on {platform.system()} {platform.machine()}")
    yield good("scanstream", __version__)
    for extra, names in _needs().items():
        found = {name: _version(name) for name in names}
        missing = [name for name, there in found.items() if there is None]
        what = f"installed: {extra}" if extra else "libraries"
        told = ", ".join(f"{name} {there}" for name, there in found.items() if there)
        if not missing:
            yield good(what, told)
        elif extra:
            yield good(
                what, f"not: there is no {', '.join(missing)}", f"pip install 'scanstream[{extra}]', if you need it"
            )
        else:
            yield bad(what, f"there is no {', '.join(missing)}", "install scanstream again")


def _needs() -> dict[str, list[str]]:
    """Of each extra (empty: of all) the packages that it names."""
    found: dict[str, list[str]] = {"": [], **{extra: [] for extra in EXTRAS}}
    try:
        stated = requires("scanstream") or []
    except PackageNotFoundError:
        return {}
    for line in stated:
        match = _REQUIREMENT.match(line)
        if match is None or (match[2] or "") not in found or match[1] == "scanstream":
            continue
        if "sys_platform" not in line or os.name == "posix":
            found[match[2] or ""].append(match[1])
    beside = {
        extra: [name for name in names if extra in ("", "server") or name not in found["server"]]
        for extra, names in found.items()
    }
    return {extra: names for extra, names in beside.items() if names}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def clock() -> Iterator[Finding]:
    """What time it is here."""
    told = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if time.gmtime().tm_year < LEAST_YEAR:
        yield bad("clock", told, "set this machine's clock: scans carry its time")
    else:
        yield good("clock", told)


def limits(workers: int, data: Path | None) -> Iterator[Finding]:
    """Descriptors, memory, processors, room on the disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = RESERVE + workers * RESERVE_A_WORKER
    told = (
        "without limit"
        if hard == resource.RLIM_INFINITY
        else f"{hard:,} at most, so some {max(0, hard - needed):,} clients"
    )
    if hard != resource.RLIM_INFINITY and hard < needed + CLIENTS:
        yield bad("descriptors", told, "raise the hard limit of open files (ulimit -Hn; LimitNOFILE= of systemd)")
    else:
        yield good("descriptors", told)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    more = "" if workers <= processors else "more workers than processors take turns"
    yield good("processors", f"{processors}, and {workers} workers", more)
    if (free := _memory()) is not None:
        told = f"{free / 1024**2:,.0f} MiB available"
        if free < LEAST_MEMORY_BYTES:
            yield bad(
                "memory", told, "a server and its workers want half a GiB and more: stop others, or lower --workers"
            )
        else:
            yield good("memory", told)
    place = existing(data or Path(os.environ.get("TMPDIR", "/tmp")))  # noqa: S108  # only looked at
    free = shutil.disk_usage(place).free
    told = f"{free / 1024**3:,.1f} GiB free at {place}"
    if free < LEAST_ROOM_BYTES:
        yield bad("room", told, "free some: without room scans wait, and new ones are refused")
    else:
        yield good("room", told)


def _memory() -> int | None:
    """Bytes that are to be had, also by the limit of a container; None where the system does not tell."""
    found: list[int] = []
    try:
        told = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(int(told["MemAvailable"].split()[0]) * 1024)
        most = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if most != "max":
            found.append(int(most) - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError, KeyError):
        pass
    return min(found, default=None)


def existing(path: Path) -> Path:
    """The path, or the nearest above it that is there, as far as this user may look."""
    path = path.absolute()
    while not os.path.exists(path) and path != path.parent:  # noqa: PTH110  # Path's raises where it may not look
        path = path.parent
    return path

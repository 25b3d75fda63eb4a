"""The machine: which core the server has and which the load, what a process has used, and facts for the report."""

import os
import platform
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cores() -> tuple[int, int]:
    """The server's core, and the load's; the same where there is one only."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def pinned(core: int, command: list[str]) -> list[str]:
    """The command, to be run on this core; what it starts stays there, too."""
    return ["taskset", "--cpu-list", str(core), *command]


def cpu_seconds(pid: int) -> float:
    """What the process and its threads have used, user and system, by the scheduler's clock.

    The clock of another process: clock_getcpuclockid(3), as the kernel numbers it (include/linux/posix-timers_types.h).
    """
    return time.clock_gettime((~pid << 3) | 2)


def resident_bytes(pid: int) -> int:
    """Memory of the process that is in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


PATIENCE_SECONDS = 360
"""In which whatever was asked of a process is done, also on a machine that others keep busy."""


def line_of(process: "subprocess.Popen[bytes]") -> str:
    """The next line that it prints; empty where it has ended. Its pipe must have no buffer on our side.

    :raises TimeoutError: if there is none for too long
    """
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], PATIENCE_SECONDS)[0]:
        raise TimeoutError(f"{process.args!r} has said nothing for {PATIENCE_SECONDS} s")
    return process.stdout.readline().decode().rstrip("\n")


def facts() -> dict[str, str]:
    """What figures depend on, without the names of anything."""
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * PAGE_BYTES / 2**30:.0f} GiB",
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "compiler": _first_line("gcc", "--version"),
        "node": _first_line("node", "--version"),
        "others at work before (load average)": f"{os.getloadavg()[0]:.1f}",
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _first_line(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "absent"
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("\n")[0]


def progress(text: str) -> None:
    """What is being done, for whoever waits."""
    print(text, file=sys.stderr, flush=True)

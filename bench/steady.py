"""Work that is always the same, beside a server whose steps are timed (watched.py): the control of that watch.

    python bench/steady.py

Each few milliseconds a step of some half millisecond: a state is encoded and decoded, and some frames go through a
socket. It is timed by the same clock as the server's steps, the CPU of its thread. That clock is not the program's
alone: the kernel's work for arriving packets and disks is charged to whoever runs just then, and so is what the machine
below a virtual one does to it, unless it says so ("steal"). What a step takes here beyond the usual is none of its own
doing. A line on standard input ends a part, and what was seen in it is one line of JSON on standard output.
"""

import json
import select
import socket
import statistics
import sys
import time
from array import array
from pathlib import Path
from typing import Any

PAUSE_SECONDS = 0.005
STATE = {f"strategy {number}": {"status": "running", "shards": [number] * 8, "note": "x" * 40} for number in range(40)}
FRAME = b"x" * 300
FRAMES = 20
USUAL_AT_LEAST = 20
"""Steps, before anything is said of what is usual."""


class Wire:
    """A connection of this process to itself."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._near = socket.create_connection(listener.getsockname())
            self._far, _ = listener.accept()

    def carry(self) -> None:
        """Some frames there, one after the other, and all of them read."""
        left = 0
        for _ in range(FRAMES):
            left += self._near.send(FRAME)
        while left:
            left -= len(self._far.recv(left))


def step(wire: Wire) -> None:
    """The same each time."""
    json.loads(json.dumps(STATE))
    json.loads(json.dumps(STATE))
    wire.carry()


def told(steps: "array[float]", stolen: float) -> dict[str, Any]:
    """What was seen in a part: CPU seconds of a step, and seconds that the machine below says it has taken."""
    known = len(steps) >= USUAL_AT_LEAST
    usual, longest = (statistics.median(steps), max(steps)) if known else (0.0, 0.0)
    return {"steps": len(steps), "usual": usual, "longest": longest, "stolen": stolen}


def stolen_seconds() -> float:
    """Of all processors, since the machine's start (proc(5), /proc/stat)."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()
    return int(fields[8]) / 100


def main() -> None:
    """Until standard input ends."""
    wire, steps, stolen = Wire(), array("d"), stolen_seconds()
    step(wire)
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], PAUSE_SECONDS)
        if not ready:
            began = time.thread_time()
            step(wire)
            steps.append(time.thread_time() - began)
        elif sys.stdin.readline():
            print(json.dumps(told(steps, stolen_seconds() - stolen)), flush=True)
            steps, stolen = array("d"), stolen_seconds()
        else:
            return


if __name__ == "__main__":
    main()

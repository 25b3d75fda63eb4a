"""What processes hold while nobody wants anything of them, and what is left over at the end."""

import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from support.process import children

MOST_GROWTH = 0.10
"""By which a process may hold more memory at the end than it did at the start's plateau."""
MEGABYTE = 1024 * 1024
ONCE = Counter({"netlink": 1})
"""What a process opens when it first needs it, and keeps: by this it asks the kernel what neighbours have not read."""
LISTENS = "0A"
"""Where /proc/net/tcp has the state of a connection."""


class Held(NamedTuple):
    """What a process holds while nobody wants anything of it."""

    resident: int
    """Bytes of memory."""
    processes: int
    """How many it has started that have not ended."""
    places: int
    """How many its pools may have."""
    descriptors: Mapping[str, int]
    """How many are open, by what they are."""
    tasks: Mapping[str, int]
    """How many there are, by the coroutine that each runs."""


def resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 of one that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def descriptors(pid: int, ports: Mapping[int, str] | None = None) -> Counter[str]:
    """What a process has open, by what it is; pipes to processes that it has started are theirs.

    :param ports: those of other processes, with their names
    """
    pipes = {target for child in children(pid) for target in _targets(child) if target.startswith("pipe:")}
    sockets = _sockets(pid, ports or {})
    found: Counter[str] = Counter()
    for target in _targets(pid):
        if target in pipes:
            continue
        if target == "/":  # libuv's spare, which it opens anew after it ran out of descriptors
            found["/dev/null"] += 1
        elif target.startswith(("pipe:", "socket:")):
            found[sockets.get(target, target.partition(":")[0])] += 1
        else:
            found[target] += 1
    return found


def _targets(pid: int) -> list[str]:
    """Where its descriptors lead."""
    found = []
    with suppress(FileNotFoundError):  # it has ended, or something is closed meanwhile
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(str(entry.readlink()))
    return found


def _sockets(pid: int, ports: Mapping[int, str]) -> dict[str, str]:
    """By what descriptors lead to: what listens, to whom the others of TCP are connected, and what is the kernel's."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    doors = {_port(row[1]) for row in rows if row[3] == LISTENS}
    told = {}
    for row in rows:
        ours, theirs, state, inode = _port(row[1]), _port(row[2]), row[3], row[9]
        other = f"a connection to {ports.get(theirs, theirs)}"
        kind = "a door" if state == LISTENS else "a client" if ours in doors else other
        told[f"socket:[{inode}]"] = kind
    kernel = Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]
    return told | {f"socket:[{line.split()[-1]}]": "netlink" for line in kernel}


def _port(address: str) -> int:
    return int(address.partition(":")[2], 16)


def left_over(before: Mapping[str, Held], after: Mapping[str, Held]) -> list[str]:
    """What processes hold at the end that they did not hold at the start's plateau, in words."""
    told = []
    for name, held in after.items():
        start = before[name]
        for kind, was, now in (
            ("descriptors", Counter(start.descriptors) | ONCE, held.descriptors),
            ("tasks", Counter(start.tasks), held.tasks),
        ):
            more = Counter(now) - was
            if more:
                told.append(f"{name} has {more.total()} {kind} left over: {dict(more)}")
        if held.processes > held.places:
            told.append(f"{name} has {held.processes} processes, and places for {held.places}")
        if held.resident > start.resident * (1 + MOST_GROWTH):
            held_mb, start_mb = held.resident / MEGABYTE, start.resident / MEGABYTE
            told.append(f"{name} holds {held_mb:.1f} MB of memory, at the start's plateau {start_mb:.1f} MB")
    return told

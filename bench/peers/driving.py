"""What every peer in Python does beside serving: it tells where it listens, and broadcasts when it is told to.

Standard output: its address in the first line, then `done NUMBER` after each run. Standard input, a line at a time:

    run UPDATES PER_TICK MILLISECONDS
"""

import asyncio
import resource
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

UPDATE_BYTES = 280
"""Of one update: what a revision of a scan takes."""

Broadcast: TypeAlias = Callable[[str], Awaitable[object]]


def listener() -> socket.socket:
    """A listening socket on a free port, told on standard output."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    return listening


class Updates:
    """Updates with a number and the time at which the server has them."""

    def __init__(self) -> None:
        self.number = 0

    def next(self) -> str:
        """As JSON, of `UPDATE_BYTES`."""
        self.number += 1
        head = f'{{"n":{self.number},"at":{time.monotonic_ns()},"pad":"'
        return head + "x" * (UPDATE_BYTES - len(head) - 2) + '"}'


async def obey(broadcast: Broadcast) -> None:
    """Run what standard input asks for, until it ends."""
    updates = Updates()
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        _, count, per_tick, milliseconds = line.split()
        await run(updates, broadcast, int(count), int(per_tick), float(milliseconds) / 1000)
        print(f"done {updates.number}", flush=True)


async def run(updates: Updates, broadcast: Broadcast, count: int, per_tick: int, seconds: float) -> None:
    """So many updates, some at each tick."""
    due = time.monotonic()
    for _ in range(count // per_tick):
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        for _ in range(per_tick):
            await broadcast(updates.next())
        due = max(due + seconds, time.monotonic())

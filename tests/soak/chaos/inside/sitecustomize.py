"""What only a process itself can do, asked for from outside: its clock jumps, its database is full, its tasks are told.

Python runs this first where its directory is on the path. Where `CHAOS_LEVER` names a path, the process listens there
for datagrams, one command each: no connection is made, so it hears them also when it can open nothing more. The worker
processes that it starts do not see the variable.
"""

import asyncio
import gc
import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from importlib import import_module
from pathlib import Path
from typing import Any

ANSWER_SECONDS = 30
UNLIMITED_PAGES = 4_294_967_294


class Inside:
    """The process, as the thread that listens has it."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.commits: Any = None
        """The store's writer, where it is one of SQLite."""
        self.ahead = 0.0
        """Seconds by which the clock of this process is wrong."""
        self.leaked: list[Any] = []
        self.mutants: Any = None

    def await_(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run it in the server's loop; what it gives."""
        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(ANSWER_SECONDS)

    def clock(self, seconds: str) -> float:
        """From now on the clock is wrong by so much."""
        self.ahead = float(seconds)
        return self.ahead

    def full(self) -> int:
        """From now on the database may not grow, and has no page that is free; how many it has."""

        def fill(connection: Any) -> int:
            connection.execute("VACUUM")
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()
            return int(pages)

        return int(self.await_(self.commits.run(fill, reads=True)))

    def room(self) -> int:
        """The database may grow again."""
        grow = f"PRAGMA max_page_count = {UNLIMITED_PAGES}"
        (most,) = self.await_(
            self.commits.run(lambda connection: connection.execute(grow).fetchone(), reads=True, urgent=True)
        )
        return int(most)

    def tasks(self) -> dict[str, int]:
        """How many tasks there are, by the coroutine that each runs."""
        assert self.loop is not None
        return Counter(_name(task) for task in asyncio.all_tasks(self.loop))

    def rest(self) -> bool:
        """What nobody needs is let go, as it is in any quiet minute: a short run has none."""
        (collector,) = [callback.__self__ for callback in gc.callbacks if hasattr(callback, "__self__")]

        async def rest() -> None:
            collector.rest()

        self.await_(rest())
        return True

    def breaks(self, name: str) -> bool:
        """Break a promise of the product, and no other, from now on (mutants.py)."""
        if self.mutants is None:
            self.mutants = import_module("mutants").Mutants()  # beside this file
        self.mutants.breaks(name)
        return True

    def leak(self, kind: str, count: str) -> int:
        """Lose so many descriptors, tasks or MB: whoever judges what is left over must find it."""
        if kind == "descriptors":
            self.leaked += [os.open(os.devnull, os.O_RDONLY) for _ in range(int(count))]
        elif kind == "tasks":

            async def leave() -> None:
                self.leaked += [asyncio.create_task(asyncio.sleep(3600)) for _ in range(int(count))]

            self.await_(leave())
        else:
            self.leaked.append(bytearray(os.urandom(1)) * (int(count) * 1024 * 1024))
        return len(self.leaked)


def _name(task: "asyncio.Task[Any]") -> str:
    running = task.get_coro()
    return str(getattr(running, "__qualname__", type(running).__name__))


def _listen(inside: Inside, path: str) -> None:
    commands: dict[str, Callable[..., Any]] = {
        name: getattr(inside, name) for name in ("clock", "full", "room", "tasks", "rest", "leak", "breaks")
    }
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(path)
        while True:
            said, sender = line.recvfrom(4096)
            command, *words = said.decode().split()
            try:
                answer: dict[str, Any] = {"is": commands[command](*words)}
            except Exception as error:  # whoever asked is told
                answer = {"error": repr(error)}
            try:
                line.sendto(json.dumps(answer).encode(), sender)
            except OSError:  # it has not waited
                continue


def _attach(inside: Inside) -> None:
    """Learn of loop and store as they are made, and turn the clock."""
    from scanstream.engines.group_commit import GroupCommit

    real, real_ns, run, make = time.time, time.time_ns, asyncio.Runner.run, GroupCommit.__init__
    time.time = lambda: real() + inside.ahead
    time.time_ns = lambda: real_ns() + int(inside.ahead * 1e9)

    def running(runner: asyncio.Runner, *arguments: Any, **more: Any) -> Any:
        inside.loop = runner.get_loop()
        return run(runner, *arguments, **more)

    def made(commits: GroupCommit, *arguments: Any, **more: Any) -> None:
        make(commits, *arguments, **more)
        inside.commits = commits

    asyncio.Runner.run = running  # type: ignore[assignment,method-assign]
    GroupCommit.__init__ = made  # type: ignore[assignment,method-assign]


if _path := os.environ.pop("CHAOS_LEVER", ""):
    _inside = Inside()
    _attach(_inside)
    threading.Thread(target=_listen, args=(_inside, _path), daemon=True).start()

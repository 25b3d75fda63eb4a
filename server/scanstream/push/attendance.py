"""Tasks that connections need now and then: an idle one has none.

They live in a group of asyncio's own: to start a task and to end it takes 4 µs there, and 36 in one of anyio's, as long
as all else that is done for a discover before it is in the store.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from anyio.lowlevel import cancel_shielded_checkpoint

logger = logging.getLogger("scanstream")


class Attendance:
    """Runs what connections have to wait for, until the server ends."""

    def __init__(self) -> None:
        self._tasks: asyncio.TaskGroup | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take tasks in here; those that are left at the end are cancelled, until they end."""
        async with asyncio.TaskGroup() as self._tasks:
            try:
                yield
            finally:
                self.cut()
                while self._under_way:
                    await cancel_shielded_checkpoint()
                    self.cut()

    def start(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run this, unless the server ends; a defect in it is its own end only."""
        if self._tasks is not None:
            started = self._tasks.create_task(_guarded(task))
            self._under_way.add(started)
            started.add_done_callback(self._under_way.discard)

    def cut(self) -> None:
        """End what is still under way; nobody is there any more to be answered."""
        self._tasks = None
        for task in self._under_way:
            task.cancel()


async def _guarded(task: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        await task()
    except Exception:
        logger.exception("a defect in attending to a connection")

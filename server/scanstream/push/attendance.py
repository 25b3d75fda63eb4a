"""Tasks that connections need now and then: an idle one has none.

They live in a group of asyncio's own: to start a task and to end it takes 4 µs there, and 36 in one of anyio's, which is
as long as all else that is done for a discover before it is in the store.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio

logger = logging.getLogger("scanstream")


class Attendance:
    """Runs what connections have to wait for, until the server ends."""

    def __init__(self) -> None:
        self._tasks: asyncio.TaskGroup | None = None
        self._under_way: set[anyio.CancelScope] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take tasks in here; those that are left at the end are cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            try:
                yield
            finally:
                self.cut()

    def start(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run this, unless the server ends; a defect in it is its own end only."""
        if self._tasks is not None:
            self._tasks.create_task(self._guarded(task))

    def cut(self) -> None:
        """End what is still under way; nobody is there any more to be answered."""
        self._tasks = None
        for scope in self._under_way:
            scope.cancel()

    async def _guarded(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._tasks is None:  # it was cut before this one began
            return
        with anyio.CancelScope() as scope:
            self._under_way.add(scope)
            try:
                await task()
            except Exception:
                logger.exception("a defect in attending to a connection")
            finally:
                self._under_way.discard(scope)

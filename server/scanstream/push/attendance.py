"""Tasks that connections need now and then: an idle one has none."""

import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskGroup

logger = logging.getLogger("scanstream")


class Attendance:
    """Runs what connections have to wait for, until the server ends."""

    def __init__(self) -> None:
        self._tasks: TaskGroup | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take tasks in here; those that are left at the end are cancelled."""
        async with anyio.create_task_group() as self._tasks:
            try:
                yield
            finally:
                self.cut()
        self._tasks = None

    def start(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run this, unless the server ends; a defect in it is its own end only."""
        if self._tasks is not None:
            self._tasks.start_soon(_guarded, task)

    def cut(self) -> None:
        """End what is still under way; nobody is there any more to be answered."""
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()


async def _guarded(task: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        await task()
    except Exception:
        logger.exception("a defect in attending to a connection")

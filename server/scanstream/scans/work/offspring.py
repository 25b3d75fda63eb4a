"""Tasks that strategies start in the loop: what would end the loop ends such a task only.

asyncio lets SystemExit and KeyboardInterrupt of any task end the loop, and with it the server. What a strategy itself
raises is caught around it (waiting.py); this is for the tasks that it starts.
"""

import asyncio
import inspect
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

from scanstream.strategies import gate

_inside: ContextVar[bool] = ContextVar("inside a strategy", default=False)


def enter() -> None:
    """From here on this task runs a strategy; those that it starts are its offspring."""
    _inside.set(True)


def attend(loop: asyncio.AbstractEventLoop) -> None:
    """From now on the loop makes offspring such that none can end it."""
    before: Any = loop.get_task_factory()

    def made(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        if _inside.get() and inspect.iscoroutine(coroutine):
            coroutine = _survived(coroutine)
        return before(loop, coroutine, **options) if before else asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(made)


async def _survived(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What it gives, or raises; an exit as an error like any other.

    :raises RuntimeError: in place of what would end the loop
    """
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"a task that it has started raised {gate.reason(error)}") from error

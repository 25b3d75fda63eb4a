"""Strategies that do not stop: in planning, in a worker process, in the server's loop.

Installed for the tests that put this directory on the path.
"""

import asyncio
import os
import resource
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import anyio
from msgspec import Meta

from scanstream.panel import Panel
from scanstream.strategies import strategy
from scanstream.strategies.strategy import Signal


class Parameters(strategy.Parameters, frozen=True, kw_only=True):
    """What it does instead of its work."""

    does: str = "nothing"
    once: str = ""
    """A file that is there once it has done it."""
    shards: Annotated[int, Meta(ge=1)] = 1
    seconds: Annotated[float, Meta(ge=0)] = 0.0


class Stubborn(strategy.Strategy):
    """In a worker process."""

    id = "stubborn"
    name = "Stubborn"
    opportunity_type = "stubborn"
    description = "Does not stop."
    source = "tests/support/stubborn/stubborn.py"
    chunk = 1
    budget_seconds = 60.0
    parameters = Parameters

    def units(self, panel: Panel, parameters: Parameters) -> int:
        """One a shard."""
        if parameters.does == "hang in units":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            threading.Event().wait()
        if parameters.does == "run out of memory in units":
            raise MemoryError
        return parameters.shards

    def scan(self, panel: Panel, units: range, parameters: Parameters) -> Iterator[Signal]:
        """Hang, stop the process, ask for too much, or take a while."""
        match parameters.does:
            case "hang":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                threading.Event().wait()
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "stop once":
                with suppress(FileExistsError):
                    Path(parameters.once).touch(exist_ok=False)
                    os.kill(os.getpid(), signal.SIGSTOP)
            case "open too much":
                resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
                os.close(os.open(os.devnull, os.O_RDONLY))
            case "run out of memory":
                raise MemoryError
        threading.Event().wait(parameters.seconds)
        yield from ()


class Hasty(Stubborn):
    """In a worker process, with little time."""

    id = "hasty"
    name = "Hasty"
    description = "Has little time."
    budget_seconds = 2.0


class StubbornLoop(strategy.AsyncStrategy):
    """In the server's loop."""

    id = "stubborn_loop"
    name = "Stubborn in the loop"
    opportunity_type = "stubborn"
    description = "Does not stop."
    source = "tests/support/stubborn/stubborn.py"
    budget_seconds = 60.0
    chunk = 1
    parameters = Parameters

    def units(self, panel: Panel, parameters: Parameters) -> int:
        """One a shard."""
        return parameters.shards

    async def scan(self, panel: Panel, units: range, parameters: Parameters) -> AsyncIterator[Signal]:
        """Swallow every cancellation, cancel its own task, or never let anybody else run."""
        while parameters.does == "block the loop":
            pass
        while parameters.does == "swallow":
            with suppress(BaseException):
                await anyio.sleep(60)
        if parameters.does == "cancel its task":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        await anyio.sleep(parameters.seconds)
        if parameters.does == "find":
            yield Signal(
                symbols=("BTC/USDT",), side="neutral", expected_return=0.01, confidence=0.5, horizon=1, metadata={}
            )

"""How a server's process ends: when a signal tells it to, and in time, whatever its parts do.

Everything in it has a scope that ends with it. But a strategy in the loop may be anybody's, and a thread that waits for
a market cannot be ended from outside. What was acknowledged is on the disk, so to leave without them costs nothing.
"""

import asyncio
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import NoReturn

import anyio

LAST_RESORT_SECONDS = 5.5
"""From the signal until the process ends without what has not ended by itself: a stop takes at most 6 s."""
LATE = b"scanstream: a part of the server does not stop; the process ends without it. Nothing acknowledged is lost.\n"


class Leaving:
    """Hears SIGTERM and SIGINT from now on, also before there is a loop, and while something blocks it."""

    def __init__(self) -> None:
        self._begun: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._told = False
        self._wake: Callable[[], object] = lambda: None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)
        threading.Thread(target=self._last_resort, name="leaving", daemon=True).start()

    def begin(self, status: int) -> None:
        """The server ends now; if that takes too long the process exits with this status all the same."""
        self._begun.put(status)

    async def until_told(self) -> None:
        """Wait for a signal."""
        told = anyio.Event()
        self._wake = partial(asyncio.get_running_loop().call_soon_threadsafe, told.set)
        if not self._told:
            await told.wait()

    def leave(self, status: int) -> NoReturn:
        """Exit, without waiting for threads that are still at work for nobody."""
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(status)

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        self._told = True
        self.begin(0)
        with suppress(RuntimeError):  # the loop has ended already
            self._wake()

    def _last_resort(self) -> None:
        status = self._begun.get()
        threading.Event().wait(LAST_RESORT_SECONDS)
        with suppress(OSError):  # closed, or a pipe that nobody reads
            os.write(2, LATE)
        os._exit(status)

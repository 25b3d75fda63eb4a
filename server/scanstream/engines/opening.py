"""Opening the database without holding up whoever waits: what takes long is said, and can be stopped."""

import logging
import sqlite3
import threading
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.lowlevel import checkpoint_if_cancelled

from scanstream.engines.schema import connect
from scanstream.errors import DataUnusable

SAID_AFTER_SECONDS = 2.0

logger = logging.getLogger("scanstream")


async def connected(file: Path | None) -> sqlite3.Connection:
    """The connection, opened in a thread: what takes long is said, and ends when nobody waits for it any more."""
    stop = threading.Event()

    async def attend() -> None:
        try:
            await anyio.sleep(SAID_AFTER_SECONDS)
            logger.warning("opening the database %s takes its time: it is checked, or brought to a new schema", file)
            await anyio.sleep_forever()
        finally:
            stop.set()

    opened: sqlite3.Connection | DataUnusable | None = None
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(attend)
            try:
                opened = await to_thread.run_sync(connect, file, stop)
            except DataUnusable as error:
                opened = error
            tasks.cancel_scope.cancel()
        await checkpoint_if_cancelled()  # then it was we who stopped it
    except BaseException:
        if isinstance(opened, sqlite3.Connection):
            opened.close()
        raise
    if isinstance(opened, DataUnusable):
        raise opened
    assert opened is not None
    return opened

"""Opens the guard that the settings ask for, and keeps what it knows up to date, as files change."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from scanstream.errors import SettingError
from scanstream.model import Milliseconds, now
from scanstream.security.guard import Guard, Open
from scanstream.security.options import AuthSettings
from scanstream.security.required import Required
from scanstream.security.watched import Watched
from scanstream.telling import Telling

logger = logging.getLogger("scanstream.security")

LOOK_SECONDS = 1.0
"""From one look at a file to the next."""

Content = TypeVar("Content")


@asynccontextmanager
async def open_guard(
    settings: AuthSettings, store_key: bytes, *, clock: Callable[[], Milliseconds] = now
) -> AsyncIterator[Guard]:
    """The guard of a server with these settings.

    :param store_key: the same on all nodes of the store: scan tokens are made with it
    :raises SettingError: if what credentials are known by cannot be read
    """
    if not settings.asks:
        yield Open()
        return
    guard = Required(store_key, clock=clock)
    file = settings.key_file()
    if file is not None:
        guard.take_keys(await _first("keys", file))
    async with anyio.create_task_group() as tasks:
        if file is not None:
            tasks.start_soon(_follow, "keys", file, guard.take_keys)
        try:
            yield guard
        finally:
            tasks.cancel_scope.cancel()


async def _first(setting: str, file: Watched[Content]) -> Content:
    try:
        content = await to_thread.run_sync(file.first, abandon_on_cancel=True)
    except ValueError as error:
        raise SettingError(f"--{setting} {file.path}: {error}") from error
    doubts = await to_thread.run_sync(file.doubts, abandon_on_cancel=True)
    if doubts:
        logger.warning("--%s %s: %s; mend it with: chmod 600 %s", setting, file.path, doubts, file.path)
    return content


async def _follow(setting: str, file: Watched[Content], take: Callable[[Content], None]) -> None:
    """Read a file again whenever it changes. While that cannot be done what was read stays, and the log says so."""
    telling, limiter, broken = Telling(), CapacityLimiter(1), False
    while True:
        await anyio.sleep(LOOK_SECONDS)
        try:
            content = await to_thread.run_sync(file.newer, abandon_on_cancel=True, limiter=limiter)
        except ValueError as error:
            broken = True
            if telling.due():
                told = "--%s %s: %s; what was read before goes on, until this is mended"
                logger.error(told, setting, file.path, error)  # noqa: TRY400  # a trace would say nothing
            continue
        if content is not None:
            take(content)
            logger.warning("--%s %s: read again, as it has changed", setting, file.path)
        if broken:
            broken = False
            telling.anew()

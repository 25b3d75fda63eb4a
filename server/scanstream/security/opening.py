"""Opens the guard that the settings ask for, and keeps what it knows up to date, as files change."""

import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from scanstream.errors import SettingError
from scanstream.model import Milliseconds, now
from scanstream.security.guard import Guard, Open
from scanstream.security.options import AuthSettings
from scanstream.security.required import Required
from scanstream.security.watched import Watched
from scanstream.shortage import shortage
from scanstream.telling import Telling

if TYPE_CHECKING:
    from scanstream.security.jwts import Jwts
    from scanstream.security.signers import Signers

logger = logging.getLogger("scanstream.security")

Keep: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""What goes on for as long as the guard is there."""
PUBLIC = "jwt-keys"
"""The one of these files that all may read."""
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
    verifier = _verifier(settings, clock)
    guard = Required(store_key, verifier, clock=clock)
    follow: list[Keep] = []
    file = settings.key_file()
    if file is not None:
        guard.take_keys(await _first("keys", file))
        follow.append(partial(_follow, "keys", file, guard.take_keys))
    if verifier is not None:
        follow += await _trusted(settings, verifier, guard)
    async with anyio.create_task_group() as tasks:
        for keep in follow:
            tasks.start_soon(keep)
        try:
            yield guard
        finally:
            tasks.cancel_scope.cancel()


def _verifier(settings: AuthSettings, clock: Callable[[], Milliseconds]) -> "Jwts | None":
    if not settings.takes_jwts:
        return None
    from scanstream.security.jwts import Jwts  # noqa: PLC0415  # PyJWT is an extra

    return Jwts(settings.expected, settings.algorithms, clock)


async def _trusted(settings: AuthSettings, verifier: "Jwts", guard: Required) -> list[Keep]:
    """All that JWTs are known by, taken up; and what keeps it up to date."""
    secret = settings.own_secret()
    if secret is not None:
        verifier.trust("jwt-secret", secret)
    follow: list[Keep] = []
    for name, file in settings.signer_files().items():
        flag = name.replace("_", "-")

        def take(signers: "Signers", flag: str = flag) -> None:
            verifier.trust(flag, signers)
            guard.forget()

        take(await _first(flag, file))
        follow.append(partial(_follow, flag, file, take))
    if settings.jwks_url is not None:
        follow.append(verifier.published(settings.jwks_url, guard.forget).run)
    return follow


async def _first(setting: str, file: Watched[Content]) -> Content:
    try:
        content = await to_thread.run_sync(file.first, abandon_on_cancel=True)
    except ValueError as error:
        raise SettingError(f"--{setting} {file.path}: {error}") from error
    doubts = await to_thread.run_sync(partial(file.doubts, public=setting == PUBLIC), abandon_on_cancel=True)
    if doubts:
        logger.warning("--%s %s: %s", setting, file.path, doubts)
    return content


async def _follow(setting: str, file: Watched[Content], take: Callable[[Content], None]) -> None:
    """Read a file again whenever it changes. While that cannot be done what was read stays, and the log says so."""
    telling, limiter, broken = Telling(), CapacityLimiter(1), False
    while True:
        await anyio.sleep(LOOK_SECONDS)
        try:
            content = await to_thread.run_sync(file.newer, abandon_on_cancel=True, limiter=limiter)
        except Exception as error:
            if not isinstance(error, ValueError) and not shortage(error):
                raise
            broken = True
            if telling.due():
                told = "--%s %s: %s; what was read before goes on, until this is mended"
                logger.error(told, setting, file.path, error)  # noqa: TRY400  # a trace would say nothing
            continue
        if broken:
            broken = False
            telling.anew()
            logger.warning("--%s %s: it can be read again", setting, file.path)
        if content is not None:
            take(content)
            logger.info("--%s %s: read again, as it has changed", setting, file.path)

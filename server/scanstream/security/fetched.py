"""A JWKS that somebody publishes: fetched in the background, kept, and fetched again for a key that is not in it.

However many JWTs name keys that nobody has, it is asked for once in `LEAST_SECONDS`.
"""

import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from urllib.parse import urlsplit

import anyio
import httpx

from scanstream.errors import Overloaded
from scanstream.proxies import proxy_of
from scanstream.shortage import shortage
from scanstream.telling import Telling

logger = logging.getLogger("scanstream.security")

MOST_BYTES = 256 * 1024
FETCH_SECONDS = 5.0
"""What one answer may take, from the first byte of the question to the last of the answer."""
REFRESH_SECONDS = 300.0
"""How long keys are kept without a look at whether they are still published."""
LEAST_SECONDS = 10.0
"""From one question to the next, however many ask for keys that are not there."""
RETRY_SECONDS = 2.0
"""From one question that failed to the next, at first …"""
LONGEST_RETRY_SECONDS = 30.0
"""… and at last: each time twice as long."""
NOT_YET = "it was not fetched yet"
MOST_WAITING = 100
"""Callers who wait for the answer to one question."""
HEADERS = {"accept": "application/json", "accept-encoding": "identity"}
"""A few hundred bytes need no compression, and what is compressed may be anything."""


_fetching: ContextVar[bool] = ContextVar("scanstream.security.fetching", default=False)
"""Whether what goes on now is the fetching of keys."""


def _is_anothers(_: logging.LogRecord) -> bool:
    """A filter of httpx's logger: where somebody has it tell what is asked for, the whole address is in it."""
    return not _fetching.get()


logging.getLogger("httpx").addFilter(_is_anothers)


class Fetched:
    """What is published at an address, and how well that goes."""

    def __init__(self, url: str, take: Callable[[bytes], None]) -> None:
        """`take`: is given what was fetched, each time; raises ValueError if that is nothing to go by."""
        self._url = url
        self._take = take
        self._shown = _shown(url)
        self._wanted = anyio.Event()
        self._answered = anyio.Event()
        self._waiting = 0
        self._asked_at = float("-inf")
        self._asking = False
        self._why: str | None = NOT_YET
        self._pause = RETRY_SECONDS

    async def run(self) -> None:
        """Keep it up to date, for ever."""
        telling = Telling()
        _fetching.set(True)
        way = httpx.AsyncHTTPTransport(proxy=proxy_of(self._url))
        async with httpx.AsyncClient(timeout=FETCH_SECONDS, headers=HEADERS, transport=way) as client:
            while True:
                self._asking, self._asked_at, self._wanted = True, time.monotonic(), anyio.Event()
                before, self._why = self._why, await self._fetch(client)
                self._asking = False
                answered, self._answered = self._answered, anyio.Event()
                answered.set()
                if self._why is None:
                    telling.anew()
                    self._pause = RETRY_SECONDS
                    if before not in (None, NOT_YET):
                        logger.warning("--jwt-keys %s: it can be had again", self._shown)
                elif telling.due():
                    logger.error("--jwt-keys %s: %s; the keys that are known go on", self._shown, self._why)
                await self._rest()

    async def _rest(self) -> None:
        """Until it is time to ask again, or somebody wants it and may have it."""
        if self._why is None:
            with anyio.move_on_after(REFRESH_SECONDS):
                await self._wanted.wait()
            await anyio.sleep(max(0.0, self._asked_at + LEAST_SECONDS - time.monotonic()))
        else:
            await anyio.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_RETRY_SECONDS)

    async def _fetch(self, client: httpx.AsyncClient) -> str | None:
        """Ask once; why nothing came of it."""
        try:
            with anyio.fail_after(FETCH_SECONDS):
                content = await self._answer(client)
            self._take(content)
        except TimeoutError:
            return f"no answer within {FETCH_SECONDS:g} s"
        except httpx.HTTPError as error:
            return f"it cannot be had ({type(error).__name__})"
        except (ValueError, OSError, httpx.InvalidURL) as error:
            return str(error)
        except Exception as error:
            if not (lacking := shortage(error)):
                raise
            return f"the machine lacks {lacking}"
        return None

    async def _answer(self, client: httpx.AsyncClient) -> bytes:
        async with client.stream("GET", self._url) as answer:
            if answer.status_code != httpx.codes.OK:
                raise ValueError(f"it answers {answer.status_code}")
            content = bytearray()
            async for piece in answer.aiter_raw():
                content += piece
                if len(content) > MOST_BYTES:
                    raise ValueError(f"it is longer than {MOST_BYTES} bytes")
            return bytes(content)

    async def newer(self) -> None:
        """See to it that what was fetched is of just now, as something is not in it.

        :raises Overloaded: if it cannot be had, so that nobody knows whether it is
        """
        if self._why is None and not self._asking and time.monotonic() - self._asked_at < LEAST_SECONDS:
            return
        if self._why is not None and not self._asking:
            raise self._unknown()
        if self._waiting >= MOST_WAITING:
            raise self._unknown()
        self._waiting += 1
        try:
            self._wanted.set()
            with anyio.move_on_after(FETCH_SECONDS + 1):
                await self._answered.wait()
        finally:
            self._waiting -= 1
        if self._why is not None:
            raise self._unknown()

    def _unknown(self) -> Overloaded:
        return Overloaded("Nobody can say now by whom this JWT is signed; try again", retry_after=RETRY_SECONDS)


def _shown(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"

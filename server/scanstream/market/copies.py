"""Panels on their way between this node's directory and the library, and the word of which is a market's newest."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import mkstemp

import anyio
import msgspec
from anyio import to_thread
from msgspec import Struct

from scanstream.errors import MarketError
from scanstream.market.library import Announce, Library
from scanstream.model import Milliseconds
from scanstream.panel import Panel, load
from scanstream.parcel import pack, unpack
from scanstream.undecodable import UNDECODABLE

logger = logging.getLogger("scanstream")


class Issue(Struct, frozen=True):
    """A panel that is a market's newest."""

    market: str
    digest: str
    last: Milliseconds
    """When its last bar opened."""
    at: Milliseconds
    """When it was published, by the library's clock."""


def issued(told: bytes | None) -> Issue | None:
    """What was announced; None if nothing was, or nothing that this version understands."""
    if told is not None:
        with suppress(*UNDECODABLE):
            return msgspec.json.decode(told, type=Issue)
    return None


class Copies:
    """The panels below one directory, and those that other nodes have published."""

    def __init__(self, library: Library, directory: Path) -> None:
        self._library = library
        self._directory = directory
        self._fetching = anyio.Lock()

    async def publish(self, panel: Panel, announce: Announce | None) -> None:
        """Let every node have this saved panel, and know that it is its market's newest. Nothing is sent twice.

        :param announce: how that is told; None: it is not
        :raises StoreUnavailable: if the library does not answer
        :raises OSError: if the disk has no room for its file
        """
        await to_thread.run_sync(panel.prepared)  # to digest a large one takes longer than the loop has
        await self._put(panel)
        if announce is not None:
            issue = Issue(panel.market, panel.digest, int(panel.times[-1]), self._library.now())
            await announce(msgspec.json.encode(issue))
            await self._put(panel)  # another node may have removed it: before the word it was nobody's newest

    async def _put(self, panel: Panel) -> None:
        if await self._library.has(panel.digest):
            return
        async with self._scratch() as file:
            await to_thread.run_sync(pack, self._directory / panel.digest, file)
            await self._library.put(panel.digest, file)

    async def panel(self, digest: str) -> Panel | None:
        """The panel of this digest, mapped; fetched if this node has none that is whole. None: nobody has published it.

        :raises StoreUnavailable: if the library does not answer
        :raises OSError: if the disk has no room for it
        """
        async with self._fetching:  # by whomever it is wanted
            held = await to_thread.run_sync(self._held, digest)
            if held is None and await self._fetched(digest):
                held = await to_thread.run_sync(self._held, digest)
        return held

    def _held(self, digest: str) -> Panel | None:
        with suppress(MarketError):
            panel = load(self._directory / digest)
            if panel.digest == digest:
                return panel
        return None

    async def _fetched(self, digest: str) -> bool:
        async with self._scratch() as file:
            if not await self._library.get(digest, file):
                return False
            return await to_thread.run_sync(unpack, file, self._directory, digest)

    @asynccontextmanager
    async def _scratch(self) -> AsyncIterator[Path]:
        """A file of our own beside the panels, gone after the block; to remove a large one takes long, too."""
        file = await to_thread.run_sync(self._made)
        try:
            yield file
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(partial(file.unlink, missing_ok=True))

    def _made(self) -> Path:
        self._directory.mkdir(parents=True, exist_ok=True)
        number, name = mkstemp(dir=self._directory, prefix="writing-")
        os.close(number)
        return Path(name)

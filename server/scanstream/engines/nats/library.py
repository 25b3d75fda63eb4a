"""What the nodes share of their markets: panels in a bucket, notes of which is the newest, turns at reading one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

from scanstream.engines.nats.answers import RETRY_AFTER
from scanstream.engines.nats.bucket import Bucket, of_bucket
from scanstream.engines.nats.connection import START_SECONDS
from scanstream.engines.nats.store import NatsStore
from scanstream.engines.nats.streams import SCANS, require_stream
from scanstream.engines.nats.turn import Turn
from scanstream.errors import StoreUnavailable

PANELS = "PANELS"
NEWEST = "panel."
"""Before the name of a market: the note of its newest panel."""
READER = "reader."
"""… and that of who reads it."""

_Announce: TypeAlias = Callable[[bytes], Awaitable[None]]


class NatsLibrary:
    """The library port on one bucket and the notes of the store."""

    def __init__(self, store: NatsStore) -> None:
        self._store = store
        self._connection = store.connection
        self._bucket = bucket = Bucket(store.connection, PANELS)
        self.has, self.put, self.get, self.keep = bucket.has, bucket.put, bucket.get, bucket.keep
        self.sweep = bucket.sweep
        self.now = store.now
        self._latest: bytes | None = None
        store.listen(NEWEST, self._hear)

    def _hear(self, _: str, issue: bytes) -> None:
        self._latest = issue

    async def announce(self, market: str, issue: bytes) -> None:
        """See `Library.announce`."""
        await self._store.remember(NEWEST + market, issue)

    async def announced(self, market: str) -> bytes | None:
        """See `Library.announced`."""
        return await self._store.recall(NEWEST + market)

    async def latest(self) -> bytes | None:
        """See `Library.latest`."""
        await self._store.barrier()
        return self._latest

    def listen(self, market: str, heard: Callable[[bytes], None]) -> None:
        """See `Library.listen`."""
        name = NEWEST + market
        self._store.listen(name, lambda noted, issue: heard(issue) if noted == name else None)

    @asynccontextmanager
    async def turn(
        self, market: str, *, waits: bool = True
    ) -> AsyncIterator[Callable[[bytes], Awaitable[None]] | None]:
        """See `Library.turn`."""
        names = self._connection.names
        turn = Turn(self._connection, names.stream(SCANS), names.note(READER + market), self._connection.options.lease)
        if waits:
            await turn.until_taken()
        elif not await turn.taken():
            yield None
            return

        async def announce(issue: bytes) -> None:
            if not await turn.written(lambda ours: self._store.remember(NEWEST + market, issue, only=ours)):
                raise StoreUnavailable(f"It is another node's turn to read {market}", retry_after=RETRY_AFTER)

        async with turn.kept():
            yield announce


async def open_library(store: NatsStore, *, patience: float = START_SECONDS) -> NatsLibrary:
    """The library beside a store; its bucket is made if it is not there.

    :raises SettingError: if its stream is there with other settings
    :raises EngineUnusable: if NATS does not answer
    """
    await require_stream(store.connection, of_bucket(store.connection, PANELS), patience)
    library = NatsLibrary(store)
    with suppress(StoreUnavailable):  # there is another start
        await library.sweep()
    return library

"""Writing into the stream: done when this node has read what it wrote."""

import time
from contextlib import suppress

from scanstream.engines.nats.answers import RETRY_AFTER, ApiError, FullError
from scanstream.engines.nats.connection import Connection
from scanstream.engines.nats.reader import Reader
from scanstream.engines.nats.reserve import Reserve
from scanstream.errors import StoreUnavailable
from scanstream.measure import Commits

DELIVERED_SECONDS = 20.0
"""In which what is written comes back to this node; the feed begins anew a few times in that."""


class Writer:
    """One node's writing into one stream."""

    def __init__(self, connection: Connection, stream: str, reader: Reader, reserve: Reserve) -> None:
        self.connection = connection
        self.stream = stream
        self.commits = Commits()
        """A message each: from here until this node has read it."""
        self._reserve = reserve
        self._reader = reader

    async def write(self, subject: str, body: bytes, headers: dict[str, str], *, needed: bool = False) -> None:
        """Publish, and return when this node has read it, and the feed's consumer has taken it.

        :param needed: whether it is to be written also where there is no room: it is small, and room may come of it
        :raises ConflictError: if the headers expect what is not so; an earlier try of this call may be why
        :raises StoreUnavailable: if it is not acknowledged in time, or does not come back
        """
        began = time.perf_counter()
        self.commits.under_way += 1
        try:
            await self._write(subject, body, headers, needed)
        finally:
            self.commits.under_way -= 1
        self.commits.add(time.perf_counter() - began, 1)

    async def _write(self, subject: str, body: bytes, headers: dict[str, str], needed: bool) -> None:
        try:
            if not needed:
                await self._reserve.whole()
            seq = await self.connection.publish(subject, body, headers=headers, stream=self.stream)
        except FullError as full:
            with suppress(StoreUnavailable):
                await self._reserve.use(full)
            if not needed:
                raise
            seq = await self.connection.publish(subject, body, headers=headers, stream=self.stream)
        self._reader.position.expect(seq)
        try:
            if (feed := self._reader.feed) is not None:
                await feed.taken.reach(seq, DELIVERED_SECONDS)
            await self._reader.position.reach(seq, DELIVERED_SECONDS)
        except TimeoutError as error:
            trouble = self._reader.trouble or "what is written does not come back"
            raise StoreUnavailable(f"NATS: {trouble}", retry_after=RETRY_AFTER) from error

    async def purge(self, subjects: str) -> None:
        """Take all messages of these subjects out of the stream.

        :raises StoreUnavailable: if that is not done in time
        """
        try:
            await self.connection.request_api(f"STREAM.PURGE.{self.stream}", {"filter": subjects})
        except ApiError as error:
            raise StoreUnavailable(f"NATS does not delete: {error}", retry_after=RETRY_AFTER) from error
        self._reserve.look_again()

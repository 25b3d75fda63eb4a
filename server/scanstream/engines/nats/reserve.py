"""Room that is kept for what must be written also where there is none: barriers, ends, the words of purges.

A message without a meaning takes it up (`note.mark.reserve`). Whoever is told that there is no room takes the message
away, and tells all nodes: from then on none of them writes logs, until there is room for the message again. So a store
that is full can be read, scans end in it, and what has expired makes room, whatever it is that is full: the stream, the
account or the server. Not where the disk itself has no room left: JetStream stops then.
"""

import logging
from contextlib import suppress

import anyio

from scanstream.engines.nats.answers import RETRY_AFTER, ApiError, ConflictError, FullError
from scanstream.engines.nats.connection import Connection
from scanstream.errors import StoreUnavailable
from scanstream.telling import Telling

RESERVED_BYTES = 512 * 1024
"""More than the largest message of ours, and hundreds of small ones: a server that has reached its limit had taken the
last one whole, and a barrier goes by itself after some seconds."""
LEAST_BYTES = 64 * 1024
"""The same in a store that has not even room for that."""
FREE_BYTES = 64 * 1024
"""What must be free beside it before anybody goes on, or a store that is full would be so every other moment."""
FULL = "full"
"""The note that says so, and why; empty where there is room."""
TRY_SECONDS = 2.0
AGAIN_SECONDS = 0.5
"""For so long nobody asks again, however many want to write."""

logger = logging.getLogger("scanstream")


class Reserve:
    """One node's view of it, and its hand in it."""

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._stream = stream
        self._subject = connection.names.mark("reserve", "note")
        self._one = anyio.Lock()
        self.why = ""
        """What is full, as long as nothing but what must be may be written."""
        self._refused_at = float("-inf")
        self._telling = Telling()
        self._told = False
        """Whether the log ends with that there is none."""

    def hear(self, name: str, why: bytes) -> None:
        """See `Listener`: of the note that says how it is."""
        if name == FULL:
            self.why = why.decode(errors="replace")
            if self.why and self._telling.due():
                self._told = True
                logger.warning("%s; nothing new is taken until there is room", self.why)
            elif not self.why and self._told:
                self._told = False
                logger.warning("NATS has room again")

    async def whole(self) -> None:
        """Return when there is room for more than what must be written.

        :raises FullError: if there is none
        """
        if self.why:
            async with self._one:
                if self.why and anyio.current_time() - self._refused_at < AGAIN_SECONDS:
                    raise FullError(self.why, retry_after=RETRY_AFTER)
                if self.why:
                    await self._fill(RESERVED_BYTES + FREE_BYTES)
                    await self._end()

    async def _end(self) -> None:
        """Say that there is room, now that the message has found some.

        A server takes a message of any size as long as it has not reached its limit: only the next one, which is this
        word, proves that there is room beyond it.
        """
        try:
            await self._tell("")
        except FullError:
            self._refused_at = anyio.current_time()
            await make_room(self._connection, self._stream)
            raise
        self.why = ""
        with suppress(FullError):  # then it is as large as this for a while
            await self._put(RESERVED_BYTES, {"Nats-Rollup": "sub"})

    def look_again(self) -> None:
        """There may be room now."""
        self._refused_at = float("-inf")

    async def begin(self) -> None:
        """See to it that it is there, or that all know that there is no room for it."""
        if self.why:  # as other nodes have told
            return
        for size in (RESERVED_BYTES, LEAST_BYTES):
            try:
                await self._fill(size)
            except FullError as full:
                told = full
            except StoreUnavailable:  # it is made at the next start
                return
            else:
                return
        with suppress(StoreUnavailable):
            await self.use(told)

    async def _fill(self, size: int) -> None:
        try:
            await self._put(size, {"Nats-Expected-Last-Subject-Sequence": "0"})
        except ConflictError:  # another node has done it
            return
        except FullError:
            self._refused_at = anyio.current_time()
            raise

    async def _put(self, size: int, headers: dict[str, str]) -> None:
        await self._connection.publish(
            self._subject, bytes(size), headers=headers, stream=self._stream, patience=TRY_SECONDS
        )

    async def use(self, full: FullError) -> None:
        """Make room for what must be, as NATS has said that there is none.

        :raises StoreUnavailable: if that cannot be done now
        """
        async with self._one:
            if not self.why:
                await make_room(self._connection, self._stream)
                self.why = full.detail
                await self._tell(full.detail)

    async def _tell(self, why: str) -> None:
        note = self._connection.names.note(FULL)
        await self._connection.publish(
            note,
            why.encode(),
            headers={"Nats-Rollup": "sub", "Nats-Msg-Id": self._connection.fresh()},
            stream=self._stream,
            patience=TRY_SECONDS,
        )


async def make_room(connection: Connection, stream: str) -> None:
    """Take the message away.

    :raises StoreUnavailable: if nobody answers
    """
    try:
        subject = connection.names.mark("reserve", "note")
        await connection.request_api(f"STREAM.PURGE.{stream}", {"filter": subject}, patience=TRY_SECONDS)
    except ApiError as error:
        raise StoreUnavailable(f"NATS does not delete: {error}", retry_after=RETRY_AFTER) from error

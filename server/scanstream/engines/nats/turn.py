"""Something that one node at a time does: a message that goes by itself unless it is renewed.

It lives as long as the server's clock says, so no two nodes have to agree on the time.
"""

import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import anyio

from scanstream.engines.nats.answers import ApiError, ConflictError
from scanstream.engines.nats.connection import Connection
from scanstream.errors import StoreUnavailable

PARTS = 4
"""It is renewed after one of so many parts of its time: it survives that the first try fails."""
LEAVE_SECONDS = 1.0


class Turn:
    """One node's turn, or its wish for it."""

    def __init__(self, connection: Connection, stream: str, subject: str, seconds: float) -> None:
        """`seconds`: after which it is over, of a node that died."""
        self._connection = connection
        self._stream = stream
        self._subject = subject
        self._seconds = max(PARTS, math.ceil(seconds))
        self._seq = 0
        self._one = anyio.Lock()
        """Held while its place in the stream may change."""

    async def taken(self) -> bool:
        """Take it, or renew it; False if it is another's, or nobody can say."""
        node = self._connection.node.encode()
        with anyio.move_on_after(self._seconds / PARTS), suppress(ConflictError, StoreUnavailable):
            async with self._one:
                headers = {
                    "Nats-Expected-Last-Subject-Sequence": str(self._seq),
                    "Nats-TTL": str(self._seconds),
                    "Nats-Msg-Id": self._connection.fresh(),
                }
                self._seq = await self._connection.publish(self._subject, node, headers=headers, stream=self._stream)
            return True
        return False

    async def written(self, write: Callable[[Mapping[str, str]], Awaitable[None]]) -> bool:
        """Write something with headers that let it in only while it is our turn; False if it is another's by now.

        :raises StoreUnavailable: if `write` does
        """
        while True:
            place = await self._place()
            ours = {
                "Nats-Expected-Last-Subject-Sequence": str(place),
                "Nats-Expected-Last-Subject-Sequence-Subject": self._subject,
            }
            try:
                await write(ours)
            except ConflictError:
                if place == await self._place():  # else it was renewed meanwhile
                    return False
            else:
                return True

    async def _place(self) -> int:
        """Where it stands in the stream, when nothing of ours is on its way that changes that."""
        async with self._one:
            return self._seq

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """While inside it is renewed; what is inside ends when it is lost."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._renew, tasks.cancel_scope)
                try:
                    yield
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            await self._leave()

    async def _renew(self, inside: anyio.CancelScope) -> None:
        over = anyio.current_time() + self._seconds
        while anyio.current_time() + self._seconds / PARTS < over:
            await anyio.sleep(self._seconds / PARTS)
            begun = anyio.current_time()
            with anyio.CancelScope(shield=True):  # what is on its way is ours, and is to be taken back with the rest
                taken = await self.taken()
            if taken:
                over = begun + self._seconds
        inside.cancel()

    async def _leave(self) -> None:
        """Let another have it at once; not what another may have taken already, which stands behind ours."""
        ours = {"filter": self._subject, "seq": self._seq + 1}
        with anyio.move_on_after(LEAVE_SECONDS, shield=True), suppress(ApiError, StoreUnavailable):
            await self._connection.request_api(f"STREAM.PURGE.{self._stream}", ours)

    async def until_taken(self) -> None:
        """Wait for it."""
        while not await self.taken():  # noqa: ASYNC110  # whose turn ends says so to nobody
            await anyio.sleep(self._seconds / PARTS * (0.5 + random.random()))  # noqa: S311  # no secret

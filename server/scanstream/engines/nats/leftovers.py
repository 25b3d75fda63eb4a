"""Shards of scans that are over, taken out of the queue: what a node left behind, or a server of NATS has brought back.

Whoever conducts a scan drops what is left of it at its end. A node that dies just then does not; and what nats-server
2.15.1 took away because another message is in its place may be there again after a crash, if that other one is gone by
then. It comes to nobody, but it counts, and nothing else would ever take it away. A scan that is not over loses nothing
here, however long its shards wait.
"""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio

from scanstream.engines.nats.answers import ApiError
from scanstream.engines.nats.jobs import JOBS, LOOK_SECONDS, remove
from scanstream.engines.nats.store import NatsStore
from scanstream.errors import StoreUnavailable

INTERVAL_SECONDS = 60.0
"""From one look to the next, and at random a half more or less: nodes do not all look in the same moment."""
MOST_AT_ONCE = 1000
"""Messages that one look takes away; the next one goes on."""


class Leftovers:
    """One node's look after them."""

    def __init__(self, store: NatsStore) -> None:
        self._store = store
        self._connection = store.connection
        self._names = store.connection.names
        self._stream = self._names.stream(JOBS)

    async def run(self) -> None:
        """Look again and again. What cannot be done now is done at the next look."""
        while True:
            await anyio.sleep(INTERVAL_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
            with suppress(ApiError, StoreUnavailable):
                await self.sweep()

    async def sweep(self) -> int:
        """Take away what is of scans that are over; how many messages that were.

        :raises ApiError, StoreUnavailable: if NATS does not answer, or another node was faster
        """
        queued = await self._queued()
        if not queued:
            return 0
        await self._store.barrier()  # whatever had a shard in the queue was registered before: it is known here then
        left = [subject for subject, count in queued.items() if self._is_over(subject) for _ in range(count)]
        for subject in left[:MOST_AT_ONCE]:
            await remove(self._connection, self._stream, subject)
        return len(left[:MOST_AT_ONCE])

    async def _queued(self) -> dict[str, int]:
        """How many messages there are of each subject; of very many subjects the first ones."""
        wanted = {"subjects_filter": self._names.subject("job.>")}
        found = await self._connection.request_api(f"STREAM.INFO.{self._stream}", wanted, patience=LOOK_SECONDS)
        return dict(found["state"].get("subjects") or {})

    def _is_over(self, subject: str) -> bool:
        """Whether the scan of this shard, or of this word on its permission, has ended or is gone."""
        return self._store.over(self._names.parts(subject)[2])


@asynccontextmanager
async def swept(store: NatsStore) -> AsyncIterator[None]:
    """In here they are taken away."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Leftovers(store).run)
        yield
        tasks.cancel_scope.cancel()

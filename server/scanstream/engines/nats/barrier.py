"""The barrier: when this node has read all that was durable when somebody asked.

A message into the stream, and nothing in it: when the node's own consumer has brought it, it has brought all before it.
To ask a server instead is no proof: one that was stopped and goes on answers from its past, the leader too. One barrier
is on its way at a time; whoever asks meanwhile shares the next one.
"""

import asyncio
from contextlib import suppress

import anyio

from scanstream.engines.nats.answers import FULL, RETRY_AFTER, FullError, RefusedError, no_room
from scanstream.engines.nats.connection import Connection
from scanstream.engines.nats.position import Position
from scanstream.engines.nats.reserve import Reserve
from scanstream.errors import EngineUnusable, StoreUnavailable

TRY_SECONDS = 1.0
"""In which our consumer brings it; then another one is sent."""
PATIENCE_SECONDS = 5.0
PAUSE_SECONDS = 0.05
FULL_PAUSE_SECONDS = 0.1
"""Between two of them where there is little room: those of the last seconds must find it."""
KEPT_SECONDS = 5
"""How long the stream keeps one: longer than anybody waits for it."""
MARKED_SECONDS = 3600
"""The same of a mark up to which the past is read."""


class Barrier:
    """This node's barriers."""

    def __init__(self, connection: Connection, stream: str, position: Position, reserve: Reserve) -> None:
        """`position`: how far this node's consumer has read."""
        self._reserve = reserve
        self._connection = connection
        self._stream = stream
        self._position = position
        self._subject = connection.names.barrier(connection.node)
        self._waiting: list[tuple[float, asyncio.Future[int]]] = []
        """Until when each waits; bounded, as their callers wait."""
        self._asked = asyncio.Event()

    async def passed(self, patience: float = PATIENCE_SECONDS) -> int:
        """Return when this node has read all that was durable before this call: up to which place in the stream.

        :raises StoreUnavailable: if that takes too long
        """
        passed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((anyio.current_time() + patience, passed))
        self._asked.set()
        return await passed

    async def run(self) -> None:
        """Send barriers, for ever.

        :raises EngineUnusable: if the stream is not the one that this node has read
        """
        while True:
            await self._asked.wait()
            self._asked.clear()
            those, self._waiting = self._waiting, []
            try:
                seq = await self._sent()
            except RefusedError as refused:
                await self._refused(those, refused)
            except StoreUnavailable as error:
                await self._again(those, error)
            else:
                for _, passed in those:
                    if not passed.done():
                        passed.set_result(seq)
                if self._reserve.why:
                    await anyio.sleep(FULL_PAUSE_SECONDS)

    async def _refused(self, those: list[tuple[float, asyncio.Future[int]]], refused: RefusedError) -> None:
        """There was no room for it: there is in a moment, as the reserve goes, and what others wrote has come."""
        if not isinstance(refused, FullError):
            for _, passed in those:
                _fail(passed, refused)
            return
        if not self._reserve.why:
            with suppress(StoreUnavailable):
                await self._reserve.use(refused)
        await self._again(those, refused)

    async def _sent(self) -> int:
        """Send one, and wait for it."""
        until = anyio.current_time() + TRY_SECONDS
        read = self._position.seq
        ack = await self._connection.asked_once(self._subject, b"", {"Nats-TTL": str(KEPT_SECONDS)})
        if error := ack.get("error"):
            if error.get("err_code") in FULL:
                raise no_room(ack)
            raise StoreUnavailable(f"NATS: {error.get('description', error)}", retry_after=RETRY_AFTER)
        seq = int(ack["seq"])
        if seq <= read:
            raise EngineUnusable(
                f"the stream {self._stream} of NATS ends at {seq}, and this node has read it up to {read}: it was made "
                "anew, or brought back as it was before; start the nodes again"
            )
        with anyio.move_on_after(until - anyio.current_time()):
            await self._position.reach(seq)
            return seq
        raise StoreUnavailable(
            "What is written to NATS does not come back: this node's feed is interrupted", retry_after=RETRY_AFTER
        )

    async def _again(self, those: list[tuple[float, asyncio.Future[int]]], error: StoreUnavailable) -> None:
        """Whoever has waited for too long hears why; the others are served by the next barrier, a later one."""
        now = anyio.current_time()
        for until, passed in those:
            if now >= until:
                _fail(passed, error)
            elif not passed.done():
                self._waiting.append((until, passed))
        if self._waiting:
            self._asked.set()
            await anyio.sleep(PAUSE_SECONDS)


def _fail(passed: asyncio.Future[int], error: StoreUnavailable) -> None:
    if not passed.done():
        passed.set_exception(StoreUnavailable(error.detail, retry_after=error.retry_after))


async def marked(connection: Connection, stream: str, subject: str) -> int:
    """Put a mark into the stream, up to which much is to be read; its place there.

    :raises StoreUnavailable: if it cannot be written now
    """
    return await connection.publish(subject, b"", headers={"Nats-TTL": str(MARKED_SECONDS)}, stream=stream)

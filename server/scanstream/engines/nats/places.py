"""How many shards are run at once, over all nodes: each node tells its own, again and again."""

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import msgspec
from msgspec import Struct
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from scanstream.engines.nats.connection import Connection
from scanstream.jobs import Releases, covers
from scanstream.undecodable import UNDECODABLE

TOLD_SECONDS = 2.0
"""From one word of a node to the next …"""
FORGOTTEN_SECONDS = 7.0
"""… and how long it counts: some may get lost."""
LAST_SECONDS = 1.0

logger = logging.getLogger("scanstream")


class Own(Struct, frozen=True):
    """What one node has."""

    computing: int = 0
    """Worker processes."""
    waiting: int = 0
    """Shards of one scan that wait for input, at once."""
    in_loop: int | None = None
    """Shards that wait for input, at once, of all scans; None: a version before has not told."""
    strategies: dict[str, str] | None = None
    """Which strategies it can run, by id, and of which release; None: a version before has not told."""
    turns: bool = False
    """Whether it lets in scans that wait for their turn; not so a version before."""

    def can(self, wants: Releases) -> bool:
        """Whether it runs shards of all of these."""
        return bool(self.computing or self.waiting) and (self.strategies is None or covers(self.strategies, wants))


class NatsPlaces:
    """The places of all nodes, as they have told them."""

    def __init__(self, connection: Connection, own: Own) -> None:
        self._connection = connection
        self._own = own
        self._subject = connection.names.subject(f"places.{connection.node}")
        self._told: dict[str, tuple[float, Own]] = {}
        self._heard_all = math.inf

    def computing(self) -> int:
        """Worker processes of all nodes, ours among them."""
        return sum(own.computing for own in self._current())

    def waiting(self) -> int:
        """Shards of one scan that wait for input, over all nodes."""
        return sum(own.waiting for own in self._current())

    def in_loop(self) -> int:
        """Shards of all scans together that wait for input, over all nodes."""
        return sum(own.waiting if own.in_loop is None else own.in_loop for own in self._current())

    def anybody(self, wants: Releases) -> bool:
        """Whether a node that runs shards has all of these strategies; one may, until all have had the time to tell."""
        if anyio.current_time() < self._heard_all:
            return True
        return any(own.can(wants) for own in self._current())

    def alike(self) -> bool:
        """Whether all nodes that are known let in scans that wait for their turn."""
        return all(own.turns for own in self._current())

    def _current(self) -> list[Own]:
        oldest = anyio.current_time() - FORGOTTEN_SECONDS
        self._told = {subject: told for subject, told in self._told.items() if told[0] >= oldest}
        return [self._own, *(own for subject, (_, own) in self._told.items() if subject != self._subject)]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Tell and hear in here; at the end all others know at once that this node has none any more."""
        client = self._connection.client
        subscription = await client.subscribe(self._connection.names.subject("places.*"), cb=self._hear)
        self._heard_all = anyio.current_time() + 1.5 * TOLD_SECONDS
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._tell_again)
                yield
                tasks.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(LAST_SECONDS, shield=True), suppress(NatsError):
                await subscription.unsubscribe()
                await self._tell(Own(turns=self._own.turns))

    async def _tell_again(self) -> None:
        while True:
            await self._tell(self._own)
            await anyio.sleep(TOLD_SECONDS)

    async def _tell(self, own: Own) -> None:
        with suppress(NatsError):
            await self._connection.client.publish(self._subject, msgspec.json.encode(own))

    async def _hear(self, message: Msg) -> None:
        with suppress(*UNDECODABLE):
            self._told[message.subject] = (anyio.current_time(), msgspec.json.decode(message.data, type=Own))

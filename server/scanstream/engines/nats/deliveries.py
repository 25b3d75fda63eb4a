"""The deliveries port on NATS JetStream: a stream in which each is one message, which one node at a time has.

    DELIVERIES  delivery.<id>   one that is due, or with a node; or that waits, as its headers say

A message is put in only if its subject has none, and stays until a node says that it is done. Who tries in vain puts
another in its place, only if it is still there, which says how often it was tried and when it is due. Who gets one that
is not due yet refuses it for as long as is left: should NATS forget that (it was restarted, another server leads), it
comes too early, and is refused again. One that waited and is due is put in the place of itself once more, without a
time: so each delivery of that one beyond the first is a node that was lost, if no other one says that it lives and has
it (`roll.py`); and it stands behind what has become due before.

What nats-server 2.15.1 takes away because another message is in its place may be there again after a crash, if that
other one is gone by then. The consumer knows better, so it comes to nobody; and each has a time to live.

Of what one principal puts at once few are due at once (`spacing.py`): who comes later waits for these, and passes over
the others.

Times are those of the cluster (`clock.py`). Where that was set back over a restart of all nodes, or nodes differ, what
should wait for longer than was said as it was put off waits for that long, once.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import msgspec

from scanstream.deliveries import Delivery
from scanstream.engines.nats.answers import RETRY_AFTER, ApiError, ConflictError, FullError
from scanstream.engines.nats.connection import Connection
from scanstream.engines.nats.consumers import shared
from scanstream.engines.nats.jobs import EXPECTED, LOOK_SECONDS, PAUSE_SECONDS, TRIED, remove
from scanstream.engines.nats.names import token
from scanstream.engines.nats.pull import Held, Pull
from scanstream.engines.nats.spacing import Spacing
from scanstream.engines.nats.streams import of_queue
from scanstream.errors import StoreUnavailable
from scanstream.model import Milliseconds
from scanstream.telling import Telling
from scanstream.undecodable import UNDECODABLE

DELIVERIES, DELIVER = "DELIVERIES", "deliver"
"""The stream, and the consumer that all nodes share."""
DUE, PAUSE = "Scanstream-Due", "Scanstream-Pause"
"""Headers of what waits: until when, and how long that was as it was put off, in milliseconds."""
TTL, SPARE_SECONDS = "Nats-TTL", 3600
"""For how long JetStream keeps one: until nobody tries any more, and an hour more, in which that is told."""
LONGEST_SECONDS = 86_400.0
"""What is refused for longer is refused once more then: a consumer takes what it cannot count for no time at all."""
UNKNOWN_SECONDS = 60.0
"""For so long nobody is asked again for what a node does not understand."""

logger = logging.getLogger("scanstream")


def of_deliveries(connection: Connection) -> dict[str, Any]:
    """What their stream must be."""
    return {**of_queue(connection, DELIVERIES, "delivery.>"), "allow_msg_ttl": True}


class NatsAttempt:
    """See `Attempt`."""

    def __init__(self, deliveries: "NatsDeliveries", held: Held, number: int, delivery: Delivery) -> None:
        self._deliveries = deliveries
        self.held = held
        self.number = number
        self.delivery = delivery

    async def done(self) -> None:
        """See `Attempt.done`."""
        await self._deliveries.done(self)

    async def again(self, after: float = 0.0, *, tried: bool = True) -> None:
        """See `Attempt.again`."""
        await self._deliveries.again(self, after, self.number - 1 + tried)


class NatsDeliveries:
    """The deliveries port."""

    def __init__(self, connection: Connection, now: Callable[[], Milliseconds]) -> None:
        """`now`: the time of the cluster."""
        names = connection.names
        self._connection = connection
        self._now = now
        self._stream = names.stream(DELIVERIES)
        self._consumer = names.stream(DELIVER)
        wanted = shared(self._consumer, names.subject("delivery.>"), connection.options.lease, -1)
        self.pull = Pull(connection, self._stream, wanted)
        self.pull.untaken = self._return
        self._spacing = Spacing()
        self._has: dict[int, NatsAttempt] = {}
        """What this node has, by the places in the stream."""
        self._telling = Telling()

    async def put(self, *deliveries: Delivery) -> None:
        """See `Deliveries.put`."""
        for delivery in deliveries:
            subject = self._connection.names.subject(f"delivery.{token(delivery.id)}")
            kept = max(0, delivery.expires_at - self._now()) // 1000 + SPARE_SECONDS
            headers = {EXPECTED: "0", TTL: f"{kept}s", **self._waits(self._spacing.seconds(delivery.principal))}
            with suppress(ConflictError):  # it is in already
                body = msgspec.json.encode(delivery)
                await self._connection.publish(subject, body, headers=headers, stream=self._stream)

    def _waits(self, seconds: float) -> dict[str, str]:
        """The headers of what is due then."""
        pause = round(seconds * 1000)
        return {DUE: str(self._now() + pause), PAUSE: str(pause)} if pause else {}

    async def due(self) -> AsyncIterator[NatsAttempt]:
        """See `Deliveries.due`."""
        while True:
            held = await self.pull.next()
            try:
                attempt = await self._attempt(held)
            except BaseException:
                self.pull.drop(held)
                raise
            if attempt is not None:
                yield attempt

    async def _attempt(self, held: Held) -> NatsAttempt | None:
        """What this node is to try of what has come; None: not now, or it does so already."""
        if known := self._has.get(held.seq):  # the lease had run out, while this node or NATS stood still
            known.held.forget()
            known.held = held
            await self.pull.roll.note(held.seq, held.deliveries, known.number - 1 - held.counted(TRIED))
            return None
        left = self._left(held)
        self.pull.passing = left > 0
        if left > 0:
            await held.refuse(left)
            return None
        if DUE in held.headers and await self._renewed(held):
            return None
        return await self._begun(held)

    async def _begun(self, held: Held) -> NatsAttempt | None:
        """What this node is to try; None if it cannot: a later version of this code has put it in, or somebody else."""
        lost = 0 if DUE in held.headers else await self.pull.lost(held)
        if lost is None:
            return None
        try:
            delivery = msgspec.json.decode(held.data, type=Delivery)
        except UNDECODABLE as error:
            if self._telling.due():
                logger.error("NATS: %s is no delivery that this version knows: %s", held.subject, error)  # noqa: TRY400
            await self.pull.give_back(held, lost, UNKNOWN_SECONDS)
            return None
        attempt = self._has[held.seq] = NatsAttempt(self, held, 1 + held.counted(TRIED) + lost, delivery)
        return attempt

    def _left(self, held: Held) -> float:
        """For how many seconds it is to wait yet."""
        due, pause = (held.counted(name) for name in (DUE, PAUSE))
        left = due - self._now()
        if left > pause and held.deliveries > 1:  # it has waited for that long, and the time is another now
            return 0.0
        return min(left / 1000, pause / 1000, LONGEST_SECONDS)

    async def _renewed(self, held: Held) -> bool:
        """Put it in the place of itself without a time; False where there is no room even for that."""
        try:
            await self._replace(held, {TRIED: str(held.counted(TRIED))})
        except FullError:  # it is delivered all the same: that makes room. Who dies with it is not counted
            return False
        except StoreUnavailable:
            await held.refuse(PAUSE_SECONDS)
        return True

    async def _return(self, held: Held) -> None:
        """Nobody has taken it."""
        if DUE in held.headers:
            await held.refuse()
        elif (lost := await self.pull.lost(held)) is not None:
            try:
                await self._replace(held, {TRIED: str(held.counted(TRIED) + lost)})
            except StoreUnavailable:
                await self.pull.give_back(held, lost)

    async def _replace(self, held: Held, headers: dict[str, str]) -> None:
        """Put it in the place of itself, with other headers, unless it is gone; this node has it no longer.

        :raises StoreUnavailable: if that cannot be written now; then this node has it yet
        """
        kept = {name: held.headers[name] for name in (TTL,) if name in held.headers}
        expected = {EXPECTED: str(held.seq), **kept, **headers}
        with suppress(ConflictError):
            await self._connection.publish(
                held.subject, held.data, headers=expected, stream=self._stream, patience=LOOK_SECONDS
            )
        held.forget()

    async def again(self, attempt: NatsAttempt, after: float, tried: int) -> None:
        """See `Attempt.again`."""
        headers = {TRIED: str(tried), **self._waits(after)}

        async def replace() -> None:
            try:
                await self._replace(attempt.held, headers)
            except FullError:  # then only the consumer knows it, and the nodes how often it was tried
                await self.pull.give_back(attempt.held, tried - attempt.held.counted(TRIED), after)

        await self._end(attempt, replace)

    async def done(self, attempt: NatsAttempt) -> None:
        """See `Attempt.done`. Whoever has it now, it is gone."""

        async def forget() -> None:
            await remove(self._connection, self._stream, attempt.held.subject)
            await attempt.held.done()

        await self._end(attempt, forget)

    async def _end(self, attempt: NatsAttempt, step: Callable[[], Awaitable[None]]) -> None:
        """Do this as soon as NATS can; then this node has it no longer. If nobody could be told, its lease runs out."""
        try:
            while not await self._tried(attempt, step):  # noqa: ASYNC110  # nobody says when it can
                await anyio.sleep(PAUSE_SECONDS)
        finally:
            attempt.held.forget()
            self._has.pop(attempt.held.seq, None)

    async def _tried(self, attempt: NatsAttempt, step: Callable[[], Awaitable[None]]) -> bool:
        try:
            await step()
        except ApiError:  # another has put it in the place of itself meanwhile
            return False
        except StoreUnavailable as error:
            if self._telling.due():
                logger.warning("%s: a delivery waits: %s", attempt.delivery.scan_id, error.detail)
            return False
        return True

    async def waiting(self) -> int:
        """See `Deliveries.waiting`."""
        try:
            name = f"CONSUMER.INFO.{self._stream}.{self._consumer}"
            consumer = await self._connection.request_api(name, patience=LOOK_SECONDS)
        except ApiError as error:
            raise StoreUnavailable(f"NATS: {error}", retry_after=RETRY_AFTER) from error
        return int(consumer["num_pending"]) + int(consumer["num_ack_pending"])

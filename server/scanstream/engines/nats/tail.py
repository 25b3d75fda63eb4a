"""A stream read in order, without a gap: one consumer of JetStream's, asked for so many messages at a time.

What nats-py calls an ordered consumer loses messages without a word when its queue overflows. Here nothing overflows,
as no more comes than was asked for; each message is numbered by the consumer, one more each; and whatever is missing
(a message, the signs of life, the consumer, the connection) ends this reading. Who reads begins a new one behind the
last message that he has had.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import anyio
from anyio.lowlevel import checkpoint
from nats.errors import Error as NatsError

from scanstream.engines.nats.answers import ApiError
from scanstream.engines.nats.connection import Connection
from scanstream.errors import StoreUnavailable
from scanstream.model import Milliseconds

NANOSECONDS = 1_000_000
"""In a millisecond."""
ASKED = 1000
"""Messages that may be on their way at once."""
ASKED_BYTES = 8 * 1024 * 1024
HELD = 64
"""Messages after which others have a turn on the loop."""
HEARTBEAT_SECONDS = 0.2
SILENCE_SECONDS = 2.0
"""Without a message or a sign of life the consumer is taken for lost …"""
AWAITED_SECONDS = 0.5
"""… and so soon where what is awaited stands in the stream for certain: a server was stopped, the stream goes on."""
LOOK_SECONDS = 0.1
EXPIRES_SECONDS = 30
INACTIVE_SECONDS = 30
"""After which JetStream forgets a consumer that nobody asks."""
CREATE_SECONDS = 2.0
MOST_UNKNOWN = 5
GOING = ("Shutdown", "Leadership", "Deleted")
"""Words with which a server says that the consumer is nobody's any more: nothing is to be waited for."""
FULL_SECONDS = 0.02
"""After which it is looked whether more can be taken."""
PAUSE_SECONDS = 0.2
SAID_EACH_SECONDS = 5.0

logger = logging.getLogger("scanstream")


class Message(NamedTuple):
    """What stands at one place of a stream."""

    seq: int
    subject: str
    data: bytes
    at: Milliseconds
    """When it was stored, by the clock of whoever led the stream."""


Take = Callable[[Message], object]
"""Called for each message, in order, on the loop; must not wait and must not raise."""


class Reading:
    """One consumer, until it is lost."""

    def __init__(
        self,
        connection: Connection,
        stream: str,
        take: Take,
        *,
        full: Callable[[], bool],
        awaited: Callable[[], bool] = lambda: False,
    ) -> None:
        """Of these two, asked again and again:

        :param full: whether no more is to be asked for just now
        :param awaited: whether there is more in the stream for certain
        """
        self._connection = connection
        self._stream = stream
        self._take = take
        self._full = full
        self._awaited = awaited
        self._name = connection.fresh()
        self._inbox = connection.client.new_inbox()
        self._next = 1
        """The consumer's own number of the next message."""
        self._asked = 0
        self._unknown = 0
        """Times that nobody knew of it."""
        self._time = asyncio.get_running_loop().time  # anyio's asks which loop it is, each time
        self._heard = self._time()
        self.last = 0
        """The place in the stream of the last message."""
        self.why = ""
        """What is wrong; then it is lost."""
        self._failure: Exception | None = None
        """What `take` has raised, which it must not."""
        self._over = False
        self._ended = anyio.Event()
        self._held = 0

    @asynccontextmanager
    async def open(self, first: int, only: str = "") -> AsyncIterator[None]:
        """Read from this place on: everything, or only what this filter lets through.

        One filter: with several NATS looks at every subject for every message, and there are very many.

        :raises StoreUnavailable: if there can be no consumer now
        """
        client = self._connection.client
        async with client.hearing(self._inbox, self._receive):
            try:
                await self._create(first, only)
                await self.ask()
                yield
            except ApiError as error:
                raise StoreUnavailable(f"NATS gives us no consumer: {error}") from error
            finally:
                self.end()
                with anyio.CancelScope(shield=True), suppress(NatsError):
                    await client.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._name}")

    async def _create(self, first: int, only: str) -> None:
        config = {
            "name": self._name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": first,
            "ack_policy": "none",
            "replay_policy": "instant",
            **({"filter_subject": only} if only else {}),
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": INACTIVE_SECONDS * 10**9,
        }
        name = f"CONSUMER.CREATE.{self._stream}.{self._name}"
        wanted = {"stream_name": self._stream, "config": config}
        await self._connection.request_api(name, wanted, patience=CREATE_SECONDS)

    def lose(self, why: str) -> None:
        """It is not to be relied on any more."""
        self.why = self.why or why
        self.end()

    def end(self) -> None:
        """Nobody wants to read on."""
        self._over = True
        self._ended.set()

    async def lost(self) -> None:
        """Return when it is lost, or was ended."""
        while not self._ended.is_set():
            if not self._asked:  # whoever takes is not done with what he has
                await anyio.sleep(FULL_SECONDS)
                await self.ask()
                continue
            with anyio.move_on_after(LOOK_SECONDS):
                await self._ended.wait()
            if self._is_silent():
                await anyio.sleep(LOOK_SECONDS)  # it may have been the loop that had no time to hear
                if self._is_silent():
                    self.lose("its signs of life have ceased")
        if self._failure is not None:
            raise self._failure

    def _is_silent(self) -> bool:
        return anyio.current_time() - self._heard >= (AWAITED_SECONDS if self._awaited() else SILENCE_SECONDS)

    async def ask(self) -> None:
        """Have more sent, if there is room for it."""
        while self._asked <= ASKED // 2 and not self._over and not self._full():
            more = ASKED - self._asked
            request = {
                "batch": more,
                "max_bytes": max(ASKED_BYTES, 2 * self._connection.client.max_payload),
                "expires": EXPIRES_SECONDS * 10**9,
                "idle_heartbeat": int(HEARTBEAT_SECONDS * 10**9),
            }
            if not self._asked:
                self._heard = anyio.current_time()
            self._asked += more
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
            try:
                await self._connection.client.publish(subject, json.dumps(request).encode(), reply=self._inbox)
            except NatsError as error:
                self.lose(str(error))

    async def _receive(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        if self._over:
            return
        self._heard = self._time()
        if not reply:
            if not self._hear(await self._connection.client.headers(headers)):
                return
        else:
            tokens = reply.split(".")  # $JS.ACK.[domain.account.]stream.consumer.delivered.seq.number.time.left
            at = 2 if len(tokens) == 9 else 4
            number, seq = int(tokens[at + 4]), int(tokens[at + 3])
            if number != self._next or seq <= self.last:
                self.lose(f"its message {self._next} is missing")
                return
            self._next += 1
            self._asked -= 1
            self._unknown = 0
            self.last = seq
            try:
                self._take(Message(seq, subject, data, int(tokens[at + 5]) // NANOSECONDS))
            except Exception as error:  # to go on would be a gap
                self._failure = error
                self.end()
            self._held += 1
            if self._held % HELD == 0:
                await checkpoint()
        if self._asked <= ASKED // 2:
            await self.ask()

    def _hear(self, headers: Mapping[str, str]) -> bool:
        """What JetStream says of a request: it is alive (100), or this one is over and had so many left.

        Whether more is to be asked for at once; else in a moment (`lost`).
        """
        status = headers.get("Status", "")
        if status == "100":
            return True
        left, why = headers.get("Nats-Pending-Messages"), headers.get("Description", "nobody keeps it")
        if any(word in why for word in GOING):  # it is told with what is left of the request, as if that were over
            self.lose(why)
            return False
        if left is not None and status in {"408", "409"}:
            self._asked = max(0, self._asked - int(left))
        elif status == "503" and self._unknown < MOST_UNKNOWN:  # just made, and not every server has heard of it
            self._unknown += 1
            self._asked = 0
            return False
        else:
            self.lose(why)
        return True


def _never() -> bool:
    return False


async def replay(
    connection: Connection,
    stream: str,
    take: Take,
    *,
    first: int,
    until: int,
    only: str = "",
    full: Callable[[], bool] = _never,
) -> None:
    """Take what stands from `first` to `until` and passes the filter; return when that is done, however long it takes.

    The last one must pass it, too: the server that the consumer is on may be behind, and what it lacks yet is no end.
    """
    readings: list[Reading] = []

    def taken(message: Message) -> None:
        if message.seq <= until:
            take(message)
        if message.seq >= until:
            readings[-1].end()

    said = anyio.current_time()
    while first <= until:
        try:
            one = Reading(connection, stream, taken, full=full)
            readings.append(one)
            async with one.open(first, only):
                await one.lost()
            why = one.why
        except StoreUnavailable as error:
            why = error.detail
        first = max(first, one.last + 1)
        if first <= until:
            if anyio.current_time() - said >= SAID_EACH_SECONDS:
                said = anyio.current_time()
                logger.warning("NATS: %s is read again from %d on: %s", stream, first, why)
            await anyio.sleep(PAUSE_SECONDS)

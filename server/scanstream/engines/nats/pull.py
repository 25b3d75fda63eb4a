"""Messages that one node has at a time, taken one by one from a consumer that all nodes share.

A message that is had is extended at a third of its lease, so whoever stands still for a whole one loses it. What comes
in late, or when nobody wants it any more, is extended, too, and given back at the end.
"""

import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from scanstream.engines.nats.connection import Connection
from scanstream.engines.nats.consumers import require_consumer
from scanstream.engines.nats.roll import Count, Roll, Standing
from scanstream.errors import EngineUnusable, SettingError

EXPIRES_SECONDS = 10.0
"""How long a question for a message stands."""
HEARTBEAT_SECONDS = 1.0
SILENCE_SECONDS = 3.0
"""Without a message or a sign of life a question is taken for lost, and asked anew."""
PAUSE_SECONDS = 0.2
FLUSH_SECONDS = 1
UNTAKEN_SECONDS = 3
"""In which all is given back that has come and was not taken; else the lease runs out."""
PASSED_AT_ONCE = 64
"""Asked for with one question, where what comes is passed over and at least twice as many wait behind it."""
ALIVE, OVER, NOTHING = "100", "408", "No Messages"
DEATHS = "Scanstream-Deaths"
"""A header of ours: how many nodes were lost that had a message in whose place this one was put."""
MOST_DIGITS = 15


class Held:
    """A message that this node has."""

    __slots__ = ("_pull", "_reply", "data", "deliveries", "headers", "left", "seq", "subject")

    def __init__(self, pull: "Pull", message: Msg) -> None:
        tokens = message.reply.split(".")  # $JS.ACK.[domain.account.]stream.consumer.deliveries.seq.number.time.left
        at = 2 if len(tokens) == 9 else 4
        self._pull = pull
        self._reply = message.reply
        self.subject = message.subject
        self.data = message.data
        self.headers: Mapping[str, str] = message.headers or {}
        self.deliveries = int(tokens[at + 2])
        """1 the first time, then one more each time that its lease ran out, or that it was given back as it is."""
        self.seq = int(tokens[at + 3])
        self.left = int(tokens[at + 6])
        """How many wait behind it."""

    def count(self) -> Count:
        """How it came here, as far as it says itself."""
        return Count(self.seq, self.deliveries, self.counted(DEATHS))

    def counted(self, name: str) -> int:
        """What a header of ours counts; 0 where there is none, or somebody else has written it."""
        told = self.headers.get(name, "")
        return int(told) if told.isdecimal() and len(told) <= MOST_DIGITS else 0

    async def extend(self) -> None:
        """Still at it."""
        await self._pull.answer(self._reply, b"+WPI")

    async def done(self) -> None:
        """It is not to come again."""
        self.forget()
        await self._pull.answer(self._reply, b"+ACK")

    async def refuse(self, after: float = 0.0) -> None:
        """Another is to have it, at once, or after so many seconds."""
        self.forget()
        delay = json.dumps({"delay": round(after * 10**9)}).encode()
        await self._pull.answer(self._reply, b"-NAK " + delay if after else b"-NAK")

    def forget(self) -> None:
        """Extend it no more."""
        self._pull.held.discard(self)


class Pull:
    """One node's hand in a consumer."""

    def __init__(self, connection: Connection, stream: str, consumer: Mapping[str, Any]) -> None:
        self._connection = connection
        self._stream = stream
        self._consumer = consumer
        self._lease = consumer["ack_wait"] / 10**9
        self._inbox = connection.client.new_inbox()
        self.held: set[Held] = set()
        """What this node has."""
        self.roll = Roll(connection, consumer["name"], self._lease, lambda: [held.count() for held in self.held])
        self._arrived: deque[Held] = deque()
        self._asked = 0
        """How many are asked for, and have not come."""
        self._left = 0
        """How many wait behind the last that came."""
        self.passing = False
        """Whether what has come last was refused, as the next one will be: most of the time would go into questions."""
        self._news = anyio.Event()
        self.untaken: Callable[[Held], Awaitable[None]] = Held.refuse
        """Gives back what has come and nobody has taken: so that it does not count as a death, where deliveries do."""
        connection.when_back(self._ask_anew)

    async def require(self) -> None:
        """See to it that the consumer is there.

        :raises SettingError: if it is there with other settings
        :raises EngineUnusable: if there is none, and it cannot be made
        """
        await require_consumer(self._connection, self._stream, self._consumer)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Messages can be had in here; those that nobody has taken by the end are given back."""
        async with self.roll.open():  # who gives back asks as well
            subscription = await self._connection.client.subscribe(self._inbox, cb=self._receive)
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._extend)
                    yield
                    tasks.cancel_scope.cancel()
            finally:
                await self._close(subscription)

    async def _close(self, subscription: Subscription) -> None:
        with anyio.move_on_after(UNTAKEN_SECONDS, shield=True), suppress(NatsError):
            with anyio.move_on_after(FLUSH_SECONDS):
                await subscription.drain()  # type: ignore[no-untyped-call]  # what is on its way is here then
            while self._arrived:
                await self.untaken(self._arrived.popleft())

    async def next(self) -> Held:
        """The next message, as soon as there is one."""
        while not self._arrived:
            if not self._asked:
                await self._ask()
            self._news = anyio.Event()
            with anyio.move_on_after(SILENCE_SECONDS) as silence:
                await self._news.wait()
            if silence.cancelled_caught:
                self._connection.note_trouble()
                self._asked = 0
        return self._arrived.popleft()

    async def standing(self, held: Held) -> Standing | None:
        """How it is with a message that has come; None: a node that lives has it, and this one has it no longer."""
        with self._untaken_if_cut_short(held):
            standing = await self.roll.standing(held.count())
        if standing is None:
            held.forget()
        return standing

    async def lost(self, held: Held) -> int | None:
        """How many nodes were lost that had it, and all know that then; None: see `standing`."""
        standing = await self.standing(held)
        if standing is None:
            return None
        with self._untaken_if_cut_short(held):
            await self.roll.note(held.seq, held.deliveries, standing.lost())
        return standing.lost()

    def drop(self, held: Held) -> None:
        """Nobody is at it any more: it is extended no longer, unless it waits here to be given back."""
        if held not in self._arrived:
            held.forget()

    async def give_back(self, held: Held, lost: int, after: float = 0.0) -> None:
        """Another is to have it, after so many seconds; with so many lost it is no death that it comes again."""
        await self.roll.note(held.seq, self.roll.deliveries(held.count()) + 1, lost, free=True)
        await held.refuse(after)

    @contextmanager
    def _untaken_if_cut_short(self, held: Held) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._arrived.appendleft(held)
            raise

    async def _ask(self) -> None:
        many = self.passing and self._left >= 2 * PASSED_AT_ONCE
        self._asked = PASSED_AT_ONCE if many else 1
        request = {
            "batch": self._asked,
            "no_wait": many,
            "expires": round(EXPIRES_SECONDS * 10**9),
            "idle_heartbeat": round(HEARTBEAT_SECONDS * 10**9),
        }
        name = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer['name']}"
        with suppress(NatsError):  # then there is silence
            await self._connection.client.publish(name, json.dumps(request).encode(), reply=self._inbox)

    def _ask_anew(self) -> None:
        self._asked = 0
        self._news.set()

    async def _receive(self, message: Msg) -> None:
        if message.reply:
            held = Held(self, message)
            self.held.add(held)
            self._arrived.append(held)
            self._asked = max(0, self._asked - 1)
            self._left = held.left
        else:
            headers = message.headers or {}
            await self._hear(headers.get("Status", ""), headers.get("Description", ""))
        self._news.set()

    async def _hear(self, status: str, description: str) -> None:
        """What the server says about a question."""
        if status == OVER or NOTHING in description:
            self._asked = 0
        elif status != ALIVE:
            await self._repair(deleted="Deleted" in description, status=status)

    async def _repair(self, *, deleted: bool, status: str) -> None:
        """Nobody keeps the question, or the consumer is gone: that is found out, and it is made anew."""
        self._connection.note_trouble()
        await anyio.sleep(PAUSE_SECONDS)
        if deleted or status in {"503", "404"}:
            with suppress(EngineUnusable, SettingError):
                await self.require()
        self._asked = 0

    async def _extend(self) -> None:
        while True:
            await anyio.sleep(self._lease / 3)
            for held in tuple(self.held):
                await held.extend()

    async def answer(self, reply: str, words: bytes) -> None:
        """Say how it is with a message. Without a connection it is said later, or the lease runs out."""
        with suppress(NatsError):
            await self._connection.client.publish(reply, words)

"""Who of the nodes that live has which messages of a consumer: so a death is told from a lease that nobody heard.

A message comes once more when its lease has run out. Its node may have died. But it may as well live, and have it yet:
where NATS stood still, was elsewhere, or has another time now, no sign of life was heard. So whoever gets one that
somebody had before asks all nodes first, and leaves it to the one that has it; only where nobody says so was one lost.
And where NATS was in trouble a moment ago that proves nothing either: then none is counted.

What is known of a message is in the memories of the nodes, who tell it to each that comes or comes back, and goes with
the last of them: nothing is written, as a store that has no room is one of the reasons. Where a node has to count
without it, it counts each delivery.

    places.roll.<consumer>.call   a node asks
    places.roll.<consumer>.new    a node is there, or is there again, and what it has
    places.roll.<consumer>.has    what a node has, or knows

A version before hears none of these (it hears `places.*`) and does not answer: what it has is counted as it always was.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import anyio
import msgspec
from msgspec import Struct
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from scanstream.engines.nats.connection import Connection
from scanstream.undecodable import UNDECODABLE

ROUND_SECONDS = 0.25
"""From one call to the next: whoever is not connected yet hears none."""
ROUNDS, TROUBLED_ROUNDS = 2, 8
"""How often it is called, and how often where NATS was in trouble: nodes come back one after the other."""
ANSWERED_SECONDS = 0.1
"""From one answer of a node to its next: it is for all who have called meanwhile."""
TROUBLED_LEASES = 2
"""For how many leases after NATS was in trouble silence proves nothing: the nodes come back, and so do the leases."""
MOST_EXCUSED = 10
"""Deliveries of one message of which trouble is the reason; what ends each node might cause that trouble, too."""
MOST_KNOWN = 10_000
MOST_TOLD = 10_000
"""Messages that one answer names: some 200 KB of the megabyte that NATS takes."""


class Count(Struct, frozen=True, array_like=True):
    """How it was with a message as it was delivered for the so-manieth time."""

    seq: int
    deliveries: int
    lost: int
    """Nodes that had it and were lost by then."""
    free: bool = False
    """Whether a node that lives has given it back: so it will be delivered, and nobody has it until then."""


class Word(Struct, frozen=True, array_like=True):
    """What a node says."""

    node: str
    has: bool
    """Whether it has these; else it only knows."""
    counts: list[Count]


class Standing(Struct, frozen=True):
    """How it is with a message that has come here, and that no other node has."""

    came: Count
    known: Count | None
    """What was told of it last."""
    excused: bool
    """Whether nobody is to be taken for lost since then."""

    def lost(self, noted: Count | None = None) -> int:
        """How many nodes were lost that had it; what was noted of it counts where it is newer than what was told."""
        last = noted or Count(self.came.seq, 1, self.came.lost)
        if self.known is not None and self.known.deliveries >= last.deliveries:
            last = self.known
        return last.lost + (0 if self.excused else max(0, self.came.deliveries - last.deliveries))


class Roll:
    """One node's part in it."""

    def __init__(self, connection: Connection, consumer: str, lease: float, has: Callable[[], Iterable[Count]]) -> None:
        """`has`: the messages that this node has."""
        self._connection = connection
        self._subject = connection.names.subject(f"places.roll.{consumer}")
        self._lease = lease
        self._has = has
        self._known: OrderedDict[int, Count] = OrderedDict()
        """Of what was delivered more than once."""
        self._asking: set[int] = set()
        """What has come here, and may be somebody's."""
        self._called_at = float("-inf")
        self._theirs: set[int] = set()
        """What others have, as they have said since then."""
        self._one = anyio.Lock()
        self._called, self._back = anyio.Event(), anyio.Event()
        self._newcomers = False
        """Whether one of those who have called knows nothing yet."""
        connection.when_back(self._greet_again)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """In here this node answers."""
        subscription = await self._connection.client.subscribe(f"{self._subject}.*", cb=self._hear)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._greet)
                tasks.start_soon(self._answer)
                yield
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True), suppress(NatsError):
                await subscription.unsubscribe()

    async def standing(self, came: Count) -> Standing | None:
        """How it is with a message that has come here; None: another node lives and has it, and it is that one's."""
        known = self._known.get(came.seq)
        if came.deliveries == 1:  # what is known is of another: the stream or the consumer was made anew
            if known is not None:
                await self._tell(came)
            return Standing(came, None, excused=False)
        if known is not None and known.free and known.deliveries == came.deliveries:
            await self.note(came.seq, came.deliveries, known.lost)
            return Standing(came, known, excused=False)
        self._asking.add(came.seq)
        try:
            await self._call()
            known = self._known.get(came.seq)
            if came.seq in self._theirs:
                await self.note(came.seq, came.deliveries, came.lost if known is None else known.lost)
                return None
        finally:
            self._asking.discard(came.seq)
        excused = came.deliveries <= MOST_EXCUSED and self._connection.troubled(TROUBLED_LEASES * self._lease)
        return Standing(came, known, excused)

    async def _call(self) -> None:
        """Know what the others have, or had half a lease ago.

        That is as good: whoever lost one to us had it for a whole lease, without a sign of life. So the death of a node
        that had much costs one question. Who has died since then costs another lease.
        """
        async with self._one:
            if not self._is_fresh():
                self._called_at = float("-inf")  # if this is cut short
                self._theirs.clear()
                for _ in range(self._rounds()):
                    await self._say("call", Word(self._connection.node, has=False, counts=[]))
                    await anyio.sleep(ROUND_SECONDS)
                self._called_at = anyio.current_time()

    def _is_fresh(self) -> bool:
        return anyio.current_time() - self._called_at < self._lease / 2

    def _rounds(self) -> int:
        troubled = min(TROUBLED_ROUNDS, int(self._lease / 2 / ROUND_SECONDS))
        return max(ROUNDS, troubled if self._connection.troubled(self._lease) else 0)

    def deliveries(self, came: Count) -> int:
        """How often it was delivered: it may have been elsewhere, and was left to this node."""
        known = self._known.get(came.seq, came)
        return max(came.deliveries, known.deliveries)

    async def note(self, seq: int, deliveries: int, lost: int, *, free: bool = False) -> None:
        """Have all nodes know how it is as of this delivery; of the first one they do."""
        if deliveries > 1:
            await self._tell(Count(seq, deliveries, lost, free))

    async def _tell(self, count: Count) -> None:
        self._know(count)
        await self._say("has", Word(self._connection.node, has=False, counts=[count]))

    async def _say(self, what: str, word: Word) -> None:
        with suppress(NatsError):  # then nobody knows it
            await self._connection.client.publish(f"{self._subject}.{what}", msgspec.json.encode(word))

    async def _hear(self, message: Msg) -> None:
        with suppress(*UNDECODABLE):
            word = msgspec.json.decode(message.data, type=Word)
            if word.node == self._connection.node:
                return
            what = message.subject.rpartition(".")[2]
            for count in word.counts:
                if count.deliveries > 1 or not word.has:
                    self._know(count)
            if word.has and (self._one.locked() or self._is_fresh()):  # else nobody asks
                self._theirs.update(count.seq for count in word.counts)
            if what in ("call", "new"):
                self._newcomers |= what == "new"
                self._called.set()

    async def _greet(self) -> None:
        """Say what this node has, and be told what is known: as it comes, and whenever it was away."""
        while True:
            self._back = anyio.Event()
            await self._say("new", Word(self._connection.node, has=True, counts=self._own()))
            await self._back.wait()

    def _greet_again(self) -> None:
        self._back.set()

    async def _answer(self) -> None:
        """Whoever has called is told what this node has; who is new, what it knows as well."""
        while True:
            await self._called.wait()
            self._called, newcomers, self._newcomers = anyio.Event(), self._newcomers, False
            await self._say("has", Word(self._connection.node, has=True, counts=self._own()))
            if newcomers and self._known:
                known = list(self._known.values())[-MOST_TOLD:]
                await self._say("has", Word(self._connection.node, has=False, counts=known))
            await anyio.sleep(ANSWERED_SECONDS)

    def _own(self) -> list[Count]:
        """What this node has, without what it asks for itself: else two that ask would leave it to each other."""
        own = [self._known.get(count.seq, count) for count in self._has() if count.seq not in self._asking]
        return own[:MOST_TOLD]

    def _know(self, count: Count) -> None:
        known = self._known.pop(count.seq, count)
        if count.deliveries > 1:  # else it is another than was known
            self._known[count.seq] = count if count.deliveries >= known.deliveries else known
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)

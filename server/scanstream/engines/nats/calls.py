"""The calls port on NATS JetStream: the permissions to start are messages, and one node has each until its scan ends.

The consumer `planner` hands out as many as `--max-running` says, over all nodes, in the order of the stream; who has
one, and so this order, is said elsewhere (scans/permissions.py). A node that dies loses what it had after a lease, and
another goes on from what the log says.

    JOBS    job.plan.<scan>     how often a scan was given back by nodes that live; nobody's job, and seldom there

Of the deliveries of a permission those are no deaths. The word is written before it is given back, and goes with it.
Nor is one a death where a node says that it lives and has it (`roll.py`).
"""

from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import msgspec
from msgspec import Struct

from scanstream.engines.nats.answers import ApiError
from scanstream.engines.nats.connection import Connection
from scanstream.engines.nats.consumers import shared
from scanstream.engines.nats.jobs import GIVE_BACK_SECONDS, JOBS, PAUSE_SECONDS, remove
from scanstream.engines.nats.names import token
from scanstream.engines.nats.pull import Held, Pull
from scanstream.engines.nats.roll import Count, Standing
from scanstream.engines.nats.streams import SCANS
from scanstream.errors import StoreUnavailable
from scanstream.model import Milliseconds, ScanId, now
from scanstream.undecodable import UNDECODABLE

PLANNER = "planner"


class Past(Struct, frozen=True, omit_defaults=True):
    """What has become of a permission before."""

    deliveries: int = 1
    """How often it was delivered until it was given back."""
    deaths: int = 0
    """How many of the nodes that had it by then have died."""
    since: Milliseconds | None = None
    """When the first node gave it back that could not conduct its scan."""


class NatsCall:
    """A scan that this node conducts."""

    def __init__(self, calls: "NatsCalls", scan_id: ScanId, held: Held, standing: Standing) -> None:
        self._calls = calls
        self.held = held
        self.scan_id = scan_id
        self._deliveries = held.deliveries
        self._standing = standing
        self._past: Past | None = None

    async def deaths(self) -> int:
        """See `Call.deaths`. Waits while NATS is away."""
        past = await self._remembered()
        deaths = self._standing.lost(Count(self.held.seq, past.deliveries + 1, past.deaths))
        roll = self._calls.pull.roll
        await roll.note(self.held.seq, roll.deliveries(self.held.count()), deaths)
        return deaths

    async def waits(self) -> float:
        """See `Call.waits`, by the clocks of the nodes."""
        since = (await self._remembered()).since
        return 0.0 if since is None else max(0, now() - since) / 1000

    async def _remembered(self) -> Past:
        while self._past is None:
            try:
                self._past = Past(deliveries=0) if self._deliveries == 1 else await self._calls.past(self.scan_id)
            except StoreUnavailable:
                await anyio.sleep(PAUSE_SECONDS)
        return self._past

    async def go_on(self, held: Held) -> None:
        """It has come here once more, and nobody was lost."""
        self.held.forget()
        self.held = held
        with anyio.move_on_after(GIVE_BACK_SECONDS):
            await self._calls.pull.roll.note(held.seq, held.deliveries, await self.deaths())

    async def done(self) -> None:
        """See `Call.done`."""
        self._calls.conducted.pop(self.scan_id, None)
        await self.held.done()
        if self.held.deliveries > 1:
            await self._calls.forget(self.scan_id)

    async def give_back(self, after: float = 0.0) -> None:
        """See `Call.give_back`."""
        self._calls.conducted.pop(self.scan_id, None)
        self.held.forget()
        with anyio.move_on_after(GIVE_BACK_SECONDS):
            since = (await self._remembered()).since
            since = now() if since is None and after else since
            roll = self._calls.pull.roll
            past = Past(roll.deliveries(self.held.count()), await self.deaths(), since)
            await roll.note(self.held.seq, past.deliveries + 1, past.deaths, free=True)
            await self._calls.remember(self.scan_id, past)
        await self.held.refuse(after)


class NatsCalls:
    """The calls port."""

    def __init__(self, connection: Connection) -> None:
        names, options = connection.names, connection.options
        self._connection = connection
        self._names = names
        self._jobs = names.stream(JOBS)
        wanted = shared(names.stream(PLANNER), names.subject("scan.*.*.go"), options.lease, options.max_running)
        self.pull = Pull(connection, names.stream(SCANS), wanted)
        self.pull.untaken = self._give_back
        self.conducted: dict[ScanId, NatsCall] = {}
        """The scans that this node conducts."""

    def conducts(self, scan_id: ScanId) -> bool:
        """Whether this node conducts the scan."""
        return scan_id in self.conducted

    async def granted(self) -> AsyncIterator[NatsCall]:
        """See `Calls.granted`."""
        while True:
            held = await self.pull.next()
            scan_id = self._scan(held)
            known = self.conducted.get(scan_id)
            if known is None:
                if standing := await self.pull.standing(held):
                    self.conducted[scan_id] = call = NatsCall(self, scan_id, held, standing)
                    yield call
            elif known.held.seq == held.seq:  # the lease had run out, while this node or NATS stood still: it goes on
                await known.go_on(held)
            else:  # a second permission
                await held.done()

    async def _give_back(self, held: Held) -> None:
        """Nobody has taken it."""
        if standing := await self.pull.standing(held):
            await NatsCall(self, self._scan(held), held, standing).give_back()

    def _scan(self, held: Held) -> ScanId:
        return ScanId(self._names.parts(held.subject)[2])

    def _subject(self, scan_id: ScanId) -> str:
        return self._names.subject(f"job.plan.{token(scan_id)}")

    async def past(self, scan_id: ScanId) -> Past:
        """What was remembered of the permission.

        :raises StoreUnavailable: if nobody says
        """
        last = await self._connection.last(self._jobs, self._subject(scan_id))
        with suppress(*UNDECODABLE):
            if last is not None:
                return msgspec.json.decode(last.data, type=Past)
        return Past(deliveries=0)

    async def remember(self, scan_id: ScanId, past: Past) -> None:
        """Have whoever gets it next know this, also where no node is left that was told."""
        with suppress(StoreUnavailable):
            await self._connection.publish(
                self._subject(scan_id), msgspec.json.encode(past), stream=self._jobs, patience=GIVE_BACK_SECONDS
            )

    async def forget(self, scan_id: ScanId) -> None:
        """It will not be given back any more."""
        with suppress(ApiError, StoreUnavailable):
            await remove(self._connection, self._jobs, self._subject(scan_id))

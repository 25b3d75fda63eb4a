"""The jobs port on NATS JetStream: one stream of shards, in which each is once, whoever puts it in and however often.

    JOBS    job.<pool>.<scan>.<strategy>.<number>   a shard that waits, or that a node has

A message is put in only if its subject has none, and stays until its node says that the outcome is in the log. Who
gives a shard back puts another message in its place, only if it is still there, which tells how often the shard was
tried: so a node that leaves costs no attempt. A delivery beyond the first is a node that was lost, if no other one says
that it lives and has it (`roll.py`).

Nothing in here is purged: what a scan leaves behind is deleted one by one. A purge of some subjects, while shards of
them are with nodes, makes the consumer of nats-server 2.15.1 forget others that are with nodes, too: of one that dies
they would come to nobody any more.
"""

import logging
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

import anyio
import msgspec

from scanstream.engines.nats.answers import ApiError, ConflictError
from scanstream.engines.nats.connection import Connection
from scanstream.engines.nats.consumers import shared
from scanstream.engines.nats.names import token
from scanstream.engines.nats.pull import DEATHS, MOST_DIGITS, Held, Pull
from scanstream.engines.nats.streams import of_queue
from scanstream.errors import StoreUnavailable
from scanstream.jobs import ShardName
from scanstream.model import ScanId
from scanstream.telling import Telling
from scanstream.undecodable import UNDECODABLE

JOBS = "JOBS"
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
TRIED = "Scanstream-Tried"
"""A header of what was given back: attempts so far."""
PAUSE_SECONDS = 1.0
"""Between two tries to put a shard in while NATS is away."""
GIVE_BACK_SECONDS = 2.0
"""In which a shard is given back; else its lease runs out."""
LOOK_SECONDS = 2.0
"""In which it is found out whether shards are with somebody."""
MOST_DROPPED = 1000
"""Scans of which it is remembered for a while that they were dropped."""

logger = logging.getLogger("scanstream")


def of_jobs(connection: Connection) -> dict[str, Any]:
    """What the stream of shards must be."""
    return of_queue(connection, JOBS, "job.>")


class NatsLease:
    """A shard that this node has."""

    def __init__(self, jobs: "NatsJobs", held: Held, shard: ShardName, deaths: int) -> None:
        self._jobs = jobs
        self.held = held
        self.shard = shard
        self.deaths = deaths
        self.attempt = 1 + _tried(held, deaths)

    def leave(self) -> None:
        """See `Lease.leave`: the places are the node's own."""

    async def done(self) -> None:
        """See `Lease.done`."""
        self._jobs.leased.pop(self.held.seq, None)
        await self.held.done()

    async def give_back(self, *, tried: bool = True) -> None:
        """See `Lease.give_back`."""
        self._jobs.leased.pop(self.held.seq, None)
        await self._jobs.replace(self.held, tried=self.attempt - 1 + tried, deaths=self.deaths)


class NatsJobs:
    """The jobs port, for the shards of one kind."""

    def __init__(self, connection: Connection, pool: str) -> None:
        """`pool`: what the kind is called; each has a consumer, as who has places for one kind may have none for
        another."""
        names = connection.names
        self._connection = connection
        self._stream = names.stream(JOBS)
        self._pool = pool
        self._consumer = names.stream(pool)
        wanted = shared(self._consumer, names.subject(f"job.{pool}.>"), connection.options.lease, -1)
        self.pull = Pull(connection, self._stream, wanted)
        self.pull.untaken = self._give_back
        self.leased: dict[int, NatsLease] = {}
        """The shards that this node has, by their places in the stream."""
        self._placed: dict[ScanId, dict[str, int]] = {}
        """Where in the stream this node has put shards, by scan and subject."""
        self._dropped: OrderedDict[ScanId, int] = OrderedDict()
        """Where the last shard of a scan stood that was dropped here: a server that is behind may bring one yet."""
        self._left = 0
        self._telling = Telling()

    async def put(self, shards: Iterable[ShardName]) -> None:
        """See `Jobs.put`. Waits while NATS is away; what is in, and would come to nobody any more, is put anew."""
        there: list[str] = []
        for shard in shards:
            subject = self._subject(shard.scan_id, shard.strategy_id, str(shard.number))
            while True:
                try:
                    seq = await self._connection.publish(
                        subject, msgspec.json.encode(shard), headers={EXPECTED: "0"}, stream=self._stream
                    )
                    self._placed.setdefault(shard.scan_id, {})[subject] = seq
                    break
                except ConflictError:  # it is in already
                    there.append(subject)
                    break
                except StoreUnavailable as error:
                    if self._telling.due():
                        logger.warning("%s: a shard cannot be queued, and waits: %s", shard.scan_id, error.detail)
                    await anyio.sleep(PAUSE_SECONDS)

        if there:
            with suppress(ApiError, StoreUnavailable):
                await self._rescue(there)

    async def _rescue(self, subjects: list[str]) -> None:
        """Put those anew that the consumer takes for done while they are still there.

        So it is where somebody has purged the stream: a node of a version before, or an operator. How many nodes have
        died with such a shard is forgotten with it: this one may be why, and counts as one. What is done is removed in
        the same moment, so that is no shard that is just being done.
        """
        consumer = await self._connection.request_api(
            f"CONSUMER.INFO.{self._stream}.{self._consumer}", patience=LOOK_SECONDS
        )
        done = consumer["ack_floor"]["stream_seq"]
        for subject in subjects:
            stored = await self._connection.last(self._stream, subject, patience=LOOK_SECONDS)
            if stored is not None and stored.seq <= done:
                logger.warning("NATS: %s had come to nobody any more; it is queued anew", subject)
                tried, deaths = (_counted(stored.headers, name) for name in (TRIED, DEATHS))
                await self._replace(subject, stored.data, stored.seq, tried=tried + 1, deaths=deaths + 1)

    def _subject(self, scan_id: ScanId, strategy_id: str | None = None, number: str = ">") -> str:
        """The subject of a shard, or of all of a scan, or of a strategy of it."""
        strategy = [] if strategy_id is None else [token(strategy_id)]
        return self._connection.names.subject(".".join(["job", self._pool, token(scan_id), *strategy, number]))

    async def leases(self) -> AsyncIterator[NatsLease]:
        """See `Jobs.leases`: in the order in which they were put, which is in turns where each scan puts few."""
        while True:
            held = await self.pull.next()
            self._left = held.left
            try:
                shard = msgspec.json.decode(held.data, type=ShardName)
            except UNDECODABLE:
                logger.exception("NATS: %s is no shard that this version knows", held.subject)
                await held.done()
                continue
            if held.seq <= self._dropped.get(shard.scan_id, 0):
                await held.done()
            elif known := self.leased.get(held.seq):  # the lease had run out, while this node or NATS stood still
                known.held.forget()
                known.held = held
                await self.pull.roll.note(held.seq, held.deliveries, known.deaths)
            elif (deaths := await self.pull.lost(held)) is not None:
                lease = self.leased[held.seq] = NatsLease(self, held, shard, deaths)
                yield lease

    async def _give_back(self, held: Held) -> None:
        """Nobody has taken it."""
        if (deaths := await self.pull.lost(held)) is not None:
            await self.replace(held, tried=_tried(held, deaths), deaths=deaths)

    async def replace(self, held: Held, *, tried: int, deaths: int) -> None:
        """Put a shard in the place of one that this node has, unless that is gone.

        Where there is no room for it, or NATS is away, that one is given back as it is: an attempt is not counted then.
        """
        try:
            await self._replace(held.subject, held.data, held.seq, tried=tried, deaths=deaths)
        except StoreUnavailable:
            await self.pull.give_back(held, deaths)
        finally:
            held.forget()

    async def _replace(self, subject: str, data: bytes, seq: int, *, tried: int, deaths: int) -> None:
        headers = {EXPECTED: str(seq), TRIED: str(tried), DEATHS: str(deaths)}
        with suppress(ConflictError):
            await self._connection.publish(
                subject, data, headers=headers, stream=self._stream, patience=GIVE_BACK_SECONDS
            )

    async def elsewhere(self, scan_id: ScanId, strategy_id: str | None = None) -> bool:
        """See `Jobs.elsewhere`: what is in the stream, and not known to wait there, is with somebody."""
        try:
            there = await self._there(scan_id, strategy_id)
            if not there:
                return False
            consumer = await self._connection.request_api(
                f"CONSUMER.INFO.{self._stream}.{self._consumer}", patience=LOOK_SECONDS
            )
        except (ApiError, StoreUnavailable):
            return True
        delivered, placed = consumer["delivered"]["stream_seq"], self._placed.get(scan_id, {})
        return any(placed.get(subject, 0) <= delivered for subject in there)

    async def _there(self, scan_id: ScanId, strategy_id: str | None = None) -> list[str]:
        """The subjects of the scan's shards that are in the stream.

        :raises ApiError, StoreUnavailable: if nobody says
        """
        subjects = self._subject(scan_id, strategy_id)
        stream = await self._connection.request_api(
            f"STREAM.INFO.{self._stream}", {"subjects_filter": subjects}, patience=LOOK_SECONDS
        )
        return list(stream["state"].get("subjects") or ())

    async def drop(self, scan_id: ScanId) -> None:
        """See `Jobs.drop`. What stays in as NATS is away is nobody's work: the log says that the scan has ended."""
        if placed := self._placed.pop(scan_id, None):
            self._dropped[scan_id] = max(placed.values())
            if len(self._dropped) > MOST_DROPPED:
                self._dropped.popitem(last=False)
        with suppress(ApiError, StoreUnavailable):
            for subject in await self._there(scan_id):
                await remove(self._connection, self._stream, subject)

    def depth(self) -> int:
        """How many shards wait, as was told with the last that came here."""
        return self._left


async def remove(connection: Connection, stream: str, subject: str) -> None:
    """Delete what is there of a subject; no purge (see above).

    :raises ApiError, StoreUnavailable: if it stays
    """
    stored = await connection.last(stream, subject, patience=LOOK_SECONDS)
    if stored is not None:
        wanted = {"seq": stored.seq, "no_erase": True}
        await connection.request_api(f"STREAM.MSG.DELETE.{stream}", wanted, patience=LOOK_SECONDS)


def _tried(held: Held, deaths: int) -> int:
    """How often it was tried before: each node that was lost since it was put in has tried it."""
    return held.counted(TRIED) + deaths - held.counted(DEATHS)


def _counted(headers: bytes, name: str) -> int:
    """What a header of ours counts; 0 where there is none, or somebody else has written it."""
    found = re.search(rb"^%s: *(\d{1,%d})\r?$" % (name.encode(), MOST_DIGITS), headers, re.MULTILINE)
    return int(found[1]) if found else 0

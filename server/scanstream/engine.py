"""The engine that the settings name: where logs live, and who shares the work on scans. Beside the core only here."""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from scanstream.deliveries import Deliveries
from scanstream.engines.nats.options import NatsOptions
from scanstream.engines.sqlite import open_store
from scanstream.jobs import Calls, Jobs, Releases, covers
from scanstream.log.hub import Watcher
from scanstream.log.store import Store
from scanstream.market.library import Library
from scanstream.measure import Commits
from scanstream.scans.calls import LocalCalls
from scanstream.scans.local import LocalJobs
from scanstream.scans.owners import Owners
from scanstream.scans.permissions import Permissions
from scanstream.scans.ranks import Line, Share
from scanstream.scans.turns import Turns
from scanstream.settings import Settings
from scanstream.strategies.installed import releases

LEAST_WINDOW = 2
"""Shards of one scan in a shared queue: one that is at work, and the next."""
ROUNDS = 2
"""How many shards there are in a shared queue for each place, over all scans: what is at work, and as much again."""


class Queue(Jobs, Protocol):
    """The jobs port, with how much there is to do."""

    def depth(self) -> int:
        """How many shards wait."""
        ...


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A store, and the queues in front of those who work."""

    store: Store
    computing: Queue
    """Shards for worker processes."""
    waiting: Queue
    """Shards of strategies that wait for input."""
    calls: Calls
    deliveries: Deliveries
    """What is to be told elsewhere."""
    commits: Commits
    """What the store writes, counted."""
    places: Callable[[bool], int]
    """How many shards of one scan are run at once, over all nodes: those that wait for input, or the others."""
    places_of_all: Callable[[bool], int]
    """The same of all scans together."""
    own: dict[str, str]
    """The strategies that this node can run, by id, and their releases; what is taken out is told to the others."""
    anybody: Callable[[Releases], bool]
    """Whether a node that runs shards has all of these."""
    line: Line
    """The scans that wait to be let in."""
    permissions: Permissions | None = None
    """The same, where several nodes let them in."""
    owners: Owners = field(default_factory=Owners)
    library: Library | None = None
    """Where nodes share what they know of markets; None: there is but one."""
    away: Callable[[], str] = str
    """Why the store cannot be reached just now; empty where it can, or where that is known only by asking it."""
    watchers: Sequence[Watcher] = ()
    """Who hears of every change of every scan, from the first one on."""

    def window(self, share: Share, waiting: bool) -> int | None:
        """How many shards of a scan are in a queue or at work, where it has this share of that; None: all.

        A queue that nodes share gives what is in it in its order, so principals have equally many in it: as many as
        whoever has the most scans must have, where each of these has the least. Of what waits for input a scan has no
        more than it may have at work.
        """
        if not self.store.shared:
            return None
        least = 1 if waiting else LEAST_WINDOW
        of_each = max(ROUNDS * self.places_of_all(waiting) / share.principals, least * share.most) / share.own
        return max(1, min(int(of_each), self.places(True))) if waiting else math.ceil(of_each)


@asynccontextmanager
async def open_engine(settings: Settings) -> AsyncIterator[Engine]:
    """The engine of a node with these settings.

    :raises SetupError: if it cannot be used
    """
    waiting = min(settings.max_in_loop, settings.max_in_loop_per_scan)
    if settings.nats is not None:
        in_loop = (waiting, settings.max_in_loop) if settings.workers else (0, 0)
        async with _on_nats(settings.nats, settings.workers, *in_loop) as engine:
            yield engine
        return
    async with open_store(settings.directory) as store:
        calls, own, owners = LocalCalls(settings.max_running), releases(), Owners()
        yield Engine(
            store=store,
            computing=LocalJobs(owners.of),
            waiting=Turns(settings.max_in_loop_per_scan, owners.of),
            calls=calls,
            deliveries=store.deliveries,
            commits=store.commits,
            line=calls,
            owners=owners,
            places=lambda waits: waiting if waits else max(1, settings.workers),
            places_of_all=lambda waits: settings.max_in_loop if waits else max(1, settings.workers),
            own=own,
            anybody=partial(covers, own),
            watchers=(owners.notice, calls.notice),
        )


@asynccontextmanager
async def _on_nats(options: NatsOptions, computing: int, waiting: int, in_loop: int) -> AsyncIterator[Engine]:
    from scanstream.engines.nats.leftovers import swept  # noqa: PLC0415  # nats-py is an extra
    from scanstream.engines.nats.library import open_library  # noqa: PLC0415
    from scanstream.engines.nats.places import Own  # noqa: PLC0415
    from scanstream.engines.nats.queues import open_queues  # noqa: PLC0415
    from scanstream.engines.nats.store import open_nats  # noqa: PLC0415

    strategies, owners = releases(), Owners()
    own = Own(computing=computing, waiting=waiting, in_loop=in_loop, strategies=strategies, turns=True)
    async with open_nats(options) as store, open_queues(store.connection, own, store.now) as queues, swept(store):
        permissions = Permissions(options.max_running, queues.calls.conducts, queues.places.alike)
        yield Engine(
            store=store,
            computing=queues.computing,
            waiting=queues.waiting,
            calls=queues.calls,
            deliveries=queues.deliveries,
            commits=store.commits,
            line=permissions,
            permissions=permissions,
            away=store.healthy,
            owners=owners,
            watchers=(owners.notice, permissions.notice),
            library=await open_library(store),
            places=lambda waits: queues.places.waiting() if waits else queues.places.computing(),
            places_of_all=lambda waits: queues.places.in_loop() if waits else queues.places.computing(),
            own=strategies,
            anybody=queues.places.anybody,
        )

"""Strategies that wait for input (`async def`): a queue of their own, and their shards, run in the server's loop."""

import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import cast

import anyio
from anyio import to_thread
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from scanstream.errors import Shortage
from scanstream.jobs import Jobs, Lease, Shard
from scanstream.model import Opportunity, ScanId
from scanstream.scans.shard import Outcome, Search, failure, timed
from scanstream.shortage import shortage
from scanstream.strategies.installed import registry
from scanstream.strategies.strategy import AsyncStrategy, Note, Signal


class Lanes:
    """The jobs port over two queues: shards that wait for input never wait for a worker, nor do they hold one up."""

    def __init__(self, computing: Jobs, waiting: Jobs) -> None:
        self._computing = computing
        self._waiting = waiting

    async def put(self, shards: Iterable[Shard]) -> None:
        """See `Jobs.put`: each into the queue of its kind."""
        sorted_out: dict[bool, list[Shard]] = {False: [], True: []}
        for shard in shards:
            strategy = registry().get(shard.strategy_id)
            sorted_out[strategy is not None and strategy.waits].append(shard)
        await self._computing.put(sorted_out[False])
        await self._waiting.put(sorted_out[True])

    def leases(self) -> AsyncIterator[Lease]:
        """See `Jobs.leases`: shards for worker processes."""
        return self._computing.leases()

    def waiting_leases(self) -> AsyncIterator[Lease]:
        """See `Jobs.leases`: shards for the loop."""
        return self._waiting.leases()

    async def drop(self, scan_id: ScanId) -> None:
        """See `Jobs.drop`."""
        await self._computing.drop(scan_id)
        await self._waiting.drop(scan_id)


async def run(shard: Shard, panels: Path) -> Outcome:
    """Run a shard of an `AsyncStrategy` on the panel below `panels`; its outcome, whatever the strategy does."""
    started = time.perf_counter()
    try:
        outcome = await _scan(shard, panels)
    except anyio.get_cancelled_exc_class() as error:
        if anyio.current_effective_deadline() == -math.inf:
            raise
        outcome = failure(
            error, shard.strategy_id
        )  # the strategy's own: let through, it would end the task group of all shards
    except BaseException as error:  # nothing that a plug-in raises may end the task group of all shards
        await checkpoint_if_cancelled()  # what it raises on being cancelled is no failure of its own
        outcome = failure(error, shard.strategy_id)
    return timed(outcome, started)


async def _scan(shard: Shard, panels: Path) -> Outcome:
    try:
        search = await to_thread.run_sync(Search, shard, panels)  # cuts the panel: copies of its arrays
    except RuntimeError as error:
        if lacking := shortage(error):
            raise Shortage(f"No thread can be started: {error}", lacking=lacking) from error
        raise
    strategy = cast(AsyncStrategy, search.strategy.strategy)
    opportunities: list[Opportunity] = []
    found = strategy.scan(search.panel, search.units, search.parameters)
    async with aclosing(cast(AsyncGenerator[Signal | Note, None], found)):  # an async def that yields gives one
        async for item in found:
            if opportunity := search.take(item):
                opportunities.append(opportunity)
            await checkpoint()  # a strategy that yields much and awaits nothing still leaves the loop to others
    return Outcome(opportunities=opportunities, note=search.note())

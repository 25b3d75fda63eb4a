"""Strategies that wait for input (`async def`): a queue of their own, and their shards, run in the server's loop."""

import inspect
import math
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from itertools import groupby
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from scanstream.errors import Shortage
from scanstream.jobs import Jobs, Lease, Shard, ShardName
from scanstream.model import ScanId
from scanstream.scans.work import offspring
from scanstream.scans.work.shard import Outcome, Search, failure, timed
from scanstream.scans.work.steps import Blocks, Steps
from scanstream.scans.work.stream import LAST_SECONDS, Keep, Stream
from scanstream.shortage import shortage
from scanstream.strategies.installed import registry


def waits(strategy_id: str) -> bool:
    """Whether shards of the strategy wait for input, in the loop."""
    strategy = registry().get(strategy_id)
    return strategy is not None and strategy.waits


class Lanes:
    """The jobs port over two queues: shards that wait for input never wait for a worker, nor do they hold one up."""

    def __init__(self, computing: Jobs, waiting: Jobs) -> None:
        self._computing = computing
        self._waiting = waiting

    async def put(self, shards: Iterable[ShardName]) -> None:
        """See `Jobs.put`: each into the queue of its kind. A plan may have thousands: others have turns between."""
        for waiting, some in groupby(shards, key=lambda shard: waits(shard.strategy_id)):
            await (self._waiting if waiting else self._computing).put(some)
            await checkpoint()

    def leases(self) -> AsyncIterator[Lease]:
        """See `Jobs.leases`: shards for worker processes."""
        return self._computing.leases()

    def waiting_leases(self) -> AsyncIterator[Lease]:
        """See `Jobs.leases`: shards for the loop."""
        return self._waiting.leases()

    async def elsewhere(self, scan_id: ScanId, strategy_id: str | None = None) -> bool:
        """See `Jobs.elsewhere`."""
        if strategy_id is not None:
            return await (self._waiting if waits(strategy_id) else self._computing).elsewhere(scan_id, strategy_id)
        return await self._computing.elsewhere(scan_id) or await self._waiting.elsewhere(scan_id)

    async def drop(self, scan_id: ScanId) -> None:
        """See `Jobs.drop`."""
        await self._computing.drop(scan_id)
        await self._waiting.drop(scan_id)


class Wait:
    """A shard of an `AsyncStrategy` at work in the loop, on the panel below `panels`."""

    def __init__(self, shard: Shard, panels: Path, keep: Keep, blocks: Blocks) -> None:
        """`keep` appends a part of what it found, while it goes on."""
        self._shard = shard
        self._panels = panels
        self._stream = Stream(keep)
        self._steps = Steps(blocks, shard.strategy_id, shard.scan_id)
        self._search: Search | None = None

    async def run(self) -> Outcome:
        """Its outcome, whatever the strategy does; with what it found that is not kept yet."""
        started = time.perf_counter()
        try:
            async with anyio.create_task_group() as keeping:
                keeping.start_soon(self._stream.run)
                outcome = await self._apart()
                self._stream.end()
                keeping.cancel_scope.deadline = anyio.current_time() + LAST_SECONDS  # the rest goes with the outcome
        except BaseException:
            await self._stream.save()
            raise
        return timed(replace(outcome, opportunities=self._stream.rest(), note=self.note()), started)

    def note(self) -> str | UnsetType:
        """What there is to say of it until now."""
        own = self._search.note() if self._search else UNSET
        return "; ".join(words for words in (self._steps.note, own) if words) or UNSET

    async def _apart(self) -> Outcome:
        """Its outcome, from a task of its own: one that cancels the task that it runs in cancels nobody else's."""
        outcomes: list[Outcome] = []

        async def run() -> None:
            offspring.enter()
            outcomes.append(await self._outcome())
            own.cancel_scope.cancel()

        async with anyio.create_task_group() as own:
            own.start_soon(self._steps.attend)
            own.start_soon(run)
        if not outcomes:
            return failure(RuntimeError("it cancelled its own task"), self._shard.strategy_id)
        return outcomes[0]

    async def _outcome(self) -> Outcome:
        try:
            await self._scan()
        except anyio.get_cancelled_exc_class() as error:
            if anyio.current_effective_deadline() == -math.inf:
                raise
            # the strategy's own: let through, it would end the task group of all shards
            return failure(error, self._shard.strategy_id)
        except BaseException as error:  # nothing that a plug-in raises may end the task group of all shards
            await checkpoint_if_cancelled()  # what it raises on being cancelled is no failure of its own
            return failure(error, self._shard.strategy_id, began=self._search is not None)
        return Outcome()

    async def _scan(self) -> None:
        try:
            search = await to_thread.run_sync(Search, self._shard, self._panels)  # cuts the panel
        except RuntimeError as error:
            if lacking := shortage(error):
                raise Shortage(f"No thread can be started: {error}", lacking=lacking) from error
            raise
        self._search = search
        found = await self._steps.take(_begun(search))
        try:
            while (item := await self._steps.take(_next(found))) is not END:
                if opportunity := search.take(item):
                    await self._stream.put(opportunity)
                await checkpoint()  # a strategy that yields much and awaits nothing still leaves the loop to others
        finally:
            if close := getattr(found, "aclose", None):
                await self._steps.take(close())


END = object()


async def _begun(search: Search) -> AsyncIterator[object]:
    found: object = search.strategy.strategy.scan(search.panel, search.units, search.parameters)
    if inspect.iscoroutine(found):
        found.close()
        raise TypeError("its scan is an async def that yields nothing; let it yield")
    if not isinstance(found, AsyncIterable):
        raise TypeError(f"its scan gave a {type(found).__name__}, and must be an async def that yields")
    return aiter(found)


async def _next(found: AsyncIterator[object]) -> object:
    return await anext(found, END)

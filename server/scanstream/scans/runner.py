"""Runs leased shards, in worker processes or in the loop (waiting.py), and writes each outcome into the log."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec import UNSET

from scanstream.jobs import Lease, Shard
from scanstream.log.entry import AnyEntry, ShardDone, ShardFailed, ShardStarted, parts
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import Problem, ScanId
from scanstream.scans import shard as worker
from scanstream.scans import waiting
from scanstream.scans.appending import append, now
from scanstream.scans.processes import WORKER_DIED, Processes
from scanstream.scans.waiting import Lanes

MOST_ATTEMPTS = 3
"""How often a shard is begun before its worker's death counts as its outcome."""

MOST_IN_LOOP = 32
"""Shards in the loop at once: they cost next to nothing, but each may hold a connection to somebody."""

logger = logging.getLogger("scanstream")

Way: TypeAlias = Callable[[Shard], Awaitable[worker.Outcome]]
"""How a shard is run; raises TimeoutError when that takes longer than the shard's budget."""


class Runner:
    """As many shards at once as there are worker processes; and beside them those that only wait for input."""

    def __init__(self, store: Store, hub: Hub, jobs: Lanes, processes: Processes) -> None:
        self._store = store
        self._hub = hub
        self._jobs = jobs
        self._processes = processes
        self._scopes: dict[ScanId, dict[tuple[str, int], anyio.CancelScope]] = {}

    async def run(self) -> None:
        """Run shards as long as there are leases."""
        with self._hub.watching_all(self._notice):
            async with anyio.create_task_group() as shards:
                shards.start_soon(self._take, shards, self._jobs.leases(), self._in_process, self._processes.most)
                shards.start_soon(self._take, shards, self._jobs.waiting_leases(), self._in_loop, MOST_IN_LOOP)

    async def _take(self, shards: TaskGroup, leases: AsyncIterator[Lease], way: Way, most: int) -> None:
        places = anyio.Semaphore(most)
        while True:
            await places.acquire()
            shards.start_soon(self._work, await anext(leases), way, places)

    def running(self) -> int:
        """How many shards run."""
        return sum(map(len, self._scopes.values()))

    def _notice(self, log: ScanLog) -> None:
        """Stop what is still running and not wanted any more."""
        for (strategy_id, number), scope in self._scopes.get(log.scan_id, {}).items():
            if not log.folded.wants(strategy_id, number):
                scope.cancel()

    async def _work(self, lease: Lease, way: Way, places: anyio.Semaphore) -> None:
        shard = lease.shard
        scopes = self._scopes.setdefault(shard.scan_id, {})
        scope = scopes[shard.strategy_id, shard.number] = anyio.CancelScope()
        again = False
        try:
            log = self._hub.get(shard.scan_id)
            if log is None or log.folded.wants(shard.strategy_id, shard.number):
                with scope:
                    again = not await self._attempt(lease, way)
        finally:
            del scopes[shard.strategy_id, shard.number]
            if not scopes:
                self._scopes.pop(shard.scan_id, None)
            places.release()
        if again:
            await lease.give_back()

    async def _attempt(self, lease: Lease, way: Way) -> bool:
        """Run the shard; whether the log has its outcome now."""
        shard = lease.shard
        async with anyio.create_task_group() as noting:
            started = ShardStarted(at=now(), strategy_id=shard.strategy_id, shard=shard.number)
            noting.start_soon(append, self._store, shard.scan_id, started)
            entries = await self._outcome(lease, way)
        if not entries:
            return False
        await append(self._store, shard.scan_id, *entries)
        await lease.done()
        return True

    async def _outcome(self, lease: Lease, way: Way) -> list[AnyEntry]:
        """The entries that say how it came out; none if another attempt will."""
        shard = lease.shard
        try:
            return _entries(shard, await way(shard))
        except TimeoutError:
            detail = f"it took longer than its budget of {shard.budget_seconds:g} s"
            return [_failed(shard, "timed_out", detail, timed_out=True)]
        except WORKER_DIED:
            logger.warning("%s: a worker died on %s/%d", shard.scan_id, shard.strategy_id, shard.number)
            if lease.attempt < MOST_ATTEMPTS:
                return []
            return [_failed(shard, "worker_died", f"its worker process died {lease.attempt} times")]
        except Exception:  # a defect costs this shard, not the server with all the others
            logger.exception("%s: %s/%d cannot be run", shard.scan_id, shard.strategy_id, shard.number)
            return [_failed(shard, "internal", "the server failed to run it; its log says why")]

    async def _in_loop(self, shard: Shard) -> worker.Outcome:
        with anyio.fail_after(shard.budget_seconds):
            return await waiting.run(shard, self._processes.panels)

    async def _in_process(self, shard: Shard) -> worker.Outcome:
        job = msgspec.msgpack.encode(shard)
        encoded = await self._processes.run(worker.run, job, seconds=shard.budget_seconds)
        return msgspec.msgpack.decode(encoded, type=worker.Outcome)


def _entries(shard: Shard, outcome: worker.Outcome) -> list[AnyEntry]:
    if isinstance(outcome.error, Problem):
        return [_failed(shard, outcome.error.code, outcome.error.detail)]
    at = now()
    done = ShardDone(
        at=at,
        strategy_id=shard.strategy_id,
        shard=shard.number,
        elapsed_ms=outcome.elapsed_ms,
        note=outcome.note or UNSET,
    )
    return [*parts(shard.strategy_id, shard.number, outcome.opportunities, at), done]


def _failed(shard: Shard, code: str, detail: str, *, timed_out: bool = False) -> ShardFailed:
    return ShardFailed(
        at=now(),
        strategy_id=shard.strategy_id,
        shard=shard.number,
        reason="timed_out" if timed_out else "failed",
        code=code,
        detail=f"Shard {shard.number + 1}: {detail}",
    )

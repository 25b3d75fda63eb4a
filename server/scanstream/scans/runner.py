"""Runs leased shards in worker processes, and writes each outcome into the log.

`anyio.to_process` because one worker that dies breaks one call only, a hang is killed at its budget, and a dead worker
is replaced; a `ProcessPoolExecutor` breaks as a whole and cannot cancel a running call.
"""

import logging
import os
from pathlib import Path

import anyio
import msgspec
from anyio import BrokenWorkerProcess, EndOfStream, to_process
from msgspec import UNSET

from scanstream.jobs import Jobs, Lease, Shard
from scanstream.log.entry import AnyEntry, ShardDone, ShardFailed, ShardStarted, parts
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import Problem, ScanId
from scanstream.scans import shard as worker
from scanstream.scans.appending import append, now

MOST_ATTEMPTS = 3
"""How often a shard is begun before its worker's death counts as its outcome."""

WORKER_DIED = (BrokenWorkerProcess, EndOfStream, ProcessLookupError)
"""What anyio raises when a worker process is gone; the last two when it was killed while it came up."""

logger = logging.getLogger("scanstream")


class Runner:
    """As many shards at once as there are worker processes."""

    def __init__(self, store: Store, hub: Hub, jobs: Jobs, panels: Path, *, workers: int) -> None:
        self._store = store
        self._hub = hub
        self._jobs = jobs
        self._panels = panels
        self._free = anyio.Semaphore(workers)
        self._processes = anyio.CapacityLimiter(workers)
        self._scopes: dict[ScanId, dict[tuple[str, int], anyio.CancelScope]] = {}

    async def run(self) -> None:
        """Run shards as long as there are leases."""
        with self._hub.watching_all(self._notice):
            async with anyio.create_task_group() as shards:
                leases = self._jobs.leases()
                while True:
                    await self._free.acquire()
                    shards.start_soon(self._work, await anext(leases))

    def running(self) -> int:
        """How many shards run."""
        return sum(map(len, self._scopes.values()))

    def _notice(self, log: ScanLog) -> None:
        """Stop what is still running and not wanted any more."""
        for (strategy_id, number), scope in self._scopes.get(log.scan_id, {}).items():
            if not log.folded.wants(strategy_id, number):
                scope.cancel()

    async def _work(self, lease: Lease) -> None:
        shard = lease.shard
        scopes = self._scopes.setdefault(shard.scan_id, {})
        scope = scopes[shard.strategy_id, shard.number] = anyio.CancelScope()
        again = False
        try:
            log = self._hub.get(shard.scan_id)
            if log is None or log.folded.wants(shard.strategy_id, shard.number):
                with scope:
                    again = not await self._attempt(lease)
        finally:
            del scopes[shard.strategy_id, shard.number]
            if not scopes:
                self._scopes.pop(shard.scan_id, None)
            self._free.release()
        if again:
            await lease.give_back()

    async def _attempt(self, lease: Lease) -> bool:
        """Run the shard; whether the log has its outcome now."""
        shard = lease.shard
        async with anyio.create_task_group() as noting:
            started = ShardStarted(at=now(), strategy_id=shard.strategy_id, shard=shard.number)
            noting.start_soon(append, self._store, shard.scan_id, started)
            entries = await self._outcome(lease)
        if not entries:
            return False
        await append(self._store, shard.scan_id, *entries)
        await lease.done()
        return True

    async def _outcome(self, lease: Lease) -> list[AnyEntry]:
        """The entries that say how it came out; none if another attempt will."""
        shard = lease.shard
        try:
            await self._ready_process()
            with anyio.move_on_after(shard.budget_seconds) as budget:
                encoded = await to_process.run_sync(
                    worker.run,
                    msgspec.msgpack.encode(shard),
                    str(self._panels),
                    os.getpid(),
                    cancellable=True,
                    limiter=self._processes,
                )
        except WORKER_DIED:
            logger.warning("%s: a worker died on %s/%d", shard.scan_id, shard.strategy_id, shard.number)
            if lease.attempt < MOST_ATTEMPTS:
                return []
            return [_failed(shard, "worker_died", f"its worker process died {lease.attempt} times")]
        if budget.cancelled_caught:
            detail = f"it took longer than its budget of {shard.budget_seconds:g} s"
            return [_failed(shard, "timed_out", detail, timed_out=True)]
        return _entries(shard, msgspec.msgpack.decode(encoded, type=worker.Outcome))

    async def _ready_process(self) -> None:
        """See that an idle worker process is there, and prepared.

        Shielded: a call that is cancelled while anyio waits for a new process to come up leaves that process behind.
        """
        with anyio.CancelScope(shield=True):
            await to_process.run_sync(worker.prepare, os.getpid(), limiter=self._processes)


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

"""Shards in the queues that nodes share are shared out to principals, and of one's part to each of their scans."""

from collections import Counter
from contextlib import aclosing
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from scanstream.engine import Engine, Queue, open_engine
from scanstream.log.scanlog import ScanLog
from scanstream.model import Principal, ScanId
from scanstream.scans import supply
from scanstream.scans.ranks import Ranks
from scanstream.scans.supply import Supply
from scanstream.settings import Settings
from support.histories import NOON, done, planned, registered
from support.nats import NatsServer, options

pytestmark = pytest.mark.anyio

FLOOD = 15
SHARDS = 400
"""Of each scan: none comes to its end here."""


class Conductors:
    """Conducts scans of one strategy, on any nodes: what each has in the queue is what its share lets it have."""

    def __init__(self, engine: Engine, queue: Queue, waiting: bool) -> None:
        self._engine = engine
        self._queue = queue
        self._waiting = waiting
        self._ranks = Ranks(engine.line)
        self.owners: dict[ScanId, Principal] = {}
        self._logs: dict[ScanId, ScanLog] = {}
        self._supplies: dict[ScanId, Supply] = {}

    async def begin(self, owner: str, scans: int) -> None:
        """So many scans of this principal's have a plan, and begin."""
        for _ in range(scans):
            scan_id, principal = ScanId(f"scan_{len(self._logs)}"), Principal(owner)
            log = ScanLog(replace(registered("s", scan_id=scan_id), principal=principal), "epoch")
            log.apply(2, planned(s=SHARDS))
            self._ranks.notice(log)
            self.owners[scan_id], self._logs[scan_id] = principal, log
            self._supplies[scan_id] = Supply(log.folded, self._queue, partial(self._window, principal))
            await self._supplies[scan_id].refill(log.folded)

    def _window(self, owner: Principal, waiting: bool) -> int | None:
        return self._engine.window(self._ranks.sharing(owner), waiting)

    async def outcome(self, scan_id: ScanId, number: int) -> None:
        """A shard is done."""
        log = self._logs[scan_id]
        log.apply(log.seq + 1, replace(done("s", number), at=NOON))
        await self._supplies[scan_id].refill(log.folded)


@pytest.mark.parametrize(("waiting", "least"), [(False, 0.4), (True, 0.3)], ids=["for workers", "in the loop"])
async def test_one_scan_has_as_much_as_all_of_a_flood(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, waiting: bool, least: float
) -> None:
    """Two nodes with a worker each, or 8 places in the loop, of which 4 are for one scan: it could have half of all."""
    monkeypatch.setattr(supply, "waits", lambda _: waiting)
    named = {"engine": nats.url, "namespace": options(nats).namespace, "max_in_loop": 8, "max_in_loop_per_scan": 4}
    settings = [Settings(port=0, workers=1, data=str(tmp_path / name), **named) for name in ("one", "two")]  # type: ignore[arg-type]
    async with open_engine(settings[0]) as one, open_engine(settings[1]) as other:
        assert one.store.shared
        queues = [node.waiting if waiting else node.computing for node in (one, other)]
        conductors = Conductors(one, queues[0], waiting)
        await conductors.begin("flooder", FLOOD)
        taken = Counter[Principal]()
        had = Counter[ScanId]()
        async with aclosing(queues[1].leases()) as leases:  # type: ignore[type-var]  # a generator
            for number in range(500):
                if number == 100:
                    await conductors.begin("newcomer", 1)
                    taken.clear()
                    had.clear()
                lease = await anext(leases)
                scan_id = lease.shard.scan_id
                taken[conductors.owners[scan_id]] += 1
                had[scan_id] += 1
                await conductors.outcome(scan_id, lease.shard.number)
                lease.leave()
                await lease.done()
        assert taken[Principal("newcomer")] >= least * taken.total(), "half, but for what was in the queue already"
        of_each = [count for scan_id, count in had.items() if conductors.owners[scan_id] == "flooder"]
        assert len(of_each) == FLOOD
        assert max(of_each) - min(of_each) <= 2, "and each scan of the flood as much as the others of it"

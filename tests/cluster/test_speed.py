"""More workers shorten a scan: four against one. The figures are printed (`pytest -s`)."""

import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from cluster.farm import Farm, farm
from support.nats import NatsServer

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


async def seconds(nodes: Farm, **parameters: Any) -> float:
    """How long a scan takes, from its plan to its end."""
    scan_id = await nodes.scan(strategy_ids=["scripted"], parameters={"scripted": {"found": 1, **parameters}})
    log = await nodes.core.hub.until_known(scan_id)
    with anyio.fail_after(110):
        await nodes.core.hub.until(scan_id, lambda log: log.folded.tallies is not None)
        began = time.monotonic()
        await nodes.core.hub.until(scan_id, lambda log: log.ended)
    assert log.folded.state.status == "complete"
    assert log.folded.state.total_opportunities == parameters["shards"]
    return time.monotonic() - began


async def test_four_workers_against_one(nats: NatsServer, tmp_path: Path) -> None:
    async with farm(nats, tmp_path, lease=10.0) as nodes:
        waiting = {"shards": 48, "pause": 0.25}
        computing = {"shards": 48, "work": 150_000}
        await nodes.start(1)
        await seconds(nodes, **{**waiting, "shards": 4})  # each worker has its process then
        one = [await seconds(nodes, **waiting), await seconds(nodes, **computing)]
        await nodes.start(1, 1, 1)
        await seconds(nodes, **{**waiting, "shards": 16})
        four = [await seconds(nodes, **waiting), await seconds(nodes, **computing)]
    for what, alone, together in zip(("waiting for input", "computing"), one, four, strict=True):
        print(f"{what}: one worker {alone:.2f} s, four {together:.2f} s: {alone / together:.2f} times as fast")
    assert one[0] / four[0] > 2

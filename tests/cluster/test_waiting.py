"""Strategies that wait for input (`async def`) run on workers, never on a web node without any, and stop there."""

import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from cluster.farm import LEASE, PATIENCE
from onemachine.node import Web, Worker
from onemachine.ports import free_ports
from support.installing import PLUGINS, plug_in
from support.nats import NatsServer
from support.until import until
from support.wire import discover, request, results, status

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

FEEDS = """
import os
import anyio
from collections.abc import AsyncIterator
from scanstream.strategies.strategy import AsyncStrategy
from scripted import found

class Feed(AsyncStrategy):
    id = "feed"
    name = "Feed"
    opportunity_type = "feed"
    description = "Finds two, and waits for a third that does not come."
    source = "tests/cluster/test_waiting.py"
    chunk = 1
    budget_seconds = 60.0

    def units(self, panel, parameters):
        return 6

    async def scan(self, panel, units, parameters):
        open(os.environ["TAKEN"] + f"/{units.start}-{os.getpid()}", "w").close()
        for number in range(2):
            yield found(panel, units.start, number)
        await anyio.sleep_forever()

class Hasty(Feed):
    id = "hasty"
    budget_seconds = 3.0
"""


class Nodes:
    """A web node without workers, and two workers."""

    def __init__(self, web: Web, workers: list[Worker], taken: Path) -> None:
        self.web = web
        self.workers = workers
        self.taken = taken

    def ran(self) -> set[int]:
        """The process ids of the nodes that have run shards."""
        return {int(path.name.partition("-")[2]) for path in self.taken.iterdir()}

    async def start(self, strategy: str) -> str:
        """Start a scan."""
        answer = await discover(self.web.url, {"strategy_ids": [strategy]})
        return str(answer.json()["scan_id"])

    async def until(self, scan_id: str, **wanted: Any) -> dict[str, Any]:
        """The state, as soon as it says all of this."""
        state: dict[str, Any] = {}
        with anyio.move_on_after(PATIENCE):
            while not wanted.items() <= state.items():
                await anyio.sleep(0.05)
                state = (await status(self.web.url, scan_id)).json()
        assert {name: state.get(name) for name in wanted} == wanted, state
        return state


@pytest.fixture
async def nodes(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Nodes]:
    taken = tmp_path / "taken"
    taken.mkdir()
    installed = plug_in(tmp_path / "site", "feeds", FEEDS, "Feed", "Hasty")
    path = os.pathsep.join([str(installed), str(PLUGINS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    flags = ["--namespace", f"t{secrets.token_hex(4)}", "--lease", f"{LEASE:g}"]
    given = {"PYTHONPATH": path, "TAKEN": str(taken)}
    web = Web("web", nats.url, tmp_path, free_ports(1)[0], flags, given)
    workers = [Worker(f"worker-{number}", nats.url, tmp_path, flags, given) for number in (1, 2)]
    programs: list[Web | Worker] = [web, *workers]
    try:
        async with anyio.create_task_group() as starts:
            for program in programs:
                program.start()
                starts.start_soon(program.until_serving, PATIENCE)
        yield Nodes(web, workers, taken)
    finally:
        for program in programs:
            if program.runs:
                program.kill()


async def test_they_run_on_workers_only_and_a_cancel_keeps_what_was_found_by_then(nodes: Nodes) -> None:
    scan_id = await nodes.start("feed")
    await nodes.until(scan_id, total_opportunities=12)
    assert nodes.ran() <= {worker.pid for worker in nodes.workers}
    await request(nodes.web.url, "POST", f"/opportunities/cancel/{scan_id}", b"")
    state = await nodes.until(scan_id, status="cancelled")
    assert state["total_opportunities"] == 12
    assert len((await results(nodes.web.url, scan_id)).json()["opportunities"]) == 12


async def test_over_their_budget_they_end_with_what_they_have_found(nodes: Nodes) -> None:
    scan_id = await nodes.start("hasty")
    state = await nodes.until(scan_id, status="failed")
    assert state["strategies"]["hasty"]["status"] == "timed_out"
    assert state["strategies"]["hasty"]["shards_completed"] == 6
    assert state["total_opportunities"] == 12


async def test_a_worker_that_is_killed_among_many_that_wait_costs_none_of_them(nodes: Nodes) -> None:
    scan_id = await nodes.start("feed")
    await nodes.until(scan_id, total_opportunities=12)
    killed = next(worker for worker in nodes.workers if worker.pid in nodes.ran())
    before = set(nodes.taken.iterdir())
    killed.kill()
    await until(lambda: len(set(nodes.taken.iterdir()) - before) == sum(f"-{killed.pid}" in str(one) for one in before))
    await request(nodes.web.url, "POST", f"/opportunities/cancel/{scan_id}", b"")
    state = await nodes.until(scan_id, status="cancelled")
    assert state["total_opportunities"] == 12

"""Time: budgets count the time at work, on a clock that nobody sets; a cancel does not wait for others."""

import os
import signal
import time
from pathlib import Path

import anyio
import pytest

from conftest import Serve
from scanstream.client.mirror import Mirror
from support.process import stand_still
from support.script import scripting
from support.stubborn_server import begin, serving, state_of, until_phase, until_running
from support.wire import discover, request, status, until_terminal, websocket

pytestmark = pytest.mark.anyio


PRIORITY = ("--worker-priority", "low")
"""An idle worker that a busy machine starves would use up a budget and get nowhere."""


async def test_budgets_do_not_count_the_wait_for_a_worker() -> None:
    async with serving(":memory:", "--workers", "1", *PRIORITY) as server:
        scans = [await begin(server, "hasty", shards=3, seconds=0.2) for _ in range(5)]  # 3 s of work, budgets of 2
        states = [await until_phase(server, scan_id, "done") for scan_id in scans]
        assert [state["status"] for state in states] == ["complete"] * 5


async def test_budgets_hold_whatever_else_takes_the_workers() -> None:
    async with serving(":memory:", *PRIORITY) as server:  # two workers: alone 1.2 s of 2
        over = await begin(server, "hasty", does="hang", shards=2)
        scans = [await begin(server, "hasty", shards=8, seconds=0.3) for _ in range(4)]
        states = [await until_phase(server, scan_id, "done") for scan_id in scans]
        assert [state["status"] for state in states] == ["complete"] * 4
        assert (await until_phase(server, over, "done"))["strategies"]["hasty"]["status"] == "timed_out"


async def test_a_strategy_that_is_over_its_time_is_ended_with_all_its_shards() -> None:
    async with serving(":memory:") as server:
        scan_id = await begin(server, "hasty", does="hang", shards=300)
        state = await until_phase(server, scan_id, "done")
        assert (state["status"], state["strategies"]["hasty"]["status"]) == ("failed", "timed_out")
        assert state["progress"]["shards_completed"] == 300
        assert "budget of 2 s" in state["error"]["detail"]
        assert (await until_phase(server, await begin(server), "done"))["status"] == "complete"


@pytest.mark.parametrize("hours", [5, -5], ids=["ahead", "back"])
async def test_a_clock_that_is_set_changes_nothing(serve: Serve, hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time_ns
    async with serve(workers=1, retention=36_000) as url, scripting() as script, websocket(url) as socket:
        await socket.send(type="discover", request=script.request(2))
        scan_id = (await socket.receive())["scan_id"]
        first = await script.started()
        monkeypatch.setattr(time, "time_ns", lambda: real() + hours * 3600 * 10**9)
        waiting = (await discover(url, script.request(1, force_refresh=True))).json()["scan_id"]
        await first.tell("find 1", "end")
        for _ in range(2):
            await (await script.started()).tell("find 1", "end")
        with anyio.fail_after(20):
            mirror = await socket.until_end(Mirror(), scan_id)
            assert mirror.state["status"] == "complete"
            assert len(mirror.opportunities) == 2
            assert (await until_terminal(url, waiting))["status"] == "complete"
        again = (await discover(url, script.request(1))).json()
        assert (again["scan_id"], again["reused"]) == (waiting, "fresh")


async def test_a_server_that_stood_still_has_used_nothing_of_anybodys_time(tmp_path: Path) -> None:
    async with serving(tmp_path, *PRIORITY) as server:
        scan_id = await begin(server, "hasty", shards=3, seconds=0.3)
        await until_running(server, scan_id, "hasty")
        everybody = [server.pid, *server.workers()]
        for pid in everybody:
            stand_still(pid)
        await anyio.sleep(2.5)  # longer than the budget
        for pid in reversed(everybody):  # the server last: it replaces a worker that it finds standing still
            os.kill(pid, signal.SIGCONT)
        assert (await until_phase(server, scan_id, "done"))["status"] == "complete"


async def cancel(url: str, scan_id: str) -> None:
    """Ask for a scan's end, and wait for it: the contract grants ten seconds."""
    answer = await request(url, "POST", f"/opportunities/cancel/{scan_id}")
    assert answer.status == 202
    with anyio.fail_after(10):
        assert (await until_terminal(url, scan_id))["status"] == "cancelled"


async def test_a_cancel_ends_a_scan_in_every_phase_whatever_others_do() -> None:
    async with serving(":memory:", "--max-running", "4") as server:
        planning = await begin(server, does="hang in units")
        running = await begin(server, does="hang", shards=9)
        await until_running(server, running)
        swallowing = await begin(server, "stubborn_loop", does="swallow")
        await until_running(server, swallowing, "stubborn_loop")
        planned = await begin(server, "hasty", seconds=0)
        await until_phase(server, planned, "running")
        queued = await begin(server)
        assert (await state_of(server, queued))["phase"] in ("init", "queued")
        for scan_id in (queued, planned, swallowing, running, planning):
            await cancel(server.url, scan_id)


async def test_a_scan_that_was_planned_before_a_restart_is_cancelled_while_it_waits_to_be_let_in(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as server:
        scans = [await begin(server, does="hang", shards=4) for _ in range(2)]
        for scan_id in scans:
            await until_phase(server, scan_id, "running")
        server.kill()
    async with serving(tmp_path, "--max-running", "1") as server:
        let_in, waiting = scans
        await cancel(server.url, waiting)
        assert (await status(server.url, let_in)).json()["status"] == "scanning"
        await cancel(server.url, let_in)

"""What an ack says of the time that a scan takes: nothing before its strategies were measured, and then that."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from conftest import Serve
from scanstream.engines.schema import DATABASE
from support.process import server_process
from support.script import scripting
from support.wire import discover, until_terminal, websocket

pytestmark = pytest.mark.anyio

NAME = "estimated_completion_seconds"


def wanted(*strategies: str, work: int = 0, **more: Any) -> dict[str, Any]:
    """A new scan of these strategies, quick unless there is work."""
    quick = {"scripted": {"shards": 2, "work": work}, "tsmom": {"walk_forward": 0}}
    parameters = {name: quick[name] for name in strategies}
    return {"strategy_ids": list(strategies), "parameters": parameters, "force_refresh": True, **more}


async def test_nothing_is_estimated_that_was_not_measured(serve: Serve) -> None:
    async with serve(workers=1) as url, websocket(url) as socket:
        first = (await discover(url, wanted("scripted"))).json()
        assert NAME not in first
        await until_terminal(url, first["scan_id"])
        await socket.send(type="discover", request=wanted("scripted"))
        ack = await socket.receive()
        assert (ack["type"], ack["status"]) == ("ack", "initiated")
        assert 0 <= ack[NAME] < 60
        assert 0 <= (await discover(url, wanted("scripted"))).json()[NAME] < 60
        for unknown in (wanted("tsmom"), wanted("scripted", "tsmom")):
            assert NAME not in (await discover(url, unknown)).json()
        again = (await discover(url, wanted("scripted", force_refresh=False))).json()
        assert again["reused"] in ("running", "fresh")
        assert NAME in again


async def test_what_was_measured_survives_a_restart(serve: Serve, tmp_path: Path) -> None:
    async with serve(workers=1, data=str(tmp_path)) as url:
        scan_id = (await discover(url, wanted("scripted", work=100_000))).json()["scan_id"]
        await until_terminal(url, scan_id)
        before = (await discover(url, wanted("scripted", work=100_000))).json()
        await until_terminal(url, before["scan_id"])
    async with serve(workers=1, data=str(tmp_path)) as url:
        after = (await discover(url, wanted("scripted", work=100_000))).json()
        assert after[NAME] > 0
        assert NAME not in (await discover(url, wanted("tsmom"))).json()


async def test_the_queue_ahead_is_in_the_estimate(serve: Serve) -> None:
    async with serve(workers=1, max_running=1) as url, scripting() as script:
        request = wanted("scripted", work=100_000)
        await until_terminal(url, (await discover(url, request)).json()["scan_id"])
        holding = script.request(shards=1)
        held = (await discover(url, holding)).json()["scan_id"]
        shard = await script.started()
        estimates = [(await discover(url, request)).json()[NAME] for _ in range(10)]
        assert estimates == sorted(estimates)
        assert estimates[9] > 2 * estimates[0] > 0
        await shard.tell("end")
        await until_terminal(url, held)


async def test_what_was_measured_survives_a_crash(tmp_path: Path) -> None:
    with server_process(tmp_path, "--workers", "1") as server:
        await until_terminal(server.url, (await discover(server.url, wanted("scripted"))).json()["scan_id"])
        with anyio.fail_after(20), closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
            query = "SELECT 1 FROM meta WHERE name LIKE '%pace%'"
            while connection.execute(query).fetchone() is None:  # noqa: ASYNC110  # SQLite tells nobody
                await anyio.sleep(0.02)
        await to_thread.run_sync(server.kill)
    with server_process(tmp_path, "--workers", "1") as server:
        assert NAME in (await discover(server.url, wanted("scripted"))).json()

"""What happens to those who are there when a scan's time is over, and to workers that die as they come up."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from conftest import Serve
from scanstream.client.mirror import Mirror
from support.process import server_process
from support.script import scripting
from support.wire import deaf, discover, results, status, until_terminal, websocket

pytestmark = pytest.mark.anyio


async def test_a_reader_still_attached_when_the_scan_expires_is_told(serve: Serve) -> None:
    async with (
        serve(retention=0.3, fresh=0, workers=1) as url,
        scripting() as script,
        websocket(url, **deaf(url)) as slow,
    ):
        await slow.send(type="discover", request=script.request(shards=1))
        scan_id = (await slow.receive())["scan_id"]
        shard = await script.started()
        slow.connection.transport.pause_reading()
        await shard.tell("find 5000", "end")
        await until_gone(url, scan_id)
        slow.connection.transport.resume_reading()
        while (message := await slow.receive())["type"] != "error":
            assert message["type"] in ("snapshot", "update")
        assert (message["code"], message["scan_id"]) == ("expired", scan_id)
        await slow.send(type="ping", id="still here")
        assert (await slow.receive())["type"] == "pong"


async def until_gone(url: str, scan_id: str) -> None:
    """Poll until the scan has expired, as a script would."""
    answer = await status(url, scan_id)
    while answer.status == 200:
        await anyio.sleep(0.05)
        answer = await status(url, scan_id)
    assert answer.status == 410


async def test_workers_killed_while_they_come_up_do_not_cost_the_scan(tmp_path: Path) -> None:
    wanted = {"strategy_ids": ["scripted"], "parameters": {"scripted": {"shards": 1, "found": 3}}}
    with server_process(tmp_path, "--workers", "1") as server:
        scan_id = (await discover(server.url, wanted)).json()["scan_id"]
        killed: set[int] = set()
        with anyio.fail_after(20):
            while len(killed) < 2 and (await status(server.url, scan_id)).json()["status"] == "scanning":
                for pid in set(server.workers()) - killed:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed.add(pid)
        final = await until_terminal(server.url, scan_id)
        assert killed
        assert final["status"] == "complete"
        assert (await results(server.url, scan_id)).json()["total_opportunities"] == 3


async def test_two_readers_of_one_scan_end_alike_whoever_is_slow(serve: Serve) -> None:
    async with (
        serve(workers=1) as url,
        scripting() as script,
        websocket(url, **deaf(url)) as slow,
        websocket(url) as quick,
    ):
        await slow.send(type="discover", request=script.request(shards=1))
        scan_id = (await slow.receive())["scan_id"]
        await quick.send(type="subscribe", scan_id=scan_id)
        shard = await script.started()
        slow.connection.transport.pause_reading()
        await shard.tell("find 3000", "end")
        one = await quick.until_end(Mirror(), scan_id)
        slow.connection.transport.resume_reading()
        other = await slow.until_end(Mirror(), scan_id)
        assert (one.state, one.opportunities, one.cursor) == (other.state, other.opportunities, other.cursor)

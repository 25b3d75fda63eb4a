"""While the store says nothing new work is refused, with the same code and time everywhere, and what runs goes on."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from scanstream.server import serving
from scanstream.settings import Settings
from support.nats import nats_server
from support.script import scripting
from support.wire import discover, request, websocket

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


def wanted(number: int) -> dict[str, Any]:
    """A request that nobody else makes."""
    return {"symbols": ["BTC/USDT"], "strategy_ids": ["tsmom"], "capital_usd": number}


async def test_while_nats_says_nothing_each_is_told_the_same_and_what_runs_goes_on(tmp_path: Path) -> None:
    told: dict[str, tuple[str, float]] = {}
    with nats_server(tmp_path / "nats") as server:
        settings = Settings(engine=server.url, data=str(tmp_path / "data"), port=0, workers=1)
        async with serving(settings) as url, scripting() as script, websocket(url, ping_interval=None) as socket:

            async def over_http() -> None:
                answer = await discover(url, wanted(1))
                assert answer.status == 503
                told["http"] = answer.json()["code"], float(answer.headers["retry-after"])

            async def over_a_socket() -> None:
                await socket.send(type="discover", id="1", request=wanted(2))
                while (error := await socket.receive()).get("id") != "1":
                    pass
                told["socket"] = error["code"], error["retry_after"]

            running = (await discover(url, script.request(shards=2))).json()["scan_id"]
            shard = await script.started()
            server.pause()
            async with anyio.create_task_group() as asking:
                for ask in (over_http, over_a_socket):
                    asking.start_soon(ask)
            server.go_on()
            assert told == dict.fromkeys(("http", "socket"), ("store_unavailable", 2.0))
            await shard.tell("find 2", "end")
            await (await script.started()).tell("end")
            results = (await request(url, "GET", f"/opportunities/results/{running}?wait=30")).json()
            assert (results["status"], results["total_opportunities"]) == ("complete", 2)
            assert (await discover(url, wanted(4))).status == 202

"""What an operator asks a server: is it alive, is it ready, how deep are its queues."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import Serve
from scanstream.client.mirror import Mirror
from support.script import scripting
from support.wire import discover, request, until_terminal, websocket

pytestmark = pytest.mark.anyio


async def metrics(url: str) -> dict[str, float]:
    """Sample → value, with its labels."""
    answer = await request(url, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        sample.name.removeprefix("scanstream_") + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


async def test_a_server_is_alive_and_ready(serve: Serve) -> None:
    async with serve(workers=0) as url:
        for path in ("/healthz", "/readyz"):
            assert (await request(url, "GET", path)).status == 200


async def test_depths_and_ends_are_measured(serve: Serve) -> None:
    async with serve(workers=1, max_running=1) as url, scripting() as script, websocket(url) as socket:
        running = (await discover(url, script.request(shards=3))).json()["scan_id"]
        shard = await script.started()
        waiting = (await discover(url, script.request(shards=1, force_refresh=True))).json()["scan_id"]
        await socket.send(type="subscribe", scan_id=waiting)
        mirror = Mirror()
        while mirror.state.get("phase") != "queued":
            if (message := await socket.receive())["type"] != "ack":
                mirror.apply(message)
        now = await metrics(url)
        depths = ("scans_unfinished", "scans_queued", "shards_waiting", "shards_running", "readers", "connections")
        assert [now[name] for name in depths] == [2, 1, 2, 1, 1, 1]
        await shard.tell("find 2", "end")
        for _ in range(3):
            await (await script.started()).tell("find 1", "end")
        for scan_id in (running, waiting):
            await until_terminal(url, scan_id)
        then = await metrics(url)
        assert (then["scans_ended_total complete"], then["opportunities_found_total scripted"]) == (2, 5)
        assert [then[name] for name in depths[:4]] == [0, 0, 0, 0]

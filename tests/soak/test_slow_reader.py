"""A client that stops reading while thousands of revisions pass costs the server next to nothing."""

import math
from pathlib import Path
from typing import Any

import anyio
import pytest

from scanstream.client.mirror import Mirror
from support.process import server_process
from support.raw import resident
from support.wire import Socket, deaf, discover, results, status, until_terminal, websocket

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

MEGABYTE = 1024 * 1024
OFFERS_NOTHING = "from scanstream.push.transport import websocket; websocket.EXTENSION = 'of another server'"
"""The server takes no ready-made frames, as other ASGI servers do not."""


def wanted(shards: int) -> dict[str, Any]:
    """A scan of three revisions a shard."""
    parameters = {"scripted": {"shards": shards, "found": 20}}
    return {"strategy_ids": ["scripted"], "parameters": parameters, "force_refresh": True}


async def growth(data: Path, shards: int, before: str, *, reads: bool) -> tuple[int, Mirror, int, int, int]:
    """What the server grows by while one client reads, or does not; what it gets afterwards, in how many frames."""
    with server_process(data, "--stall", "600", before=before) as server:
        await until_terminal(server.url, (await discover(server.url, wanted(20))).json()["scan_id"])
        small = resident(server)
        async with (
            websocket(server.url, **deaf(server.url)) as slow,
            websocket(server.url) as other,
        ):
            await slow.send(type="discover", request=wanted(shards))
            scan_id = (await slow.receive())["scan_id"]
            mirror = Mirror()
            mirror.apply(await slow.receive())
            await other.send(type="subscribe", scan_id=scan_id)
            follower = Mirror()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(other.until_end, follower, scan_id)
                if reads:
                    tasks.start_soon(slow.until_end, mirror, scan_id)
                else:
                    slow.connection.transport.pause_reading()
            revisions = int((await status(server.url, scan_id)).json()["cursor"].partition("-")[2].partition(".")[0])
            grown = resident(server) - small
            frames = 0 if reads else await _catch_up(slow, mirror, scan_id)
            answer = (await results(server.url, scan_id)).json()
            assert (
                answer["total_opportunities"] == len(follower.opportunities) == len(mirror.opportunities) == 20 * shards
            )
            assert mirror.state == follower.state
        return grown, mirror, frames, revisions, shards


async def _catch_up(slow: Socket, mirror: Mirror, scan_id: str) -> int:
    """Read again; how many frames came that were not on their way when it stopped."""
    slow.connection.transport.resume_reading()
    sizes = []
    while not mirror.ended:
        message = await slow.receive()
        if message.get("scan_id") == scan_id and message["type"] != "end":
            sizes.append(message.get("skipped", 0))
        mirror.apply(message)
    widest = max(range(len(sizes)), key=sizes.__getitem__)
    assert sizes[widest] > sum(sizes) / 2, "the buffers held nearly all: nothing was conflated"
    return len(sizes) - widest


@pytest.mark.parametrize("before", ["", OFFERS_NOTHING], ids=["ready made", "plain"])
@pytest.mark.parametrize("shards", [300, pytest.param(1700, marks=pytest.mark.soak)])
async def test_a_reader_that_stops_costs_little_and_catches_up_in_few_frames(
    tmp_path: Path, shards: int, before: str, capsys: pytest.CaptureFixture[str]
) -> None:
    control, *_ = await growth(tmp_path / "control", shards, before, reads=True)
    grown, mirror, frames, revisions, _ = await growth(tmp_path / "slow", shards, before, reads=False)
    extra = grown - control
    with capsys.disabled():
        print(
            f"\n{revisions} revisions unread: the server grew by {grown / MEGABYTE:.1f} MB, with a reading client by "
            f"{control / MEGABYTE:.1f} MB; caught up in {frames} frames"
        )
    assert extra < 20 * MEGABYTE
    assert frames <= math.ceil(len(mirror.opportunities) / 500) + 3

"""A reader that takes no byte: its frames grow sparser, and past `--stall` it is closed; the others do not notice."""

import re

import anyio
import pytest
from websockets.exceptions import ConnectionClosed

from conftest import Serve
from scanstream.client.mirror import Mirror
from support.script import scripting
from support.wire import Socket, deaf, request, status, websocket

pytestmark = pytest.mark.anyio

LARGE = 3000
"""Opportunities: some 2 MB of frames, more than all buffers between two sockets hold."""


async def test_a_reader_that_takes_nothing_is_closed_and_can_resume(serve: Serve) -> None:
    async with serve(stall=0.5, workers=1) as url, scripting() as script:
        async with websocket(url, **deaf(url)) as slow, websocket(url) as quick:
            await slow.send(type="discover", request=script.request(shards=1))
            ack = await slow.receive()
            mirror = Mirror()
            mirror.apply(await slow.receive())
            await quick.send(type="subscribe", scan_id=ack["scan_id"])
            assert (await quick.receive())["type"] == "ack"
            shard = await script.started()
            slow.connection.transport.pause_reading()
            await shard.tell(f"find {LARGE}", "end")
            follower = await quick.until_end(Mirror(), ack["scan_id"])
            assert len(follower.opportunities) == LARGE
            assert (await status(url, ack["scan_id"])).json()["status"] == "complete"
            with anyio.fail_after(30):
                await _until_closed(url, slow, mirror)
        async with websocket(url) as again:
            await again.send(type="subscribe", scan_id=ack["scan_id"], since=mirror.cursor)
            await again.until_end(mirror, ack["scan_id"])
        assert mirror.opportunities == follower.opportunities
        assert mirror.state == follower.state


async def connections(url: str) -> int:
    """How many sockets, streams and long polls the server has."""
    found = re.search(rb"^scanstream_connections ([0-9.]+)", (await request(url, "GET", "/metrics")).body, re.M)
    assert found is not None
    return int(float(found[1]))


async def _until_closed(url: str, slow: Socket, mirror: Mirror) -> None:
    """Wait with closed ears until the server has let go, then hear what was under way, and that it is over."""
    while await connections(url) > 1:  # noqa: ASYNC110  # it is another process, for all this test knows
        await anyio.sleep(0.05)
    slow.connection.transport.resume_reading()
    with pytest.raises(ConnectionClosed) as closed:
        await slow.until_end(mirror, str(mirror.state["scan_id"]))
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1013
    assert not mirror.ended

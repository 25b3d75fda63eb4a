"""A scan followed through lost connections."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from client.peers import Peer, peers
from scanstream.client.connection import Refused, Unreachable
from scanstream.client.following import Following
from scanstream.client.mirror import Mirror
from scanstream.client.patience import Gone, Patience

pytestmark = pytest.mark.anyio

SNAPSHOT = {"type": "snapshot", "scan_id": "scan_1", "cursor": "e-1.0", "state": {"status": "scanning"}}
UPDATE = {"type": "update", "scan_id": "scan_1", "cursor": "e-2.0", "patch": {"status": "complete"}}
END = {"type": "end", "scan_id": "scan_1", "cursor": "e-2.0", "status": "complete"}


async def accept(peer: Peer) -> dict[str, Any]:
    """Ack the subscription; what it asked for."""
    asked = await peer.hear()
    await peer.say(type="ack", id=asked["id"], scan_id="scan_1", cursor="e-0.0")
    return {name: value for name, value in asked.items() if name in ("scan_id", "since")}


async def follow(url: str, tell: Callable[[str, bool], None] = lambda words, lost: None, patience: float = 5) -> Mirror:
    """Follow the latest scan; the mirror at its end."""
    mirror = Mirror()
    with anyio.fail_after(20):
        async for _ in Following(url, "latest", mirror, Patience(url, patience, tell=tell)).messages():
            pass
    return mirror


async def test_a_lost_connection_is_resumed_from_the_cursor_and_by_the_real_id() -> None:
    asked: list[dict[str, Any]] = []

    async def behave(peer: Peer) -> None:
        asked.append(await accept(peer))
        match peer.number:
            case 0:
                await peer.say(**SNAPSHOT)
                await peer.say(type="error", code="restarting", detail="The server restarts", retry_after=0.1)
                await peer.socket.close(1012)
            case 1:
                peer.socket.transport.abort()
            case _:
                await peer.say(**UPDATE)
                await peer.say(**END)
                await peer.socket.wait_closed()

    told: list[tuple[str, bool]] = []
    async with peers(behave) as url:
        mirror = await follow(url, lambda words, lost: told.append((words, lost)))
    assert asked == [
        {"scan_id": "latest"},
        {"scan_id": "scan_1", "since": "e-1.0"},
        {"scan_id": "scan_1", "since": "e-1.0"},
    ]
    assert mirror.ended
    assert mirror.state == {"status": "complete"}
    assert told[0] == ("Connection lost (The server restarts); trying again for 5 s", True)
    assert told[-1] == ("Connected again", False)


async def test_an_address_without_a_server_is_told_at_once() -> None:
    with pytest.raises(Unreachable) as unreachable:
        await follow("http://127.0.0.1:1", patience=1000)
    assert not isinstance(unreachable.value, Gone)


async def test_a_server_that_does_not_come_back_is_given_up() -> None:
    async def behave(peer: Peer) -> None:
        if peer.number == 0:
            await accept(peer)
            await peer.say(**SNAPSHOT)
        peer.socket.transport.abort()

    async with peers(behave) as url:
        with pytest.raises(Gone, match=r"did not come back within 0\.5 s"):
            await follow(url, patience=0.5)


async def test_a_scan_that_is_gone_after_the_restart_is_no_reason_to_try_on() -> None:
    async def behave(peer: Peer) -> None:
        if peer.number == 0:
            await accept(peer)
            await peer.say(**SNAPSHOT)
            await peer.socket.close(1012)
        else:
            asked = await peer.hear()
            await peer.say(type="error", id=asked["id"], code="not_found", detail="No scan found")
            await peer.socket.wait_closed()

    async with peers(behave) as url:
        with pytest.raises(Refused, match="No scan found"):
            await follow(url)


async def test_a_busy_server_is_asked_again() -> None:
    async def behave(peer: Peer) -> None:
        if peer.number == 0:
            asked = await peer.hear()
            await peer.say(type="error", id=asked["id"], code="store_unavailable", detail="disk full", retry_after=0.1)
        else:
            await accept(peer)
            for message in (SNAPSHOT, UPDATE, END):
                await peer.say(**message)
        await peer.socket.wait_closed()

    async with peers(behave) as url:
        assert (await follow(url)).ended

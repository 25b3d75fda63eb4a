"""A scan followed through lost connections, as a terminal does it."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from client.peers import Peer, peers
from scanstream.client.condition import Connection
from scanstream.client.failures import Unreachable
from scanstream.client.mirror import Mirror
from scanstream.client.scan import Scan
from scanstream.errors import NotFound
from scanstream.terminal import patience as module
from scanstream.terminal.following import Following
from scanstream.terminal.patience import Gone, Patience, Tell

pytestmark = pytest.mark.anyio

SNAPSHOT = {"type": "snapshot", "scan_id": "scan_1", "cursor": "e-1.0", "state": {"status": "scanning"}}
UPDATE = {"type": "update", "scan_id": "scan_1", "cursor": "e-2.0", "patch": {"status": "complete"}}
END = {"type": "end", "scan_id": "scan_1", "cursor": "e-2.0", "status": "complete"}
SECONDS = 20


async def accept(peer: Peer) -> dict[str, Any]:
    """Ack the subscription; what it asked for."""
    asked = await peer.hear()
    await peer.say(type="ack", id=asked["id"], scan_id="scan_1", cursor="e-0.0")
    return {name: value for name, value in asked.items() if name in ("scan_id", "since")}


def ignored(words: str, lost: bool) -> None:
    """For what need not be known."""


async def to_the_end(news: AsyncIterator[object], connection: Connection) -> None:
    """Look until nothing more comes."""
    async for _ in news:
        pass


async def follow(url: str, tell: Tell = ignored, patience: float = 5, **more: Any) -> Mirror:
    """Follow a scan; the mirror at its end."""
    mirror = Mirror()
    with anyio.fail_after(SECONDS):
        await Following(url, "scan_1", mirror, Patience(url, patience, tell=tell), **more).run(to_the_end)
    return mirror


async def test_a_lost_connection_is_resumed_from_the_cursor_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNSAID_SECONDS", 0)
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
    assert asked == [{"scan_id": "scan_1"}, *[{"scan_id": "scan_1", "since": "e-1.0"}] * 2]
    assert mirror.ended
    assert mirror.state == {"status": "complete"}
    assert told[0] == ("Connection lost (The server restarts); trying again for 5 s", True)


async def test_each_message_is_told_as_it_came_once_it_is_in_the_mirror() -> None:
    snapshot = {**SNAPSHOT, "of_tomorrow": [1]}

    async def behave(peer: Peer) -> None:
        await accept(peer)
        for message in (snapshot, UPDATE, END):
            await peer.say(**message)
        await peer.socket.wait_closed()

    heard: list[dict[str, Any]] = []
    async with peers(behave) as url:
        await follow(url, heard=heard.append)
    assert heard == [snapshot, UPDATE, END]


async def test_what_the_hearer_raises_ends_the_following_as_it_is() -> None:
    async def behave(peer: Peer) -> None:
        await accept(peer)
        await peer.say(**SNAPSHOT)
        await peer.socket.wait_closed()

    def leave(_: object) -> None:
        raise BrokenPipeError

    async with peers(behave) as url:
        with pytest.raises(BrokenPipeError):
            await follow(url, heard=leave)


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
        with pytest.raises(NotFound, match="No scan found"):
            await follow(url)


async def test_a_cancel_is_sent_until_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    answered = anyio.Event()

    async def cancel(self: Scan) -> dict[str, Any]:
        sent.append(self.id)
        if len(sent) < 3:
            raise Unreachable("cut off")
        answered.set()
        return {}

    async def behave(peer: Peer) -> None:
        await accept(peer)
        await peer.say(**SNAPSHOT)
        await answered.wait()
        await peer.say(**UPDATE)
        await peer.say(**END)
        await peer.socket.wait_closed()

    monkeypatch.setattr(Scan, "cancel", cancel)
    async with peers(behave) as url:
        following = Following(url, "scan_1", Mirror(), Patience(url, 5, tell=ignored))
        following.cancel()
        with anyio.fail_after(SECONDS):
            await following.run(to_the_end)
    assert sent == ["scan_1"] * 3
    assert following.mirror.ended
    assert not following.cancelling


async def test_a_cancel_that_is_never_answered_is_given_up_and_known_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cancel(self: Scan) -> dict[str, Any]:
        await anyio.sleep_forever()
        return {}

    async def behave(peer: Peer) -> None:
        await accept(peer)
        await peer.socket.wait_closed()

    monkeypatch.setattr(Scan, "cancel", cancel)
    async with peers(behave) as url:
        following = Following(url, "scan_1", Mirror(), Patience(url, 0.5, tell=ignored, reached=True))
        following.cancel()
        with anyio.fail_after(SECONDS), pytest.raises(Gone):
            await following.run(to_the_end)
    assert following.cancelling

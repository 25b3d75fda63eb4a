"""A scan followed through lost connections."""

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from client.peers import Peer, peers
from scanstream.client import questions
from scanstream.client.connection import Lost, Refused, Unreachable
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


async def test_a_cancel_is_sent_after_each_reconnection_until_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    async def cancel(url: str, scan_id: str) -> questions.Answer:
        sent.append(scan_id)
        if len(sent) < 3:
            raise Lost("cut off")
        return questions.Answer(202, {})

    async def behave(peer: Peer) -> None:
        await accept(peer)
        for message in (SNAPSHOT, UPDATE, END) if peer.number == 3 else ():
            await peer.say(**message)
        if peer.number == 0:
            peer.socket.transport.abort()
        await peer.socket.wait_closed()

    monkeypatch.setattr(questions, "cancel", cancel)
    with anyio.fail_after(20):
        async with peers(behave) as url:
            following = Following(url, "latest", Mirror(), Patience(url, 5))
            async with aclosing(following.messages()) as messages:
                await anext(messages)
                following.cancel()
                async for _ in messages:
                    pass
    assert sent == ["scan_1"] * 3
    assert following.mirror.ended
    assert not following.cancelling


async def test_a_cancel_that_is_never_answered_is_given_up_and_known_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cancel(url: str, scan_id: str) -> questions.Answer:
        raise questions.Silent("has not answered")

    async def behave(peer: Peer) -> None:
        await accept(peer)
        await peer.socket.wait_closed()

    monkeypatch.setattr(questions, "cancel", cancel)
    with anyio.fail_after(20):
        async with peers(behave) as url:
            following = Following(url, "scan_1", Mirror(), Patience(url, 0.5, reached=True))
            following.cancel()
            with pytest.raises(Gone):
                await anext(following.messages())
    assert following.cancelling
    assert not following.connected

"""One WebSocket as a client has it: what it makes of silence, of closing and of errors."""

import socket

import anyio
import pytest

from client.peers import Peer, peers
from scanstream.client import connection as module
from scanstream.client.connection import Lost, Refused, Unreachable, connected

pytestmark = pytest.mark.anyio


async def test_a_silent_server_is_pinged_and_then_taken_for_dead() -> None:
    heard: list[str] = []

    async def behave(peer: Peer) -> None:
        heard.append((await peer.hear())["type"])
        await peer.socket.wait_closed()

    with anyio.fail_after(10):
        async with peers(behave) as url, connected(url, silence=0.1, grace=0.1) as connection:
            with pytest.raises(Lost, match=r"said nothing for 0\.2 s"):
                await connection.receive()
    assert heard == ["ping"]


async def test_a_server_that_answers_pings_is_alive_however_little_it_says() -> None:
    async def behave(peer: Peer) -> None:
        for _ in range(3):
            assert (await peer.hear())["type"] == "ping"
            await peer.say(type="pong")
        await peer.say(type="end", cursor="e-1.0")
        await peer.socket.wait_closed()

    with anyio.fail_after(10):
        async with peers(behave) as url, connected(url, silence=0.05, grace=5) as connection:
            assert (await connection.receive())["type"] == "end"


async def test_a_close_is_a_lost_connection_and_tells_its_reason() -> None:
    async def behave(peer: Peer) -> None:
        await peer.socket.close(1013, "no byte taken")

    async with peers(behave) as url, connected(url) as connection:
        with pytest.raises(Lost, match="no byte taken"):
            await connection.receive()


async def test_a_restart_is_a_lost_connection_with_the_time_to_come_back() -> None:
    async def behave(peer: Peer) -> None:
        await peer.say(type="error", code="restarting", detail="The server restarts", retry_after=1)
        await peer.socket.close(1012)

    async with peers(behave) as url, connected(url) as connection:
        with pytest.raises(Lost, match="restarts") as lost:
            await anext(connection.frames())
    assert lost.value.retry_after == 1


@pytest.mark.parametrize("code", ["not_found", "expired", "invalid_request", "a_code_of_tomorrow"])
async def test_an_error_that_is_no_passing_trouble_is_a_refusal(code: str) -> None:
    async def behave(peer: Peer) -> None:
        message = await peer.hear()
        await peer.say(type="error", id=message["id"], code=code, detail="because")
        await peer.socket.wait_closed()

    async with peers(behave) as url, connected(url) as connection:
        with pytest.raises(Refused, match="because") as refused:
            await connection.subscribe("scan_1", None)
    assert refused.value.code == code


async def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match=f"http://127.0.0.1:{port}"):
        async with connected(f"http://127.0.0.1:{port}"):
            pass


async def test_a_server_that_opens_no_connection_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_SECONDS", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(Unreachable, match=r"has not answered within 0\.2 s"),
    ):
        async with connected(f"http://127.0.0.1:{silent.getsockname()[1]}"):
            pass

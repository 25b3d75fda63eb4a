"""The ladder as it is climbed: each rung over a real server, each step down and up through a hostile proxy."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from client.test_client import QUICK, SECONDS, added_up, until_found, updates
from conftest import Serve
from scanstream.client import AsyncClient, Scan, feeds, ladder, line, run, websocket
from scanstream.client.failures import Lost
from scanstream.client.ladder import RUNGS, Transport
from scanstream.client.line import Rung
from scanstream.client.poll import messages
from scanstream.client.stream import Events, StreamRung
from scanstream.client.websocket import WebSocketRung
from scanstream.errors import NotFound
from scanstream.message import MOST_FOLLOWED
from support.process import server_process
from support.script import Script, scripting
from wire.proxy import Attempt, Faults, Proxy, running

pytestmark = pytest.mark.anyio


HALF_A_SECOND = 0.5 - 0.01
"""Less what a kernel's clock is inexact by."""


class Hasty(AsyncClient):
    """A client that takes a connection for dead after a fraction of the time."""

    def _rungs(self) -> dict[Transport, Rung]:
        websocket = WebSocketRung(self.url, self._asking.token, self.connection.measured, silence=0.3, grace=0.3)
        stream = StreamRung(self._asking, silence=0.6)
        return {**super()._rungs(), "websocket": websocket, "stream": stream}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """One for all tests here, with one worker."""
    with server_process(":memory:", "--workers", "1") as process:
        yield process.url


@asynccontextmanager
async def behind(url: str, faults: Faults) -> AsyncIterator[tuple[Proxy, Script]]:
    """The server behind a proxy, and what its worker does."""
    async with scripting() as script:
        with running(url, faults) as proxy:
            yield proxy, script


def upgrade(attempt: Attempt) -> bool:
    """Whether a WebSocket was asked for."""
    return attempt.upgrade


def follow(attempt: Attempt) -> bool:
    """Whether a stream or a long poll was."""
    return attempt.target == "/opportunities/follow"


def asked(proxy: Proxy, kind: Callable[[Attempt], bool]) -> int:
    """How often."""
    return sum(map(kind, proxy.attempts))


def brought(client: AsyncClient) -> Transport | None:
    """What brought the last frame."""
    return client.connection.transport


async def until(client: AsyncClient, transport: Transport) -> None:
    """Wait until this is what brings frames."""
    with anyio.fail_after(SECONDS):
        while client.connection.transport != transport or client.connection.state != "live":
            await client.connection.changed()


async def until_asked(proxy: Proxy, kind: Callable[[Attempt], bool], times: int) -> None:
    """Wait until there have been so many attempts."""
    with anyio.fail_after(SECONDS):
        while asked(proxy, kind) < times:  # noqa: ASYNC110  # the proxy is in another thread
            await anyio.sleep(0.02)


async def ended_as_the_server_says(scan: Scan) -> None:
    """Its updates add up to the results: nothing is lost, nothing is there twice."""
    state, told = added_up(await updates(scan))
    results = await scan.results()
    assert state["status"] == "complete"
    assert sorted(told) == sorted(found["id"] for found in results)
    assert len(told) == state["total_opportunities"] > 0


@pytest.mark.parametrize("transport", RUNGS)
async def test_on_each_rung_all_scans_share_one_connection(server: str, transport: Transport) -> None:
    async with behind(server, Faults()) as (proxy, script), AsyncClient(proxy.url, transports=[transport]) as client:
        scans = [await client.discover(**script.request(shards=1)) for _ in range(2)]
        state_only = await client.watch(scans[0].id, only="state")
        for _ in range(2):
            await (await script.started()).tell("find 600", "end")
        for scan in scans:
            await ended_as_the_server_says(scan)
            assert len(scan.opportunities) == 600
        assert (await state_only.wait(SECONDS), state_only.opportunities) == (scans[0].state, [])
        assert client.connection.transport == transport
    assert asked(proxy, upgrade) == (transport == "websocket")
    assert (asked(proxy, follow) > 0) == (transport in ("stream", "longpoll"))
    if transport == "stream":
        assert asked(proxy, follow) <= 4  # anew for each scan that comes, not for each frame


@pytest.mark.parametrize("transport", RUNGS)
async def test_more_scans_than_one_connection_takes_are_followed_over_another(
    server: str, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "MOST_FOLLOWED", 2)
    async with behind(server, Faults()) as (proxy, script), AsyncClient(proxy.url, transports=[transport]) as client:
        scans: list[Scan] = []

        async def discover() -> None:
            scans.append(await client.discover(**script.request(shards=1), force_refresh=True))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(discover)
        again = await client.watch(scans[0].id)
        for _ in scans:
            await (await script.started()).tell("find 2", "end")
        for scan in scans:
            await ended_as_the_server_says(scan)
        assert await again.wait(SECONDS) == scans[0].state
        assert [*client._lines.followed] == []
    if transport == "websocket":
        assert asked(proxy, upgrade) == 3


async def test_of_hundreds_of_scans_none_is_lost(server: str) -> None:
    async with scripting() as script, AsyncClient(server) as client:
        scans = [
            await client.discover(**script.request(shards=1), force_refresh=True) for _ in range(MOST_FOLLOWED + 4)
        ]
        await until(client, "websocket")
        for _ in scans:
            await (await script.started()).tell("find 1", "end")
        with anyio.fail_after(2 * SECONDS):
            states = [await scan.wait() for scan in scans]
        assert {(state["status"], state["total_opportunities"]) for state in states} == {("complete", 1)}


@pytest.mark.parametrize("transport", RUNGS)
async def test_only_the_state_is_followed_on_each_rung(server: str, transport: Transport) -> None:
    async with behind(server, Faults()) as (proxy, script), AsyncClient(proxy.url, transports=[transport]) as client:
        async with AsyncClient(proxy.url) as other:
            scan_id = (await other.discover(**script.request(shards=2))).id
        scan = await client.watch(scan_id, only="state")
        for _ in range(2):
            await (await script.started()).tell("find 2", "end")
        state, told = added_up(await updates(scan))
    assert (state["total_opportunities"], told, scan.opportunities) == (4, [], [])


@pytest.mark.parametrize("transport", RUNGS)
async def test_a_scan_that_a_new_server_does_not_know_is_an_error_on_each_rung(
    serve: Serve, transport: Transport
) -> None:
    with start_blocking_portal() as elsewhere:
        first = elsewhere.wrap_async_context_manager(serve(workers=0))
        url = first.__enter__()
        async with AsyncClient(url, transports=[transport]) as client:
            scan = await client.discover(strategy_ids=["tsmom"])
            await until_found(scan, 0)
            first.__exit__(None, None, None)
            with elsewhere.wrap_async_context_manager(serve(workers=0, port=int(url.rpartition(":")[2]))):
                with pytest.raises(NotFound):
                    await scan.wait(SECONDS)
                with pytest.raises(NotFound):
                    await updates(scan)
                other = await client.discover(strategy_ids=["tsmom"])
                await until_found(other, 0)


async def test_a_refused_upgrade_costs_the_rung_which_is_tried_again_beside_the_other(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "FIRST_CLIMB_SECONDS", 0.5)
    async with behind(server, Faults(refuse_upgrade=403)) as (proxy, script), AsyncClient(proxy.url) as client:
        scan = await client.discover(**script.request(shards=3))
        await (await script.started()).tell("find 2", "end")
        await until_found(scan, 2)
        assert brought(client) == "stream"

        assert "HTTP 403" in client.connection.reason
        await until_asked(proxy, upgrade, 3)
        assert brought(client) == "stream"

        shard = await script.started()
        proxy.faults.refuse_upgrade = 0
        await until(client, "websocket")  # though there is nothing new
        assert client.connection.reason == ""
        await shard.tell("find 2", "end")
        await (await script.started()).tell("find 1", "end")
        await ended_as_the_server_says(scan)
        assert brought(client) == "websocket"


async def test_after_a_step_down_state_and_transport_change_together_though_there_is_no_news(server: str) -> None:
    async with behind(server, Faults()) as (proxy, script), AsyncClient(proxy.url) as client:
        scan = await client.discover(**script.request(shards=1))
        shard = await script.started()
        await until(client, "websocket")
        proxy.faults.refuse_upgrade, proxy.faults.reset_every = 403, 0.01
        told: list[tuple[str, Transport | None]] = []
        with anyio.fail_after(SECONDS):
            while told[-1:] != [("live", "stream")]:
                await client.connection.changed()
                told.append((client.connection.state, client.connection.transport))
                if client.connection.state == "waiting":
                    proxy.faults.reset_every = 0
        assert ("live", "websocket") not in told
        await shard.tell("find 3", "end")
        await ended_as_the_server_says(scan)
        assert client.connection.attempts == 0


@pytest.mark.parametrize(
    ("transports", "faults", "lands"),
    [
        pytest.param(RUNGS, Faults(close_at_once=True), "stream", id="sockets are closed at once"),
        pytest.param(RUNGS[1:], Faults(buffer_streams=True), "longpoll", id="streams are buffered"),
        pytest.param(RUNGS, Faults(refuse_upgrade=502, buffer_streams=True), "longpoll", id="both"),
        pytest.param(RUNGS, Faults(mute="both", mute_after=0), "longpoll", id="what stays open is mute"),
    ],
)
async def test_a_rung_that_brings_nothing_is_left(
    server: str, transports: Sequence[Transport], faults: Faults, lands: Transport
) -> None:
    async with behind(server, faults) as (proxy, script), Hasty(proxy.url, transports=transports) as client:
        scan = await client.discover(**script.request(shards=1))
        await until(client, lands)
        await (await script.started()).tell("find 3", "end")
        await ended_as_the_server_says(scan)
        assert proxy.most_attempts(HALF_A_SECOND, upgrade) <= 2
        assert proxy.most_attempts(HALF_A_SECOND, follow) <= 2


async def test_an_open_socket_that_falls_silent_is_noticed_and_tried_once_more(server: str) -> None:
    async with behind(server, Faults()) as (proxy, script), Hasty(proxy.url) as client:
        scan = await client.discover(**script.request(shards=1))
        await until(client, "websocket")
        proxy.faults.mute, proxy.faults.mute_after = "both", 0
        while client.connection.state != "waiting":
            await client.connection.changed()
        assert "has said nothing for 0.6 s" in client.connection.reason
        proxy.faults.mute = ""
        await (await script.started()).tell("find 3", "end")
        await ended_as_the_server_says(scan)
        assert client.connection.transport == "websocket"
    assert asked(proxy, upgrade) == 2


async def test_a_server_that_says_nothing_for_long_is_alive_while_it_answers_pings(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "IDLE_SECONDS", 0.2)  # that nothing comes is not that nothing is wanted
    async with behind(server, Faults()) as (proxy, script), Hasty(proxy.url) as client:
        scan = await client.discover(**script.request(shards=1))
        shard = await script.started()
        await until(client, "websocket")
        await anyio.sleep(1.5)  # more than silence and grace together, twice
        await shard.tell("find 1", "end")
        await ended_as_the_server_says(scan)
    assert asked(proxy, upgrade) == 1


@pytest.mark.parametrize(
    "transport",
    ["websocket", pytest.param("stream", marks=pytest.mark.clients), "longpoll"],  # a stream has a beat each 5 s
)
async def test_an_end_that_is_lost_on_its_way_is_asked_for(
    server: str, monkeypatch: pytest.MonkeyPatch, transport: Transport
) -> None:
    """Nothing that follows shows the gap: pings are answered, heartbeats come, and another scan goes on."""
    for module in (run, websocket):
        monkeypatch.setattr(module, "QUIET_SECONDS", 0.5)
    troubled = behind(server, Faults(lose_ends=1))
    async with troubled as (proxy, script), AsyncClient(proxy.url, transports=[transport]) as client:
        scan = await client.discover(**script.request(shards=1))
        shard = await script.started()
        other = await client.discover(**script.request(shards=1))
        await until_found(other, 0)
        await shard.tell("find 2", "end")
        await ended_as_the_server_says(scan)
        await (await script.started()).tell("find 1", "end")
        await ended_as_the_server_says(other)
    assert proxy.faults.lose_ends == 0
    assert asked(proxy, upgrade) == (transport == "websocket")


async def test_a_connection_is_kept_for_the_next_scan_for_a_while(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with behind(server, Faults()) as (proxy, _), AsyncClient(proxy.url) as client:
        for _ in range(2):
            await (await client.discover(**QUICK)).wait(SECONDS)
        assert asked(proxy, upgrade) == 1
        monkeypatch.setattr(line, "IDLE_SECONDS", 0)
        await (await client.discover(**QUICK)).wait(SECONDS)
        await anyio.wait_all_tasks_blocked()
        await (await client.discover(**QUICK)).wait(SECONDS)
        assert asked(proxy, upgrade) > 1


@pytest.mark.parametrize("transport", RUNGS)
async def test_what_nobody_knows_is_passed_over_on_each_rung(server: str, transport: Transport) -> None:
    everything = behind(server, Faults(inject=True))
    async with everything as (proxy, script), AsyncClient(proxy.url, transports=[transport]) as client:
        scan = await client.discover(**script.request(shards=1))
        await (await script.started()).tell("find 3", "end")
        await ended_as_the_server_says(scan)
        assert "x_unknown" in scan.state


@pytest.mark.parametrize("transport", RUNGS[2:])
async def test_a_server_is_not_asked_more_often_than_it_likes(server: str, transport: Transport) -> None:
    async with behind(server, Faults()) as (proxy, script), AsyncClient(proxy.url, transports=[transport]) as client:
        scans = [await client.discover(**script.request(shards=3)) for _ in range(3)]
        for _ in range(9):
            await (await script.started()).tell("find 1", "end")
        for scan in scans:
            await ended_as_the_server_says(scan)
    assert proxy.most_attempts(1.0, lambda attempt: follow(attempt) or "/status/" in attempt.target) <= 5


@pytest.mark.parametrize("transport", RUNGS)
async def test_however_often_scans_come_and_connections_go_attempts_stay_apart(
    server: str, monkeypatch: pytest.MonkeyPatch, transport: Transport
) -> None:
    monkeypatch.setattr(feeds, "MOST_FOLLOWED", 2)  # so that there are two lines
    troubled = behind(server, Faults(reset_every=0.3, bad_gateway_every=4))
    async with AsyncClient(server) as other, troubled as (proxy, script):
        scans = [await other.discover(**script.request(shards=1)) for _ in range(4)]
        async with AsyncClient(proxy.url, transports=[transport]) as client:
            for scan in scans:
                client.follow(scan.id)
                await anyio.sleep(0.05)
            await until_asked(proxy, lambda attempt: attempt.rung == transport, 5)
        for scan in scans:
            await scan.cancel()
    assert proxy.most_attempts(HALF_A_SECOND, lambda attempt: attempt.rung == transport) <= 2


def test_events_come_in_pieces_of_any_size() -> None:
    stream = (
        b'retry: 1000\n\n: still here\n\nevent: update\ndata: {"type":"update","n":"\xe2\x80\xa8"}\n\n'
        b'event: end\r\ndata:{"type":\r\ndata:"end"}\r\n\r\nevent: x\n\ndata: {"type":"unfinished"'
    )
    expected = [{"type": "update", "n": "\u2028"}, {"type": "end"}]

    for size in (1, 2, 7, len(stream)):
        events = Events()
        pieces = [stream[begin : begin + size] for begin in range(0, len(stream), size)]
        assert [message for piece in pieces for message in events.messages(piece)] == expected
    for nonsense in (b"event: end\ndata: {\n\n", b"event: end\ndata: 7\n\n"):
        with pytest.raises(Lost):
            [*Events().messages(nonsense)]


def test_a_status_answer_is_what_frames_would_have_brought() -> None:
    body = {"scan_id": "s", "status": "scanning", "phase": "running", "cursor": "e-5.3", "rank": 2}
    more = {"opportunities": [{"id": "c"}], "offset": 2, "more": True}
    state = {"scan_id": "s", "status": "scanning", "phase": "running"}

    [update] = messages({**body, **more}, "e-4.2")
    assert update == {"type": "update", "scan_id": "s", "cursor": "e-5.3", "patch": state, **more}
    [foreign] = messages({**body, **more, "offset": 0}, "f-9.2")
    assert (foreign["type"], foreign["state"]) == ("snapshot", state)
    [ahead] = messages({**body, **more, "offset": 0}, "e-9.9")  # the server has lost what came last
    assert ahead["type"] == "snapshot"
    [first] = messages({**body, "offset": 0, "opportunities": []}, None)
    assert first["type"] == "snapshot"
    last = messages({**body, "status": "failed", "offset": 3, "opportunities": []}, "e-4.3")
    assert [message["type"] for message in last] == ["update", "end"]
    nonsense: Any
    for nonsense in ([], {}, {"cursor": 3}):
        with pytest.raises(Lost):
            messages(nonsense, None)

"""The hostile proxy is as hostile as it says, and otherwise lets everything through."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from conftest import ROOT
from support.plain import NO_TLS
from support.process import server_process
from wire.proxy import Faults, Proxy, running

get, post = partial(httpx.get, verify=NO_TLS), partial(httpx.post, verify=NO_TLS)
CLOSED = pytest.raises(ConnectionClosed)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with server_process(":memory:", "--workers", "1") as process:
        yield process.url


def socket(proxy: Proxy) -> ClientConnection:
    return connect(proxy.url.replace("http", "ws") + "/ws", open_timeout=20, close_timeout=0.2, proxy=None)


def discover(connection: ClientConnection) -> list[dict[str, Any]]:
    """All messages of a small scan, from the ack to the end."""
    connection.send('{"type": "discover", "request": {"strategy_ids": ["tsmom"], "force_refresh": true}}')
    messages = [json.loads(connection.recv(20))]
    while messages[-1]["type"] != "end":
        messages.append(json.loads(connection.recv(20)))
    return messages


def test_without_faults_everything_goes_through(server: str) -> None:
    with running(server) as proxy, socket(proxy) as connection:
        messages = discover(connection)
        results = get(proxy.url + messages[0]["results_url"]).json()
        followed = post(
            proxy.url + "/opportunities/follow",
            json={"follow": [{"scan_id": results["scan_id"]}]},
            headers={"Accept": "text/event-stream"},
        ).text

    assert results["status"] == messages[-1]["status"] == "complete"
    assert "event: end" in followed
    assert [(attempt.method, attempt.rung) for attempt in proxy.attempts] == [
        ("GET", "websocket"),
        ("GET", ""),
        ("POST", "stream"),
    ]


def test_upgrades_are_refused(server: str) -> None:
    with running(server, Faults(refuse_upgrade=403)) as proxy:
        with pytest.raises(InvalidStatus, match="403"):
            socket(proxy)
        assert get(proxy.url + "/healthz").status_code == 200


def test_streams_are_refused(server: str) -> None:
    with running(server, Faults(refuse_streams=406)) as proxy:
        scan = post(proxy.url + "/opportunities/discover", json={"strategy_ids": ["tsmom"]}).json()["scan_id"]
        address, asked = proxy.url + "/opportunities/follow", {"follow": [{"scan_id": scan}]}
        assert post(address, json=asked, headers={"Accept": "text/event-stream"}).status_code == 406
        assert post(address, json=asked).status_code == 200


def test_sockets_are_closed_at_once(server: str) -> None:
    with running(server, Faults(close_at_once=True)) as proxy, socket(proxy) as connection, CLOSED:
        connection.recv(20)


def test_connections_are_closed_without_a_word(server: str) -> None:
    with running(server, Faults(hang_up=True)) as proxy, pytest.raises(httpx.TransportError):
        get(proxy.url + "/healthz")


@pytest.mark.parametrize("way", ["up", "down", "both"])
def test_an_open_socket_falls_silent(server: str, way: str) -> None:
    with running(server, Faults(mute=way, mute_after=0)) as proxy, socket(proxy) as connection:
        connection.send('{"type": "ping"}')
        with pytest.raises(TimeoutError):
            connection.recv(0.5)


def test_what_has_fallen_silent_stays_so(server: str) -> None:
    with running(server, Faults(mute="down", mute_after=0)) as proxy, socket(proxy) as connection:
        connection.send('{"type": "ping"}')
        with pytest.raises(TimeoutError):
            connection.recv(0.5)
        proxy.faults.mute = ""
        connection.send('{"type": "ping"}')
        with pytest.raises(TimeoutError):
            connection.recv(0.5)


def test_what_is_open_freezes_and_what_is_new_does_not(server: str) -> None:
    ping, pong = '{"type": "ping"}', {"type": "pong"}
    with running(server) as proxy, socket(proxy) as frozen:
        frozen.send(ping)
        assert json.loads(frozen.recv(20)) == pong
        proxy.freeze()
        frozen.send(ping)
        with pytest.raises(TimeoutError):
            frozen.recv(0.5)
        with socket(proxy) as fresh:
            fresh.send(ping)
            assert json.loads(fresh.recv(20)) == pong


def test_connections_are_cut_after_so_many_bytes(server: str) -> None:
    with running(server, Faults(drop_after=3000)) as proxy, socket(proxy) as connection, CLOSED:
        discover(connection)


def test_everything_is_late(server: str) -> None:
    with running(server, Faults(delay=0.5)) as proxy, socket(proxy) as connection:
        began = time.monotonic()
        connection.send('{"type": "ping"}')
        assert json.loads(connection.recv(20)) == {"type": "pong"}
        assert time.monotonic() - began >= 1


def test_connections_are_reset(server: str) -> None:
    with running(server, Faults(reset_every=0.5)) as proxy, socket(proxy) as connection:
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(20)
        assert isinstance(closed.value.__cause__, ConnectionResetError)


def test_streams_are_buffered(server: str) -> None:
    with running(server, Faults(buffer_streams=True)) as proxy:
        scan_id = post(proxy.url + "/opportunities/discover", json={"strategy_ids": ["tsmom"]}).json()["scan_id"]
        with httpx.stream("GET", f"{proxy.url}/opportunities/events/{scan_id}", timeout=60, verify=NO_TLS) as answer:
            next(answer.iter_raw())
            status = get(f"{server}/opportunities/status/{scan_id}").json()["status"]
    assert status == "complete"  # before a word of it has come through


def test_a_gateway_fails_now_and_then(server: str) -> None:
    with running(server, Faults(bad_gateway_every=3)) as proxy:
        statuses = [get(proxy.url + "/healthz").status_code for _ in range(6)]
    assert statuses == [200, 200, 502, 200, 200, 502]


def test_acks_are_lost(server: str) -> None:
    with running(server, Faults(swallow_acks=2)) as proxy:
        with socket(proxy) as connection, pytest.raises(ConnectionClosed):
            discover(connection)
        with pytest.raises(httpx.TransportError):
            post(proxy.url + "/opportunities/discover", json={})
        with socket(proxy) as connection:
            assert discover(connection)[-1]["status"] == "complete"


def test_acks_do_not_come(server: str) -> None:
    with running(server, Faults(hold_acks=2)) as proxy:
        with socket(proxy) as connection:
            assert discover(connection)[0]["type"] == "snapshot"
        with pytest.raises(httpx.ReadTimeout):
            post(proxy.url + "/opportunities/discover", json={}, timeout=0.5)
        assert post(proxy.url + "/opportunities/discover", json={}).json()["scan_id"]


def test_what_nobody_knows_is_added_to_streams_and_long_polls(server: str) -> None:
    scan = post(server + "/opportunities/discover", json={"strategy_ids": ["tsmom"]}).json()["scan_id"]
    get(f"{server}/opportunities/results/{scan}?wait=20", timeout=30)
    with running(server, Faults(inject=True)) as proxy:
        address, asked = proxy.url + "/opportunities/follow", {"follow": [{"scan_id": scan}]}
        frames = post(address, json=asked).json()["frames"]
        events = post(address, json=asked, headers={"Accept": "text/event-stream"}).text

    assert [frame["type"] for frame in frames if frame["type"] != "weather"] == ["snapshot"]
    assert "weather" in {frame["type"] for frame in frames}
    told = [line.removeprefix("data: ") for line in events.splitlines() if line.startswith("data: {")]
    assert {json.loads(line)["scan_id"] for line in told} == {scan}
    assert events.count("event: weather") == events.count("event: forecast") == 2
    snapshot = next(json.loads(line) for line in told if "snapshot" in line)
    assert "x_unknown" in snapshot
    assert "x_unknown" in snapshot["state"]


def test_it_is_a_program(server: str) -> None:
    command = [sys.executable, str(ROOT / "tests" / "wire" / "proxy.py"), server, "--refuse-upgrade", "426"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            assert get(url + "/ws", headers={"Upgrade": "websocket"}).status_code == 426
            assert get(url + "/healthz").status_code == 200
        finally:
            process.kill()


def test_what_nobody_knows_is_added(server: str) -> None:
    with running(server, Faults(inject=True)) as proxy, socket(proxy) as connection:
        messages = discover(connection)
        results = get(proxy.url + next(m["results_url"] for m in messages if "results_url" in m)).json()

    assert {"weather", "ack", "snapshot", "update", "end"} == {message["type"] for message in messages}
    assert all("x_unknown" in message for message in [*messages, results] if message.get("type") != "weather")

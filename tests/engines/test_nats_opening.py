"""Opening a store on NATS: what cannot be used is refused, with what is and what was wanted, without a password."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import certifi
import pytest
from anyio.abc import SocketStream

from engines.contract import A
from scanstream.engines.nats.connection import OLDEST
from scanstream.engines.nats.options import NatsOptions
from scanstream.engines.nats.store import open_nats
from scanstream.engines.nats.streams import of_scans
from scanstream.errors import EngineUnusable, SettingError, StoreUnavailable
from support.nats import NatsServer, free_port, nats_server, options
from support.stores import consuming, registration

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

RIGHT_PLAIN = "plain"
RIGHT, OTHER, SECRET = "p@ss:w/rd", "of another", "wrong and secret"


@asynccontextmanager
async def pretending(version: str, max_payload: int = 1024 * 1024) -> AsyncIterator[NatsOptions]:
    """Something that greets as a server of this version, and answers pings."""

    async def serve(stream: SocketStream) -> None:
        greeting = f'{{"server_name":"old","version":"{version}","headers":true,"max_payload":{max_payload}}}'
        async with stream:
            await stream.send(f"INFO {greeting}\r\n".encode())
            async for received in stream:
                if b"PING" in received:
                    await stream.send(b"PONG\r\n")

    port = free_port()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield NatsOptions(servers=(f"nats://127.0.0.1:{port}",))
        tasks.cancel_scope.cancel()


async def refused(here: NatsOptions, error: type[Exception], *, patience: float = 10.0) -> str:
    """What an operator is told who starts a node with these options."""
    with pytest.raises(error) as caught:
        async with open_nats(here, patience=patience):
            pass
    return str(caught.value)


@pytest.mark.parametrize("version", ["2.9.10", "2.10.25", "2.11.9", "1.4.1"])
async def test_an_older_server_is_refused(version: str) -> None:
    async with pretending(version) as here:
        told = await refused(here, EngineUnusable)
    assert version in told
    assert ".".join(map(str, OLDEST)) in told


async def test_a_server_that_takes_small_messages_only_is_refused() -> None:
    async with pretending("2.15.1", 65_536) as here:
        told = await refused(here, EngineUnusable)
    assert "65536" in told
    assert "1048576" in told


OTHERS = {
    "max_age": (3_600 * 10**9, "3600 s", "0 s"),
    "discard": ("old", "old", "new"),
    "storage": ("memory", "memory", "file"),
    "allow_direct": (False, "off", "on"),
    "allow_msg_ttl": (False, "off", "on"),
    "allow_rollup_hdrs": (False, "off", "on"),
    "max_msgs_per_subject": (10, "10", "-1"),
    "duplicate_window": (10**9, "1 s", "120 s"),
    "max_msg_size": (100_000, "100000", "1048576"),
}


@pytest.mark.parametrize("setting", OTHERS)
async def test_a_stream_with_other_settings_is_refused_with_both_values(nats: NatsServer, setting: str) -> None:
    """Those that an older server leaves out among them."""
    here = options(nats)
    value, there, wanted = OTHERS[setting]
    async with open_nats(options(nats)) as store:
        connection = store.connection
        connection.names = type(connection.names)(here.namespace)
        config = {**of_scans(connection), "num_replicas": 1, setting: value}
        await connection.request_api(f"STREAM.CREATE.{config['name']}", config)
    told = await refused(here, SettingError)
    assert f"{here.namespace}_SCANS" in told
    assert f"{setting} {there}" in told
    assert f"wants {wanted}" in told


async def test_settings_that_somebody_changes_under_a_node_make_it_red_and_it_goes_on_when_they_are_right(
    nats: NatsServer,
) -> None:
    async with open_nats(options(nats), lag=0) as store, consuming(store):
        ask, wanted = store.connection.request_api, {**of_scans(store.connection), "num_replicas": 1}
        for setting, value in (("discard", "old"), ("max_msg_size", 100_000)):
            await ask(f"STREAM.UPDATE.{wanted['name']}", {**wanted, setting: value})
            with anyio.fail_after(20):
                while f"has {setting} {value}" not in store.healthy():  # noqa: ASYNC110  # nobody tells
                    await anyio.sleep(0.05)
            with pytest.raises(StoreUnavailable, match=setting):
                await store.probe()
            await ask(f"STREAM.UPDATE.{wanted['name']}", wanted)
            with anyio.fail_after(20):
                while store.healthy():  # noqa: ASYNC110  # nobody tells
                    await anyio.sleep(0.05)
            await store.probe()


async def test_nothing_is_asked_of_an_older_server_that_has_taken_the_place_of_ours(nats: NatsServer) -> None:
    async with open_nats(options(nats), lag=0) as store, consuming(store):
        client = store.connection.client
        told, server = client._server_info, client._current_server
        assert server is not None
        right = told["version"]
        for version, says in (("2.11.4", "must be 2.12 or newer"), (right, "")):
            told["version"] = server.server_version = version  # as whoever greets us says
            await client._found()
            assert says in store.healthy()
            assert (says == "") or "2.11.4" in store.healthy()
            if says:
                with pytest.raises(StoreUnavailable, match=r"2\.11\.4"):
                    await store.register(registration(A), None)
        with anyio.fail_after(20):
            while store.healthy():  # noqa: ASYNC110  # nobody tells
                await anyio.sleep(0.05)
        assert await store.register(registration(A), None) == A


async def test_of_nodes_that_start_at_once_all_have_the_same_identity_and_key(nats: NatsServer) -> None:
    here = options(nats)
    found: set[tuple[str, bytes]] = set()

    async def start() -> None:
        async with open_nats(here) as store:
            found.add((store.identity, store.key))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(start)
    assert len(found) == 1


async def test_replicas_are_those_of_the_stream_unless_they_are_given(nats: NatsServer) -> None:
    here = options(nats)
    async with open_nats(here) as store:
        await store.register(registration(A), None)
    several = NatsOptions(servers=2 * here.servers, namespace=here.namespace)
    async with open_nats(several) as store:  # a stream that is there is taken as it is
        assert await store.holder(f"slot of {A}") == A
    told = await refused(options(nats, namespace=here.namespace, replicas=3), SettingError)
    assert "--replicas 1" in told
    assert "wants 3" in told


async def test_more_replicas_than_there_are_servers_is_told(nats: NatsServer) -> None:
    told = await refused(options(nats, replicas=3), EngineUnusable, patience=1.0)
    assert "SCANS" in told
    assert "replicas" in told or "peers" in told


async def test_what_is_not_there_is_waited_for_and_then_named() -> None:
    port = free_port()
    here = NatsOptions(servers=(f"nats://127.0.0.1:{port}",), user="me", password=SECRET)
    begun = anyio.current_time()
    told = await refused(here, EngineUnusable, patience=1.0)
    assert 0.9 < anyio.current_time() - begun < 10
    assert f"127.0.0.1:{port}" in told
    assert SECRET not in told


async def test_a_server_that_comes_while_it_is_waited_for_is_taken(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    try:
        async with anyio.create_task_group() as tasks:

            async def start_later() -> None:
                await anyio.sleep(0.5)
                await anyio.to_thread.run_sync(server.start)

            tasks.start_soon(start_later)
            async with open_nats(options(server)) as store:
                assert await store.register(registration(A), None) == A
    finally:
        server.kill()


LOGINS = f"""
accounts {{ A {{ jetstream: enabled, users: [ {{ user: "me", password: "{RIGHT}" }} ] }}
           B {{ users: [ {{ user: "other", password: "{OTHER}" }} ] }} }}
"""


async def test_a_login_is_given_and_a_wrong_one_is_refused_at_once(tmp_path: Path) -> None:
    with nats_server(tmp_path, extra=LOGINS) as server:
        async with open_nats(options(server, user="me", password=RIGHT)) as store:
            assert await store.register(registration(A), None) == A
        begun = anyio.current_time()
        for login in ({}, {"user": "me", "password": SECRET}, {"token": SECRET}):
            told = await refused(options(server, **login), EngineUnusable, patience=60.0)
            assert "let us in" in told
            assert SECRET not in told
        assert anyio.current_time() - begun < 30
        told = await refused(options(server, user="other", password=OTHER), EngineUnusable, patience=1.0)
        assert "JetStream" in told


async def test_a_login_is_told_to_no_server_that_does_not_speak_tls(nats: NatsServer) -> None:
    here = options(nats, ca=Path(certifi.where()), user="me", password=SECRET)
    told = await refused(here, EngineUnusable, patience=1.0)
    assert "TLS" in told


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that vouches for itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not on this machine")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ})
    return cert, key


async def test_tls_is_spoken_and_the_server_must_be_who_it_says(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    extra = f'tls {{ cert_file: "{cert}", key_file: "{key}" }}'
    with nats_server(tmp_path, extra=extra) as server:
        async with open_nats(options(server, ca=cert)) as store:
            assert await store.register(registration(A), None) == A
        told = await refused(options(server), EngineUnusable, patience=1.0)
        assert "certificate" in told.lower()


@pytest.mark.parametrize(
    ("rights", "told"),
    [
        ('publish: {deny: ["$JS.API.STREAM.CREATE.>"]}', "may not publish to $JS.API.STREAM.CREATE.SCANS"),
        ('publish: ["$JS.API.>", "_INBOX.>"]', "may not publish to scan."),
        ('subscribe: ["scan.>"]', "may not subscribe to _INBOX"),
    ],
)
async def test_what_a_login_may_not_do_is_said_at_once(rights: str, told: str, tmp_path: Path) -> None:
    users = f"authorization {{ users = [{{user: u, password: {RIGHT_PLAIN}, permissions: {{ {rights} }} }}] }}"
    with nats_server(tmp_path, extra=users) as server:
        here = NatsOptions(servers=(server.url,), user="u", password=RIGHT_PLAIN)
        with anyio.fail_after(10):  # not after all the time that a server on its way up is given
            assert told in await refused(here, EngineUnusable, patience=60)


async def test_a_server_without_jetstream_is_told_so(tmp_path: Path) -> None:
    with nats_server(tmp_path, extra="accounts { A { users = [{user: u, password: plain}] } }") as server:
        here = NatsOptions(servers=(server.url,), user="u", password=RIGHT_PLAIN)
        assert "JetStream not enabled" in await refused(here, EngineUnusable, patience=1)

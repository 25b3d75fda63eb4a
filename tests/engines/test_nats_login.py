"""Who we are for NATS, and who it is for us: files of credentials, certificates, and what of them changes meanwhile."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.abc import SocketStream

from engines.contract import A
from scanstream.engines.nats.options import NatsOptions
from scanstream.engines.nats.store import NatsStore, open_nats
from scanstream.errors import EngineUnusable
from scanstream.telling import Telling
from support.certificates import Authority
from support.jwt import ACCOUNT, Operator, Party
from support.nats import NatsServer, free_port, nats_server, options
from support.stores import registration
from support.until import until

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


async def refused(server: NatsServer, **given: Any) -> str:
    """What an operator is told who starts a node with these options."""
    with pytest.raises(EngineUnusable) as caught:
        async with open_nats(options(server, **given), patience=2.0):
            pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def restarted(server: NatsServer) -> None:
    """It is gone, and there again."""
    await to_thread.run_sync(server.kill)
    await to_thread.run_sync(server.start)


@asynccontextmanager
async def serving(server: NatsServer, **given: Any) -> AsyncIterator[NatsStore]:
    """A store that has been written to."""
    async with open_nats(options(server, **given)) as store:
        assert await store.register(registration(A), None) == A
        yield store


async def test_credentials_are_read_anew_for_each_connection(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Those that have run out, or are no credentials any more, are told; a new file needs no restart."""
    caplog.set_level(logging.WARNING)
    operator, file = Operator(), tmp_path / "node.creds"
    operator.credentials(file)
    with nats_server(tmp_path, extra=operator.configuration()) as server:
        async with serving(server, creds=file) as store:
            words = file.read_text()
            for damaged in ("", "nothing of the kind\n" * 3, words.replace("BEGIN NATS", "BEGIN"), words[:-80]):
                file.write_text(damaged)
                await restarted(server)
                await until(lambda: f"--engine-creds {file}" in store.connection.trouble())
                operator.credentials(file)
                await until(lambda: not store.connection.trouble())
                await store.barrier()
            file.unlink()
            await restarted(server)
            await until(lambda: "No such file" in store.connection.trouble())
            operator.credentials(file)
            await until(lambda: not store.connection.trouble())
    assert "SU" not in caplog.text.replace("SUB", ""), "a seed"
    assert "eyJ" not in caplog.text, "a JWT"


async def test_credentials_that_do_not_hold_are_refused(tmp_path: Path) -> None:
    operator, file = Operator(), tmp_path / "node.creds"
    with nats_server(tmp_path, extra=operator.configuration()) as server:
        for wrong in ({"seconds": -60.0}, {"account": Party(ACCOUNT)}):
            operator.credentials(file, **wrong)
            assert "let us in" in (said := await refused(server, creds=file))
            assert "--engine-creds" in said


TLS = 'tls {{ cert_file: "{made.cert}", key_file: "{made.key}", ca_file: "{ca}", verify: {verify} }}'


async def test_what_is_wrong_with_a_certificate_is_told_with_its_setting(tmp_path: Path) -> None:
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other", "other")
    for name, host, days, says in (
        ("right", "IP:127.0.0.1", 2, ""),
        ("host", "DNS:nats.example.org", 2, "not valid for '127.0.0.1'"),
        ("over", "IP:127.0.0.1", -1, "expired"),
    ):
        made = ours.signs(name, host=host, days=days)
        extra = TLS.format(made=made, ca=ours.file, verify="false")
        with nats_server(tmp_path / name, extra=extra) as server:
            if says:
                said = await refused(server, ca=ours.file)
                assert says in said
                assert "--engine-ca" in said
                continue
            async with serving(server, ca=ours.file):
                pass
            for wrong in ({"ca": other.file}, {}):
                said = await refused(server, **wrong)
                assert "certificate" in said
                assert "--engine-ca" in said


async def test_a_server_that_asks_for_our_certificate_is_told_apart_from_one_that_hangs(tmp_path: Path) -> None:
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other", "other")
    server_s, node_s, strange, over = (
        ours.signs("server"),
        ours.signs("node"),
        other.signs("strange"),
        ours.signs("over", days=-1),
    )
    with nats_server(tmp_path, extra=TLS.format(made=server_s, ca=ours.file, verify="true")) as server:
        async with serving(server, ca=ours.file, cert=node_s.cert, key=node_s.key) as store:
            over.cert.rename(node_s.cert)  # it is renewed by somebody, wrongly, and then rightly
            over.key.rename(node_s.key)
            await restarted(server)
            await until(lambda: "--engine-cert" in store.connection.trouble())
            again = ours.signs("again")
            again.cert.rename(node_s.cert)
            again.key.rename(node_s.key)
            await until(lambda: not store.connection.trouble())
        for wrong in ({}, {"cert": strange.cert, "key": strange.key}):
            said = await refused(server, ca=ours.file, **wrong)
            assert "--engine-cert" in said


async def test_a_server_that_stands_still_is_left_also_with_tls(tmp_path: Path) -> None:
    """A farewell would wait for its answer for half a minute."""
    ours = Authority(tmp_path / "ours")
    made = ours.signs("server")
    with nats_server(tmp_path, extra=TLS.format(made=made, ca=ours.file, verify="false")) as server:
        async with serving(server, ca=ours.file) as store:
            assert server.process is not None
            server.pause()
            await until(lambda: bool(store.connection.trouble()))
            await restarted(server)
            with anyio.fail_after(10):
                await until(lambda: not store.connection.trouble())


@pytest.mark.parametrize(
    "greeting",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"INFO 5\r\n",
        b"INFO {\r\n",
        b"INFO {}\r\n",
        b"x" * 100_000,
        b"\xff\r\n",
    ],
    ids=["nothing", "HTTP", "no object", "no JSON", "empty", "without an end", "bytes"],
)
async def test_who_listens_there_and_is_no_nats_is_told_in_a_line(greeting: bytes) -> None:
    async def serve(stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.BrokenResourceError):
                await stream.send(greeting or b" ")

    port = free_port()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        with pytest.raises(EngineUnusable, match=rf"127\.0\.0\.1:{port}[^\n]*--engine") as caught:
            async with open_nats(NatsOptions(servers=(f"nats://127.0.0.1:{port}",)), patience=1.0):
                pass
        assert len(str(caught.value)) < 300
        tasks.cancel_scope.cancel()


async def test_a_server_that_hangs_up_again_and_again_is_no_flood(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It lets us in and is gone, five times a second: two lines, and two more in five seconds."""
    caplog.set_level(logging.WARNING)
    with nats_server(tmp_path) as server:
        async with serving(server) as store:
            link = store.connection.client
            for _ in range(20):
                link._hang_up()
                await until(lambda: not link.is_connected)
                await until(lambda: link.is_connected)
            await store.barrier()
    lines = [line for line in caplog.messages if line.startswith("NATS: ")]
    assert 1 <= len(lines) <= 12, lines


def test_ten_minutes_of_trouble_are_seven_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr("scanstream.telling.time.monotonic", lambda: clock)
    telling, told = Telling(), []
    for _ in range(3_000):
        clock += 0.2
        if telling.due():
            told.append(clock)
    assert len(told) == 7
    assert told[1] - told[0] == pytest.approx(5, abs=0.3)
    clock += 61
    assert telling.due()
    clock += 1
    assert not telling.due()
    telling.anew()
    assert telling.due()

"""TLS of our own: the same server, over it; a certificate that is tried at the start and renewed while it runs."""

import errno
import os
import re
import select
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from conftest import Serve
from scanstream.errors import SettingError
from scanstream.push.transport.tls import Accepting
from scanstream.server import serving
from scanstream.settings import Settings
from support.certificates import TOLD_STRICTLY, Authority, Certificate, encrypted, over
from support.plain import NO_TLS
from support.raw import HOST, PING, UPGRADE, connected, everything, frame, get, seconds_until_cut
from support.readers import READERS, EventsReader, LongPollReader, Reader, SocketReader
from support.script import scripting
from support.wire import ONE_QUICK_SCAN, discover, metrics, request, until_terminal, websocket
from wire import test_doors as doors
from wire.test_stall import streams

pytestmark = pytest.mark.anyio

SIPPED = 300_000
"""Bytes that a slow reader takes."""
KEY_DOORS = [door for door in READERS if door in (SocketReader, EventsReader, LongPollReader)]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs what is needed."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    """That of a server on this machine."""
    return authority.signs("server", host="IP:127.0.0.1,DNS:scans.example.org")


@pytest.fixture(scope="module")
async def url(certificate: Certificate) -> AsyncIterator[str]:
    """One server for all that does it no harm."""
    tls = over(certificate, allow_host=("scans.example.org",), silence=1.0)
    async with serving(Settings(port=0, data=":memory:", workers=1, compression="deflate", **tls)) as url:
        assert url.startswith("https://127.0.0.1:")
        yield url


@pytest.mark.parametrize("door", KEY_DOORS, ids=lambda door: door.name)
@pytest.mark.parametrize(
    "scenario", [doors.test_catch_up, doors.test_live, doors.test_slow], ids=lambda one: one.__name__
)
async def test_the_doors_keep_their_contract(url: str, door: type[Reader], scenario: Any) -> None:
    await scenario(url, door)


async def test_a_client_that_looks_at_the_certificate_is_content(url: str, authority: Authority) -> None:
    strict = ssl.create_default_context(cafile=authority.file)
    async with websocket(url, ssl=strict) as one:
        await one.send(type="discover", id="1", request=ONE_QUICK_SCAN)
        assert (await one.receive())["type"] == "ack"


NAME = "scans.example.org"


async def test_only_names_are_told_to_come_by_tls_from_now_on(url: str, serve: Serve) -> None:
    told = "strict-transport-security"
    for host, there in (("127.0.0.1", False), ("localhost", False), (NAME, True)):
        for path in ("/", "/healthz", "/static/none", "/opportunities/status/none"):
            assert (told in (await request(url, "GET", path, headers={"host": host})).headers) is there
    async with serve(workers=0, allow_host=(NAME,), trusted_proxy=("127.0.0.1",)) as plain:
        proxied = {"host": NAME, "x-forwarded-proto": "https"}
        assert told not in (await request(plain, "GET", "/", headers=proxied)).headers


def handshakes(text: str) -> dict[str, int]:
    """How they came out, by what `/metrics` says."""
    found = re.findall(r'^scanstream_handshakes_total\{outcome="(\w+)"\} ([0-9.]+)', text, re.MULTILINE)
    return {outcome: int(float(count)) for outcome, count in found}


async def test_handshakes_are_counted_by_how_they_come_out(certificate: Certificate, authority: Authority) -> None:
    settings = Settings(port=0, data=":memory:", workers=0, **over(certificate, silence=0.5))
    async with serving(settings) as url:
        plain = "http" + url.removeprefix("https")

        async def counted() -> dict[str, int]:
            return handshakes((await request(url, "GET", "/metrics")).body.decode())

        def come(first: bytes, *, leave: bool = False) -> None:
            with connected(plain, first) as connection:
                if not leave:
                    everything(connection)

        assert await counted() == {"done": 1, "failed": 0, "timed_out": 0, "refused": 0}
        await to_thread.run_sync(come, b"GET / HTTP/1.1\r\n\r\n")
        await to_thread.run_sync(come, b"\x16\x03\x01\x02")
        await to_thread.run_sync(partial(come, b"", leave=True))
        with pytest.raises(ssl.SSLCertVerificationError):
            async with websocket(url, ssl=ssl.create_default_context()):
                pass
        with anyio.fail_after(20):
            while (now := await counted())["failed"] + now["timed_out"] < 4:
                pass
        assert (now["failed"], now["timed_out"], now["refused"]) == (3, 1, 0)
        assert "timeout" in (await request(url, "GET", "/metrics")).body.decode()


async def test_what_keeps_the_server_from_accepting_passes(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No descriptor is left, or the network has failed beneath a connection (accept(2), "Error handling")."""
    accepted, met = Accepting._accepted, [errno.EMFILE, errno.EPROTO]

    def failing(self: Accepting) -> Iterator[tuple[socket.socket, str]]:
        if met:
            raise OSError(met[0], os.strerror(met.pop(0)))
        return accepted(self)

    monkeypatch.setattr(Accepting, "_accepted", failing)
    async with serving(Settings(port=0, data=":memory:", workers=0, **over(certificate))) as url:
        assert (await request(url, "GET", "/healthz")).status == 200
    assert met == []
    assert "no connection can be accepted for the moment: out of file descriptors" in caplog.text


async def test_half_open_handshakes_are_bounded_by_address_and_do_not_keep_a_server_up(
    certificate: Certificate,
) -> None:
    settings = Settings(port=0, data=":memory:", workers=0, **over(certificate, silence=60.0, max_own_handshakes=3))
    with ExitStack() as strangers:
        async with serving(settings) as url:
            plain = "http" + url.removeprefix("https")
            for source in ("127.0.0.1", "127.0.0.2"):
                for _ in range(3):
                    strangers.enter_context(connected(plain, b"", source=source))
                with connected(plain, source=source) as late:
                    assert await to_thread.run_sync(everything, late) == b""
            text = await metrics(url)
            assert (handshakes(text)["refused"], "scanstream_handshakes_under_way 6.0" in text) == (2, True)
            begun = time.monotonic()
        assert time.monotonic() - begun < 6  # the server has stopped, and six of them are still there


@pytest.mark.parametrize(("idle", "most"), [(0, 40), (40, 32)], ids=["no seat is left", "nor a place"])
async def test_half_open_handshakes_of_one_address_keep_nobody_else_out(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, idle: int, most: int
) -> None:
    """Where there are as many as there may be, the address with most of them makes room; as one of them is, once."""
    for where in ("core.places_of", "server.places"):
        monkeypatch.setattr(f"scanstream.{where}", lambda _: 40)
    settings = Settings(port=0, data=":memory:", workers=0, **over(certificate, silence=60.0))
    with ExitStack() as strangers:
        async with serving(settings) as url:
            for _ in range(idle):
                polls = connected(url, get("/healthz"), source="127.0.0.2")
                one = await to_thread.run_sync(strangers.enter_context, polls)
                assert b" 200 " in await to_thread.run_sync(one.recv, 1000)
            plain = "http" + url.removeprefix("https")
            halves = [strangers.enter_context(connected(plain, source="127.0.0.2")) for _ in range(60)]
            for _ in range(3):
                assert (await request(url, "GET", "/opportunities/market")).status == 200
            text = await metrics(url)
            assert handshakes(text)["refused"] == len(halves) - most + 1
            assert f"scanstream_handshakes_under_way {most - 1}.0" in text
            assert len(select.select(halves, [], [], 0)[0]) == len(halves) - most + 1, "and they are hung up on"


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (b"POST /opportunities/discover HTTP/1.1\r\nHost: %s\r\nContent-Length: 20\r\n\r\n{", 408),
        (b"GET / HTTP/1.1\r\nHost: %s\r\nX: " + b"x" * 40_000, 431),
        (UPGRADE.replace(HOST, b"Host: %s\r\n").replace(b"Version: 13", b"Version: 12") + b"\r\n", 400),
        (UPGRADE.replace(HOST, b"Host: %s\r\n").replace(b"/ws", b"/none") + b"\r\n", 404),
        (UPGRADE.replace(HOST, b"Host: %s\r\nOrigin: https://foreign.example\r\n") + b"\r\n", 403),
    ],
    ids=["slow", "large", "version", "absent", "foreign"],
)
async def test_so_are_those_who_are_refused_before_any_rule(url: str, first: bytes, status: int) -> None:
    for host, there in ((b"127.0.0.1", False), (NAME.encode(), True)):

        def told(said: bytes) -> bytes:
            with connected(url, said) as connection:
                return everything(connection)

        received = await to_thread.run_sync(told, first % host)
        head = received.lower().partition(b"\r\n\r\n")[0] + b"\r\n"
        assert head.startswith(b"http/1.1 %d " % status), received[:100]
        assert (TOLD_STRICTLY in head, head.count(b"\r\ncontent-security-policy: ")) == (there, 1), received


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01\x02", b"GET / HTTP/1.1\r\n\r\n", os.urandom(3000)])
async def test_who_makes_no_handshake_is_hung_up_on(url: str, first: bytes) -> None:
    def cut() -> float | None:
        with connected("http" + url.removeprefix("https"), first) as connection:
            return seconds_until_cut(connection, 20)

    assert await to_thread.run_sync(cut) is not None


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST, 408),
        (get("/")[:-2] + b"X: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (b"NONSENSE\r\n\r\n", 400),
    ],
    ids=["slow", "large", "nonsense"],
)
async def test_a_refusal_comes_through_and_then_the_end(url: str, first: bytes, status: int) -> None:
    def told() -> bytes:
        with connected(url, first) as connection:
            return everything(connection)

    received = await to_thread.run_sync(told)
    assert received.startswith(b"HTTP/1.1 %d " % status), received[:100]
    assert b"content-security-policy: default-src 'none'" in received


async def test_pings_are_answered_and_a_flood_of_them_is_not_taken_for_ever(url: str) -> None:
    """Whoever sends pings and takes no pong is not read any more: so the bytes that it can send have an end."""

    def flooded() -> int:
        with connected(url, UPGRADE + b"\r\n", receive_buffer=4096) as connection:
            assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")
            connection.sendall(frame(PING, b"one"))
            assert b"one" in connection.recv(4096)
            connection.settimeout(1.0)
            sent, pings = 0, frame(PING, b"x" * 100) * 300
            try:
                while sent < 30_000_000:
                    sent += connection.send(pings)
            except TimeoutError:
                pass
            return sent

    assert await to_thread.run_sync(flooded) < 20_000_000


async def test_a_reader_that_takes_nothing_is_cut_off_and_a_slow_one_gets_all(certificate: Certificate) -> None:
    stall = 1.0
    settings = Settings(port=0, data=":memory:", workers=1, **over(certificate, stall=stall))
    async with serving(settings) as url, scripting() as script:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        await (await script.started()).tell("find 2000", "end")
        await until_terminal(url, scan_id)

        async def starve(what: str, first: bytes) -> None:
            def starved() -> tuple[float | None, float]:
                begun = time.monotonic()  # who looks may come to it when the server has waited a while
                with connected(url, first, receive_buffer=4096) as connection:
                    return seconds_until_cut(connection, 30), time.monotonic() - begun

            cut, seconds = await to_thread.run_sync(starved)
            assert cut is not None, f"{what} is still there"
            assert seconds >= stall, f"{what} was cut off too early"

        async def sip() -> None:
            def sipped() -> int:
                received = 0
                with connected(url, streams(scan_id)["socket"], receive_buffer=4096) as connection:
                    while received < SIPPED and (chunk := connection.recv(4096)):
                        received += len(chunk)
                        time.sleep(len(chunk) / (SIPPED / stall / 3))  # a slow reader is the matter of this test
                return received

            assert await to_thread.run_sync(sipped) >= SIPPED

        async with anyio.create_task_group() as tasks:
            for what, first in streams(scan_id).items():
                tasks.start_soon(starve, what, first)
            tasks.start_soon(sip)


def serial(url: str) -> int:
    """That of the certificate which a new connection sees."""
    host, port = re.fullmatch(r"https://(.*):(\d+)", url).groups()  # type: ignore[union-attr]
    with socket.create_connection((host, int(port))) as plain, NO_TLS.wrap_socket(plain) as connection:
        return hash(connection.getpeercert(binary_form=True))


async def test_a_certificate_is_renewed_where_it_can_be_used(
    authority: Authority, tmp_path: Path, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    here = Certificate(tmp_path / "cert.pem", tmp_path / "key.pem")

    def put(made: Certificate) -> None:
        here.cert.write_bytes(made.cert.read_bytes())
        here.key.write_bytes(made.key.read_bytes())

    async def until_logged(words: str) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        with anyio.fail_after(20):
            while words not in caplog.text:  # noqa: ASYNC110  # a log calls nobody
                await anyio.sleep(0.02)

    put(authority.signs("first"))
    async with serve(workers=0, **over(here)) as url, websocket(url) as open_before:
        first = await to_thread.run_sync(serial, url)
        put(authority.signs("second"))
        await until_logged("read anew")
        second = await to_thread.run_sync(serial, url)
        assert second != first
        here.cert.write_text("nonsense")
        await until_logged("stays the old one")
        assert await to_thread.run_sync(serial, url) == second
        await open_before.send(type="ping", id="1")
        assert (await open_before.receive())["type"] == "pong"


def test_what_cannot_be_used_is_named(authority: Authority, certificate: Certificate, tmp_path: Path) -> None:
    none, nonsense, password = tmp_path / "none.pem", tmp_path / "nonsense.pem", tmp_path / "password"
    nonsense.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    other, past = authority.signs("other"), authority.signs("past", days=-1)
    locked = encrypted(certificate.key, tmp_path / "locked.pem", "open sesame")
    password.write_text("open sesame\n")
    cert = str(certificate.cert)
    refused: list[tuple[dict[str, str], str]] = [
        ({"tls_cert": str(none)}, f"--tls-cert {none}: No such file"),
        ({"tls_cert": str(tmp_path)}, f"--tls-cert {tmp_path}: Is a directory"),
        ({"tls_cert": str(nonsense)}, f"--tls-cert {nonsense}: there is no certificate in this file"),
        ({"tls_cert": str(certificate.key)}, "there is no certificate in this file"),
        ({"tls_cert": cert}, f"--tls-cert {cert}: this is no key"),
        ({"tls_cert": cert, "tls_key": str(none)}, f"--tls-key {none}: No such file"),
        ({"tls_cert": cert, "tls_key": cert}, f"--tls-key {cert}: this is no key that can be used"),
        ({"tls_cert": cert, "tls_key": str(other.key)}, f"--tls-key {other.key}: this key is not that of"),
        ({"tls_cert": str(past.cert), "tls_key": str(past.key)}, f"--tls-cert {past.cert}: nobody takes it"),
        ({"tls_cert": cert, "tls_key": str(locked)}, "this key is encrypted; give --tls-key-password-file"),
        ({"tls_key": str(certificate.key)}, "there is none: give --tls-cert, too"),
        ({"tls_cert": cert, "tls_key": str(locked), "tls_key_password_file": str(none)}, "--tls-key-password-file"),
        ({"tls_cert": cert, "tls_key": str(locked), "tls_key_password_file": cert}, "is not its"),
    ]
    for changes, says in refused:
        with pytest.raises(SettingError) as caught:
            Settings(**changes)  # type: ignore[arg-type]
        assert says in caught.value.detail, changes
        assert "sesame" not in caught.value.detail
    Settings(tls_cert=cert, tls_key=str(locked), tls_key_password_file=str(password))
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.cert.read_bytes() + certificate.key.read_bytes())
    Settings(tls_cert=str(both))
    chain = tmp_path / "chain.pem"
    chain.write_bytes(certificate.cert.read_bytes() + authority.file.read_bytes())
    Settings(tls_cert=str(chain), tls_key=str(certificate.key))

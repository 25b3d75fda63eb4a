"""What cannot work is refused when the settings are made, by its flag and its name in the environment."""

import os
from pathlib import Path
from urllib.parse import quote

import pytest

from client.programs import run
from scanstream.errors import SettingError
from scanstream.settings import Settings


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": ""}, "--data : it must name a directory"),
        ({"allow_origin": ("foo",)}, "--allow-origin foo: write scheme and host"),
        ({"allow_origin": ("https://example.org/page",)}, "--allow-origin https://example.org/page"),
        ({"worker_priority": "high"}, "--worker-priority high: it must be idle or low (SCANSTREAM_WORKER_PRIORITY)"),
        ({"refresh": 0.0}, "--refresh 0.0"),
        ({"live_bars": 1}, "--live-bars 1"),
        ({"engine": "paper"}, "--engine paper: write sqlite, or nats://"),
        ({"engine": "nats://:4222"}, "--engine nats://:4222: write nats://HOST:PORT"),
        ({"engine": "nats://a,tls://b"}, "--engine nats://a,tls://b: write nats:// for all servers or tls:// for all"),
        ({"lease": 0.5}, "--lease 0.5: it must be from 1 to 600 (SCANSTREAM_LEASE)"),
        ({"replicas": 6}, "--replicas 6: it must be from 1 to 5"),
        ({"namespace": "a.b"}, "--namespace a.b"),
        ({"namespace": "-a"}, "--namespace -a: it must be at most 32"),
        ({"namespace": "scan"}, "--namespace scan: it must be none of barrier, delivery, job, note"),
        ({"namespace": "note"}, "--namespace note: it must be none of barrier, delivery, job, note"),
        ({"engine": "nats://a,,nats://b"}, "--engine nats://a,,nats://b: write nats://HOST:PORT"),
        ({"engine": "nats://a,b:4222"}, "--engine nats://a,b:4222: write nats://HOST:PORT"),
        ({"engine": "nats://a:99999"}, "--engine nats://a:99999: write nats://HOST:PORT"),
        ({"engine": "nats://::1:4222"}, "--engine nats://::1:4222: write nats://HOST:PORT"),
        ({"engine": "nats://a/b"}, "--engine nats://a…: write nats://HOST:PORT"),
        ({"engine": "ws://a:80"}, "--engine ws://a:80: write sqlite, or nats://"),
        ({"engine": "nats:a"}, "--engine nats…: write sqlite, or nats://"),
        ({"engine": "nats://a", "engine_creds": "/nowhere/at.all"}, "--engine-creds /nowhere/at.all: No such file"),
        ({"engine": "nats://a", "engine_key": "/nowhere/key"}, "--engine-key /nowhere/key: there is a key without"),
    ],
)
def test_what_cannot_work_is_named(changes: dict[str, object], says: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings(**changes)  # type: ignore[arg-type]
    assert says in caught.value.detail


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"market": "ccxt:kraken,,binance"}, "ccxt:EXCHANGE"),
        ({"market": "ccxt:kraken", "live_timeframe": "7x"}, "--live-timeframe 7x"),
        ({"market": "horoscope"}, "ccxt:EXCHANGE"),
    ],
)
def test_a_market_that_cannot_be_is_named(changes: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings(**changes).open_market()  # type: ignore[arg-type]
    assert says in caught.value.detail


SECRET = "s3cr@t"  # noqa: S105  # a test


@pytest.mark.parametrize(
    "engine",
    [
        f"nats://me:{SECRET}@a:nowhere",
        f"nats://me:{SECRET}/b@a",
        f"nats://{SECRET}@a:1,tls://b:2",
        f"nats://me:{SECRET}@a,nats://me:other@b",
        f"tls://me:{SECRET}@[::1,nats://b",
        f"nats://:{SECRET}@a",
        f"paper://me:{SECRET}@a",
        f"sqlite,nats://me:{SECRET}@a",
        "nats://me:s3cret",
        "nats://me:s3cret,b:4222",
        "nats://a:1,nats://me:s3cret",
        "nats://me:123,s3cret@a",
        "nats://a/?password=s3cret",
        "nats:me:s3cret@a:4222",
        "me:s3cret@a:4222",
    ],
)
def test_a_password_for_the_engine_is_never_shown(engine: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings(engine=engine)
    assert "--engine" in caught.value.detail
    for part in ("s3cr", "other"):
        assert part not in caught.value.detail
    settings = Settings(engine=f"nats://me:{quote(SECRET)}@a")
    assert settings.nats is not None
    assert settings.nats.password == SECRET
    assert "s3cr" not in repr(settings) + repr(settings.nats)


def test_the_servers_of_the_engine_are_read() -> None:
    options = Settings(engine="tls://t%2Fken@a,tls://[::1]:4333,tls://a:4222", lease=3, max_running=9).nats

    assert options is not None
    assert options.servers == ("tls://a:4222", "tls://[::1]:4333")
    assert (options.token, options.user, options.secure) == ("t/ken", "", True)
    assert (options.lease, options.max_running, options.replicas_of_new) == (3, 9, 3)
    assert Settings().nats is None


NO_CREDENTIALS = {
    "empty": b"",
    "a log": b"2026 nothing of the kind\n" * 5,
    "bytes": bytes(range(256)) * 20,
    "the JWT alone": b"-----BEGIN NATS USER JWT-----\neyJ.s3cret.x\n------END NATS USER JWT------\n",
    "a seed that is none": b"-----BEGIN NATS USER JWT-----\neyJ.s3cret.x\n------END NATS USER JWT------\n"
    b"-----BEGIN USER NKEY SEED-----\nSUs3cret\n------END USER NKEY SEED------\n",
    "without end": b"-----BEGIN NATS USER JWT-----\n" * 100_000,
}


@pytest.mark.parametrize("content", NO_CREDENTIALS.values(), ids=NO_CREDENTIALS.keys())
def test_a_file_that_is_none_of_credentials_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "node.creds").write_bytes(content)
    with pytest.raises(SettingError, match=r"--engine-creds .*node\.creds: this is no file of credentials") as caught:
        Settings(engine="nats://a", engine_creds=str(tmp_path / "node.creds"))
    assert "s3cret" not in caught.value.detail


def test_a_login_is_given_once(tmp_path: Path) -> None:
    (tmp_path / "node.creds").write_bytes(b"")
    for path, says in ((tmp_path / "node.creds", "there is a login in --engine, too"), (tmp_path, "Is a directory")):
        with pytest.raises(SettingError, match=says):
            Settings(engine="nats://me:s3cret@a", engine_creds=str(path))


def test_what_is_hardly_meant_is_doubted() -> None:
    assert not [*Settings().doubts({"engine"})]
    assert ["--workers 0 with --engine sqlite" in doubt for doubt in Settings(workers=0).doubts(())] == [True]
    login = Settings(engine="nats://me:s3cret@a", workers=0)
    assert not [*login.doubts(())]
    [doubt] = login.doubts({"engine"})
    assert "SCANSTREAM_ENGINE" in doubt
    assert "s3cret" not in doubt


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(SettingError, match=r"--engine-ca .*ca\.pem: this is no certificate"):
        Settings(engine="nats://a", engine_ca=str(tmp_path / "ca.pem"))


def test_without_the_extra_it_is_said_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['nats'] = None\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    shown = run("serve", "--data", str(tmp_path), PYTHONPATH=path, SCANSTREAM_ENGINE=f"nats://me:{SECRET}@a")

    assert shown.returncode == 2
    assert shown.stderr == (
        "scanstream: --engine nats://…@a: it needs nats-py, which is not installed here; "
        "install it with: pip install 'scanstream[nats]' (SCANSTREAM_ENGINE)\n"
    )


def test_several_origins_may_be_allowed() -> None:
    assert Settings(allow_origin=("https://a.example", "http://127.0.0.1:3000")).allow_origin

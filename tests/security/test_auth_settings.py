"""Who may come in, as the settings say it: what cannot work, or is not safe, is refused at the start."""

import re
from pathlib import Path
from typing import Any

import pytest

from client.programs import run
from conftest import ROOT
from scanstream.app import Scanstream
from scanstream.cli import main
from scanstream.errors import SettingError
from scanstream.health import answering_for_health
from scanstream.model import Principal, now
from scanstream.security.caller import Right
from scanstream.security.keychanges import create_key
from scanstream.server import serving
from scanstream.settings import Settings
from support.guards import bearer, key_in
from support.wire import request

pytestmark = pytest.mark.anyio


@pytest.fixture
def keys(tmp_path: Path) -> str:
    rights = frozenset({Right.SCAN})
    create_key(tmp_path / "keys.toml", name="a", principal=Principal("p"), rights=rights, created=now(), expires=None)
    return str(tmp_path / "keys.toml")


ANYWHERE = ["0.0.0.0", "::", "192.168.1.5", "10.0.0.1", "example.org", "localhost.example.org", "0", "fe80::1%eth0"]  # noqa: S104
HERE = ["127.0.0.1", "127.0.0.2", "127.1", "localhost", "LOCALHOST", "a.localhost", "::1", "0x7f000001"]


@pytest.mark.parametrize("host", ANYWHERE)
def test_where_others_come_by_somebody_must_be_asked(host: str, keys: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings(host=host).check_reach()
    assert caught.value.detail.startswith(f"--host {host}: others than this machine reach a server there")
    for word in ("--auth required", "--keys", "--insecure", "SCANSTREAM_HOST"):
        assert word in caught.value.detail
    Settings(host=host, insecure=True).check_reach()
    Settings(host=host, auth="required", keys=keys).check_reach()


@pytest.mark.parametrize("host", HERE)
def test_on_this_machine_nobody_need_be_asked(host: str) -> None:
    Settings(host=host).check_reach()


def test_a_worker_has_no_doors_and_says_anywhere_how_it_is() -> None:
    """Its `--host` is where `--health-port` is."""
    Settings(host="0.0.0.0", health_port=0)  # noqa: S104


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])  # noqa: S104
@pytest.mark.parametrize("kind", ["none", "required", "insecure"])
async def test_its_metrics_are_for_those_who_may_have_them(host: str, kind: str, tmp_path: Path) -> None:
    ring = tmp_path / "keys.toml"
    asks: dict[str, Any] = {"auth": "required", "keys": str(ring)} if kind == "required" else {}
    operates, scans = key_in(ring, "olga", Right.OPERATE), key_in(ring, "ann", Right.SCAN)
    settings = Settings(host=host, health_port=0, insecure=kind == "insecure", **asks)
    async with answering_for_health(settings) as health:
        url = health.where.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        for path in ("/healthz", "/readyz"):
            assert (await request(url, "GET", path)).status in (200, 503)
        for credential, may in ((None, False), (scans, False), (operates, True)):
            told = await request(url, "GET", "/metrics", None, bearer(credential) if credential else None)
            nobody_asks = kind == "insecure" or (kind == "none" and host == "127.0.0.1")
            if nobody_asks or (asks and may):
                assert (told.status, told.json()["code"]) == (503, "restarting")  # it has none yet
            else:
                assert told.status == (401 if asks and credential is None else 403), (credential, told)
            assert b"scanstream_" not in told.body


async def test_a_server_there_does_not_start() -> None:
    with pytest.raises(SettingError, match="--insecure"):
        async with serving(Settings(host="0.0.0.0", port=0, data=":memory:", workers=0)):  # noqa: S104
            pytest.fail("it started")


def test_the_command_says_so_in_one_line_and_exits_with_2() -> None:
    for flags, variables, begins in (
        ([], {"SCANSTREAM_HOST": "::"}, "scanstream: --host ::: others than this machine"),
        (["--auth", "required"], {}, "scanstream: --auth required: there are no credentials to know anybody by"),
    ):
        done = run("serve", "--port", "0", "--data", ":memory:", *flags, **variables)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(begins)
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"auth": "yes"}, "--auth yes: write none or required (SCANSTREAM_AUTH)"),
        ({"auth": "required"}, "give --keys FILE"),
        ({"auth": "required", "keys": "/nowhere/keys.toml"}, "--keys /nowhere/keys.toml: No such file or directory"),
        (
            {"keys": "/nowhere/keys.toml"},
            "nobody is asked for a credential: give --auth required, too (SCANSTREAM_KEYS)",
        ),
    ],
)
def test_what_cannot_work_is_named(changes: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings(**changes)  # type: ignore[arg-type]
    assert says in caught.value.detail


def test_within_an_application_the_socket_is_the_host_s(keys: str) -> None:
    with pytest.raises(SettingError, match="insecure= is a matter of the server that runs your application"):
        Scanstream(insecure=True)  # type: ignore[call-arg]
    Scanstream(auth="required", keys=Path(keys))
    with pytest.raises(
        SettingError, match=r"^auth=required: there are no credentials to know anybody by: give keys=FILE"
    ):
        Scanstream(auth="required")
    with pytest.raises(SettingError, match=r"^keys=/nowhere: No such file or directory$"):
        Scanstream(auth="required", keys=Path("/nowhere"))


SECRET = "s3cret-" + "x" * 40
URL = "https://id.example.org/.well-known/jwks.json"
JWTS: dict[str, tuple[dict[str, str], str]] = {
    "a short secret": ({"jwt_secret": "s3cret"}, "--jwt-secret …: a secret for HS256 has at least 32 bytes"),
    "a secret that is short for its hash": (
        {"jwt_secret": SECRET, "jwt_algorithms": "HS512"},
        "--jwt-secret …: a secret for HS512 has at least 64 bytes (RFC 7518, section 3.2) (SCANSTREAM_JWT_SECRET)",
    ),
    "no file of secrets": ({"jwt_secret_file": "/nowhere"}, "--jwt-secret-file /nowhere: No such file"),
    "no file of keys": ({"jwt_keys": "/nowhere"}, "--jwt-keys /nowhere: No such file"),
    "alg none": (
        {"jwt_secret": SECRET, "jwt_algorithms": "none"},
        "--jwt-algorithms none: there is no algorithm 'none'",
    ),
    "an alg of no use": (
        {"jwt_secret": SECRET, "jwt_algorithms": "RS256"},
        "--jwt-algorithms RS256: none of them is for --jwt-secret",
    ),
    "another alg of no use": ({"jwt_keys": URL, "jwt_algorithms": "HS256"}, "none of them is for --jwt-keys"),
    "http": (
        {"jwt_keys": "http://id.example.org/s3cret"},
        "--jwt-keys …: who stands between could put keys of their own",
    ),
    "another scheme": ({"jwt_keys": "file:///etc/passwd"}, "--jwt-keys …: write the address of a JWKS"),
    "a login": ({"jwt_keys": "https://me:s3cret@id.example.org/"}, "--jwt-keys …: write the address of a JWKS"),
    "no host": ({"jwt_keys": "https:///jwks"}, "--jwt-keys …: write the address of a JWKS"),
    "a bad port": ({"jwt_keys": "https://id.example.org:x/s3cret"}, "--jwt-keys …: write the address of a JWKS"),
    "a line": ({"jwt_keys": "https://id.example.org/\ns3cret"}, "--jwt-keys …: write the address of a JWKS"),
    "an issuer of nothing": ({"jwt_issuer": "i"}, "--jwt-issuer i: there is nothing to know a JWT by: give --jwt-keys"),
    "an audience of nothing": ({"jwt_audience": "a"}, "--jwt-audience a: there is nothing to know a JWT by"),
}


@pytest.mark.parametrize(("changes", "says"), JWTS.values(), ids=JWTS.keys())
def test_what_jwts_cannot_be_known_by_is_named(changes: dict[str, str], says: str, keys: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings(auth="required", keys=keys, **changes)  # type: ignore[arg-type]
    assert says in caught.value.detail
    assert "s3cret" not in caught.value.detail


def test_what_nobody_is_asked_for_is_refused_and_not_shown() -> None:
    for changes in ({"jwt_secret": SECRET}, {"jwt_keys": f"{URL}?s3cret"}, {"jwt_audience": "scans"}):
        with pytest.raises(SettingError, match="nobody is asked for a credential: give --auth required") as caught:
            Settings(**changes)  # type: ignore[arg-type]
        assert "s3cret" not in caught.value.detail


@pytest.mark.parametrize(
    "url", [URL, "http://127.0.0.1:8080/jwks", "http://[::1]/jwks", "http://keycloak:8080/x", "http://id.auth.svc/x"]
)
def test_addresses_of_keys_that_are_near_or_secure_are_taken(url: str) -> None:
    assert Settings(auth="required", jwt_keys=url).jwks_url == url


def test_a_secret_is_in_no_repr_and_on_no_command_line_without_a_word(tmp_path: Path) -> None:
    settings = Settings(auth="required", jwt_secret=SECRET)
    assert "s3cret" not in repr(settings)
    assert not [*settings.doubts(())]
    [doubt] = settings.doubts({"jwt_secret"})
    assert "SCANSTREAM_JWT_SECRET" in doubt
    assert "--jwt-secret-file" in doubt
    assert "s3cret" not in doubt
    (tmp_path / "secrets").write_text(f"{SECRET}\n")
    Scanstream(auth="required", jwt_secret_file=tmp_path / "secrets")
    with pytest.raises(SettingError, match=r"^jwt_secret=…: a secret for HS256") as caught:
        Scanstream(auth="required", jwt_secret="s3cret")  # noqa: S106  # a test
    assert "s3cret" not in caught.value.detail


@pytest.mark.parametrize("missing", ["jwt", "cryptography"])
def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr("scanstream.security.options.find_spec", lambda name: None if name == missing else object())
    with pytest.raises(SettingError, match=r"--jwt-keys …: it needs PyJWT.*pip install 'scanstream\[jwt\]'"):
        Settings(auth="required", jwt_keys=URL)


def deployed() -> dict[str, dict[str, str]]:
    """What our own files for platforms and containers set, of where a server listens and whom it asks."""
    image = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    return {
        "Procfile": {"PORT": "0", "line": (ROOT / "Procfile").read_text().splitlines()[0]},
        "Dockerfile": dict(re.findall(r"\b(SCANSTREAM_(?:HOST|INSECURE))=(\S+)", image)),
    }


@pytest.mark.parametrize("name", ["Procfile", "Dockerfile"])
def test_our_own_files_say_that_nobody_is_asked_and_a_variable_changes_that(
    name: str, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    environment = deployed()[name]
    words = environment.pop("line", "web: scanstream serve").replace("$PORT", "0").split()[2:]
    for asks in (False, True):
        for variable, value in {**environment, **({"SCANSTREAM_AUTH": "required"} if asks else {})}.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setenv("SCANSTREAM_KEYS", keys if asks else "")
        context = main.commands[words[0]].make_context("serve", words[1:])
        settings = Settings(**context.params)
        assert settings.host == "0.0.0.0"  # noqa: S104
        assert (settings.insecure, settings.asks) == (True, asks)
        settings.check_reach()


@pytest.mark.parametrize("proxy", ["socks5://me:s3cret@proxy:1", "foo://me:s3cret@proxy", "http://me:s3cret@:1"])
def test_a_proxy_through_which_published_keys_cannot_be_had_is_refused_by_its_variable(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "internal.example.org")
    with pytest.raises(SettingError, match="The proxy that HTTPS_PROXY sets cannot be used") as caught:
        Settings(auth="required", jwt_keys=URL)
    assert "s3cret" not in caught.value.detail
    Settings(auth="required", jwt_keys="https://internal.example.org/jwks")

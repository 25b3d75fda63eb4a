"""Credentials that are shown to a real server, used, refused and revoked: in none of what it says afterwards."""

import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import jwt
import pytest

from client.programs import run
from scanstream.security.apikey import digest_of
from scanstream.settings import Settings
from support.process import ServerProcess

ALL_IS_LOGGED = "import logging\nlogging.basicConfig(level=logging.DEBUG)"
REQUEST = {"strategy_ids": ["tsmom"], "parameters": {"tsmom": {"walk_forward": 0}}}


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Shown:
    """Everything that was shown, and every answer."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.answers: list[str] = []

    def __call__(self, method: str, path: str, credential: str, **more: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {credential}"} if credential else {}
        answer = self._client.request(method, path, headers=headers, **more)  # type: ignore[arg-type]
        self.answers.append(f"{answer.headers}\n{answer.text}")
        return answer

    def status(self, credential: str) -> int:
        """Of a list of scans."""
        return self("GET", "/opportunities/scans", credential).status_code


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def key(keys: Path, name: str, *more: str) -> str:
    done = run("key", "create", name, "--principal", "ann", "--keys", str(keys), *more)
    assert done.returncode == 0
    return done.stdout.strip()


def test_no_credential_is_in_a_log_an_answer_or_a_metric(keys: Path, tmp_path: Path) -> None:
    good, revoked = key(keys, "good", "--right", "scan", "--right", "operate"), key(keys, "revoked")
    secret = secrets.token_urlsafe(48)
    (tmp_path / "secret").write_text(secret)
    said = {"sub": "ann", "scope": "scan", "exp": int(time.time()) + 600}
    vouched = jwt.encode(said, secret, algorithm="HS256")
    over = jwt.encode(said | {"exp": 1}, secret, algorithm="HS256")
    foreign = jwt.encode(said, secrets.token_urlsafe(48), algorithm="HS256")
    made_up = "ssk_" + secrets.token_urlsafe(32)
    settings = ["--auth", "required", "--keys", str(keys), "--jwt-secret-file", str(tmp_path / "secret")]
    server = ServerProcess(":memory:", "--workers", "1", *settings, before=ALL_IS_LOGGED)
    try:
        server.until_serving()
        with httpx.Client(base_url=server.url, timeout=30) as client:
            shown = Shown(client)
            assert [shown.status(credential) for credential in (good, revoked, vouched)] == [200, 200, 200]
            assert [shown.status(one) for one in ("", over, foreign, made_up, good[:-1], "sst_x")] == [401] * 6
            ack = shown("POST", "/opportunities/discover", vouched, json=REQUEST).json()
            shown.answers.pop()
            token = ack["scan_token"]
            form = {"content": b'{"rights": ["read"], "expires_in_seconds": 3600}'}  # as in docs/security.md, by curl
            assert shown("POST", "/opportunities/share/latest", good, **form).json()["rights"] == ["read"]
            shown.answers.pop()
            path = f"/opportunities/status/{ack['scan_id']}"
            assert shown("GET", path, token).status_code == 200
            assert shown("GET", f"{path}?token={token}", "").status_code == 200
            assert shown("GET", f"{path}?token={token[:-1]}A", "").status_code == 401
            assert shown("GET", f"{path}?token={good}", "").status_code == 401
            assert shown("GET", "/metrics", good).status_code == 200
            assert run("key", "revoke", "revoked", "--keys", str(keys)).returncode == 0
            until(lambda: shown.status(revoked) == 401)
            (tmp_path / "secret").write_text("x" * 40)
            until(lambda: shown.status(vouched) == 401)
            assert shown.status(good) == 200
            keys.write_text("noise")
            time.sleep(2.5)  # it is looked at each second, and read once it is still
            assert shown.status(good) == 200
    finally:
        _, _, errors = server.ended()
    assert "a JWT was refused: its exp is over" in errors
    assert f"--keys {keys}: read again, as it has changed" in errors
    assert f"--keys {keys}: this is no TOML: " in errors
    everything = "\n".join((errors, *shown.answers))
    for credential in (good, revoked, made_up, token):
        assert credential[4:20] not in everything
    for credential in (vouched, over, foreign):
        for part in credential.split(".")[1:]:
            assert part not in everything
    for digest in (digest_of(good), digest_of(revoked)):
        assert digest.hex()[:16] not in everything
        assert repr(digest)[2:20] not in everything
    assert secret not in everything


def test_nor_in_what_represents_them(keys: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = key(keys, "good")
    with caplog.at_level(logging.DEBUG):
        settings = Settings(auth="required", keys=str(keys), jwt_secret="s3cret" * 8)  # a test
    assert "s3cret" not in repr(settings) + caplog.text
    assert digest_of(good).hex() not in repr(settings)

"""Credentials that are shown to a real server, used, refused and revoked: in none of what it says afterwards."""

import logging
import secrets
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import jwt
import pytest
from msgspec.json import encode

from client.programs import run
from scanstream.security.apikey import digest_of
from scanstream.settings import Settings
from support.process import ServerProcess
from support.raw import TEXT, UPGRADE, connected, everything, frame

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

    def host(self, name: str) -> int:
        """Of a request for this host."""
        answer = self._client.get("/", headers={"Host": name})
        self.answers.append(answer.text)
        return answer.status_code


CLOSE = 8


def coded(credential: str) -> str:
    """As a subprotocol has it."""
    return urlsafe_b64encode(credential.encode()).decode().rstrip("=")


def shown_on_sockets(url: str, good: str, token: str) -> list[str]:
    """What is answered where a credential stands in a handshake as it must, as it must not, and in a message."""
    answers = []
    for credential in (good, token):
        protocol = f"Sec-WebSocket-Protocol: scanstream.v1.json, scanstream.bearer.{coded(credential)}"
        address = UPGRADE.replace(b"/ws", f"/ws?token={credential}".encode())
        renewal = encode({"type": "authenticate", "token": credential[:-1]}) + encode({"type": "authenticate"})
        for first in (
            address + b"\r\n",
            UPGRADE + f"{protocol}=\r\n\r\n".encode(),
            UPGRADE + f"{protocol}, {coded(credential)}, \x01\r\n\r\n".encode(),
            UPGRADE + f"{protocol}!\r\n\r\n".encode(),
            UPGRADE + f"{protocol}\r\nSec-WebSocket-Extensions: {coded(credential)}=\r\n\r\n".encode(),
            UPGRADE.replace(b"dGhl", coded(credential).encode()) + b"\r\n",
            UPGRADE + f"{protocol}\r\n\r\n".encode() + frame(TEXT, renewal),
        ):
            with connected(url, first + frame(CLOSE, b"\x03\xe8")) as connection:
                connection.settimeout(10)
                answers.append(everything(connection).decode("latin-1"))
    return answers


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
            altered = token[:-1] + ("B" if token[-1] == "A" else "A")
            assert shown("GET", f"{path}?token={altered}", "").status_code == 401
            assert shown("GET", f"{path}?token={good}", "").status_code == 401
            for route in ("scans", "strategies", "market", f"explain/{ack['scan_id']}"):
                assert shown("GET", f"/opportunities/{route}?token={token}", "").status_code == 401
            for name in ("wait", "limit"):
                assert shown("GET", f"/opportunities/results/latest?{name}={good}", good).status_code == 422
            twice = [{"scan_id": f"{'x' * 50} {good}"}] * 2  # what is told of it ends within
            assert shown("POST", "/opportunities/follow", good, json={"follow": twice}).status_code == 422
            assert shown.host(f"{'x' * 60} {good}") == 400
            shown.answers += shown_on_sockets(server.url, good, token)
            assert shown("GET", "/metrics", good).status_code == 200
            assert run("key", "revoke", "revoked", "--keys", str(keys)).returncode == 0
            until(lambda: shown.status(revoked) == 401)
            (tmp_path / "secret").write_text("x" * 40)
            until(lambda: shown.status(vouched) == 401)
            assert shown.status(good) == 200
            keys.write_text("noise")
            server.until_said(f"--keys {keys}: this is no TOML: ")
            assert shown.status(good) == 200
    finally:
        _, _, errors = server.ended()
    assert "a JWT was refused: its exp is over" in errors
    assert f"--keys {keys}: read again, as it has changed" in errors
    assert f"--keys {keys}: this is no TOML: " in errors
    everything = "\n".join((errors, *shown.answers))
    for credential in (good, revoked, made_up, token):
        assert credential[4:20] not in everything
        assert coded(credential)[8:40] not in everything
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


def test_of_who_is_told_of_ends_no_more_than_the_host_is_shown(tmp_path: Path) -> None:
    """Paths and queries of addresses may be secrets, and what messages are signed with is one; whatever goes wrong."""
    said: list[str] = []
    with receiving_there() as (port, got):
        prefix = f"http://127.0.0.1:{port}/s3cret-prefix"
        settings = (
            "--notify",
            prefix,
            "--notify",
            "https://nobody.invalid/s3cret-prefix",
            "--notify-private",
            "127.0.0.1",
        )
        server = ServerProcess(tmp_path / "data", "--workers", "1", *settings, before=TOLD)
        try:
            server.until_serving()
            with httpx.Client(base_url=server.url, timeout=30) as client:
                scan_id = client.post("/opportunities/discover", json=REQUEST).json()["scan_id"]
                secrets_told = [
                    client.post(f"/opportunities/notify/{scan_id}", json={"url": url}).json()["signing_secret"]
                    for url in (f"{prefix}/s3cret?s3cret", "https://nobody.invalid/s3cret-prefix/s3cret?s3cret")
                ]
                for wrong in (
                    "https://evil.example/s3cret",
                    f"{prefix}/../s3cret",
                    "s3cret",
                    "https://s3cret@a.example/",
                ):
                    said.append(client.post(f"/opportunities/notify/{scan_id}", json={"url": wrong}).text)
                until(lambda: len(got) >= 6)
                for path in (f"/opportunities/explain/{scan_id}", f"/opportunities/status/{scan_id}", "/metrics"):
                    said.append(client.get(path).text)
                until(lambda: 'scanstream_deliveries_total{outcome="expired"} 2.0' in client.get("/metrics").text)
        finally:
            _, _, errors = server.ended()
    assert set(got) == {301, 0, 1, 500}
    assert "127.0.0.1 is not told of the end: it answers 301" in errors
    assert "nobody.invalid is not told of the end: there was no connection to it" in errors
    assert "given up" in errors
    everything = "\n".join((errors, *said))
    assert "notify_asked" in everything
    assert "s3cret" not in everything
    for secret in secrets_told:
        assert secret[6:20] not in everything


TOLD = f"""{ALL_IS_LOGGED}
from scanstream.notify import courier
courier.pause_after = lambda number, asked: 0.05 if number < 6 else 1e9
"""
"""What the server runs: an attempt that fails is made again soon, and given up after six."""


class Refusing(BaseHTTPRequestHandler):
    """Takes what it is told, and likes none of it."""

    def do_POST(self) -> None:
        """Redirects, closes, answers nonsense, refuses."""
        number = len(self.server.got)  # type: ignore[attr-defined]
        self.server.got.append((301, 0, 1, 500)[number % 4])  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers["content-length"]))
        if number % 4 == 0:
            self.send_response(301)
            self.send_header("Location", "http://127.0.0.1:1/s3cret")
            self.end_headers()
        elif number % 4 == 2:
            self.wfile.write(b"s3cret\r\n\r\n")
        elif number % 4 == 3:
            self.send_error(500, "s3cret", "s3cret")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def receiving_there() -> Iterator[tuple[int, list[int]]]:
    """Somebody who is told, on a port; and what each attempt was answered."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        server.got = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, server.got  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()

"""The credential of a command: shown to the server on every way, and never in what is printed."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.programs import QUICK, run
from support.guards import key_in
from support.process import server_process

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.toml"


@pytest.fixture(scope="module")
def key(keys: Path) -> str:
    return key_in(keys, "ann")


@pytest.fixture(scope="module")
def url(keys: Path, key: str) -> Iterator[str]:
    assert key
    with server_process(":memory:", "--auth", "required", "--keys", str(keys)) as server:
        yield server.url


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, key: str) -> str:
    """In the environment."""
    monkeypatch.setenv("SCANSTREAM_TOKEN", key)
    return key


def told(shown: subprocess.CompletedProcess[str]) -> str:
    return shown.stdout + shown.stderr


def test_every_command_shows_it(url: str, known: str) -> None:
    scan_id = run("discover", "--url", url, "--detach", *QUICK).stdout.strip()
    assert scan_id.startswith("scan_")
    for words in (
        ("watch", scan_id),
        ("watch", scan_id, "--json"),
        ("status", "latest"),
        ("results", scan_id),
        ("cancel", scan_id),
        ("strategies",),
        ("discover", "--force-refresh", *QUICK),
    ):
        shown = run(*words, "--url", url)
        assert (shown.returncode, shown.stderr) == (0, ""), words
        assert known not in told(shown)


def test_who_shows_none_is_told_how(url: str) -> None:
    assert "SCANSTREAM_TOKEN" not in os.environ
    for words in (("strategies",), ("watch", "latest"), ("discover",), ("status", "scan_1")):
        shown = run(*words, "--url", url)
        assert (shown.returncode, shown.stdout) == (2, ""), words
        assert "SCANSTREAM_TOKEN" in shown.stderr
        assert "Traceback" not in shown.stderr


def test_a_flag_is_in_sight(url: str, key: str) -> None:
    shown = run("strategies", "--url", url, "--token", key)
    assert (shown.returncode, "tsmom" in shown.stdout) == (0, True)
    assert "list of processes" in shown.stderr
    assert key not in told(shown)


@pytest.mark.parametrize("text", ["two words", "schlüssel", "a\nb", "Bearer abc", "ssk_öäü"])
def test_what_is_none_is_not_told(url: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCANSTREAM_TOKEN", text)
    shown = run("strategies", "--url", url)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "SCANSTREAM_TOKEN" in shown.stderr
    assert text not in shown.stderr


def test_an_empty_one_is_none_and_blanks_around_it_are_nothing(
    url: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCANSTREAM_TOKEN", f" {key}\n")
    assert run("strategies", "--url", url).returncode == 0
    monkeypatch.setenv("SCANSTREAM_TOKEN", "")
    assert run("strategies", "--url", url).returncode == 2

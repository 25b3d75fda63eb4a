"""The guard that the settings ask for, over real files that change under it."""

import logging
import os
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from scanstream.errors import SettingError, Unauthorized
from scanstream.model import Principal, now
from scanstream.security import opening
from scanstream.security.caller import Right
from scanstream.security.guard import Guard, Open
from scanstream.security.keychanges import create_key, revoke_key
from scanstream.security.keyfile import MOST_BYTES
from scanstream.security.opening import open_guard
from scanstream.settings import Settings
from support.until import until

pytestmark = pytest.mark.anyio

STORE_KEY = secrets.token_bytes(32)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "LOOK_SECONDS", 0.01)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def create(keys: Path, name: str, expires: int | None = None) -> str:
    return create_key(
        keys,
        name=name,
        principal=Principal("ann"),
        rights=frozenset({Right.SCAN}),
        created=now(),
        expires=expires,
    )


@asynccontextmanager
async def opened(keys: Path) -> AsyncIterator[Guard]:
    async with open_guard(Settings(auth="required", keys=str(keys)), STORE_KEY) as guard:
        yield guard


def is_let_in(guard: Guard, key: str) -> bool:
    return guard.known(key) is not None


async def test_without_authentication_the_door_is_open() -> None:
    async with open_guard(Settings(), STORE_KEY) as guard:
        assert isinstance(guard, Open)


async def test_keys_come_and_go_while_it_is_open(keys: Path) -> None:
    first = create(keys, "first")
    async with opened(keys) as guard:
        caller = await guard.caller(first)
        second = create(keys, "second")
        await until(lambda: is_let_in(guard, second))
        assert guard.good(caller)
        revoke_key(keys, "first")
        await until(lambda: not is_let_in(guard, first))
        assert not guard.good(caller)
        assert is_let_in(guard, second)
        with pytest.raises(Unauthorized):
            await guard.caller(first)


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def into_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def into_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def mended(path: Path, content: bytes) -> None:
    if path.is_dir():
        path.rmdir()
    beside = path.with_name("mended")
    beside.write_bytes(content)
    beside.replace(path)


BROKEN: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut off": cut_off,
    "a directory": into_a_directory,
    "a pipe": into_a_pipe,
    "huge": lambda path: path.write_bytes(b"#" * (MOST_BYTES + 1)),
    "noise": lambda path: path.write_bytes(secrets.token_bytes(1000)),
}


@pytest.mark.parametrize("harm", BROKEN)
async def test_a_file_that_breaks_lets_in_and_throws_out_nobody(
    keys: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = create(keys, "first")
    before = content_of(keys)
    async with opened(keys) as guard:
        caller = await guard.caller(key)
        BROKEN[harm](keys)
        await until(lambda: "what was read before goes on" in caplog.text)
        assert guard.good(caller)
        assert is_let_in(guard, key)
        with pytest.raises(Unauthorized):
            await guard.caller("ssk_" + "A" * 43)
        assert [record.levelno for record in caplog.records] == [logging.ERROR], "told once, and not each second"
        mended(keys, before)
        other = create(keys, "other")
        await until(lambda: is_let_in(guard, other))
        assert f"--keys {keys}: it can be read again" in caplog.text
    assert key not in caplog.text


@pytest.mark.parametrize("harm", BROKEN)
async def test_one_that_is_broken_at_the_start_is_refused(keys: Path, harm: str) -> None:
    create(keys, "first")
    settings = Settings(auth="required", keys=str(keys))
    BROKEN[harm](keys)
    with pytest.raises(SettingError, match=f"--keys {keys}: "):
        Settings(auth="required", keys=str(keys))
    with pytest.raises(SettingError, match=f"--keys {keys}: "):
        async with open_guard(settings, STORE_KEY):
            pytest.fail("it was opened")


async def test_who_else_may_read_or_write_it_is_said(keys: Path, caplog: pytest.LogCaptureFixture) -> None:
    create(keys, "first")
    async with opened(keys):
        assert caplog.text == ""
    os.chmod(keys, 0o666)  # noqa: PTH101, S103  # that is what is said
    async with opened(keys):
        assert f"may write it, and so let in whom they like; end that with: chmod go-w {keys}" in caplog.text


async def test_it_is_closed_though_a_look_at_the_file_takes_for_ever(
    keys: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """As on a network's disk that does not answer."""
    create(keys, "first")
    looks, released = threading.Event(), threading.Event()
    request.addfinalizer(released.set)

    def newer(_: object) -> None:
        looks.set()
        released.wait(30)

    monkeypatch.setattr("scanstream.security.watched.Watched.newer", newer)
    with anyio.fail_after(10):
        async with opened(keys):
            await until(looks.is_set)


async def test_a_machine_without_threads_keeps_what_was_read(
    keys: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = create(keys, "first")
    async with opened(keys) as guard:
        with monkeypatch.context() as lacking:

            async def no_thread(*_: object, **__: object) -> None:
                raise RuntimeError("can't start new thread")

            lacking.setattr("scanstream.security.opening.to_thread.run_sync", no_thread)
            await until(lambda: "can't start new thread; what was read before goes on" in caplog.text)
        assert is_let_in(guard, key)
        other = create(keys, "other")
        await until(lambda: is_let_in(guard, other))

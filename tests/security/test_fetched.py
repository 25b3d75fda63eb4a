"""Keys that are published: fetched, kept, fetched again; from a real server that is slow, broken, huge, or gone."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from scanstream.errors import Overloaded, Unauthorized
from scanstream.model import now
from scanstream.security import fetched
from scanstream.security.guard import Guard
from scanstream.security.opening import open_guard
from scanstream.settings import Settings
from support.identity import Publisher, by_key, by_secret, claims, jwk, publisher
from support.until import until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("LEAST_SECONDS", 0.0), ("RETRY_SECONDS", 0.01), ("LONGEST_RETRY_SECONDS", 0.01)):
        monkeypatch.setattr(fetched, name, seconds)


@asynccontextmanager
async def guarding(identity: Publisher) -> AsyncIterator[Guard]:
    async with open_guard(Settings(auth="required", jwt_keys=identity.url), b"x" * 32) as guard:
        yield guard


def token(kind: str = "P-256", kid: str = "one") -> str:
    algorithm = "ES256" if kind == "P-256" else "EdDSA"
    at = now() // 1000
    return by_key(kind, algorithm, claims(exp=at + 600, iat=at), kid=kid)


async def is_let_in(guard: Guard, credential: str) -> bool:
    try:
        return bool(await guard.caller(credential))
    except Unauthorized:
        return False


async def eventually(guard: Guard, credential: str) -> None:
    """Keys that nobody can have now come later."""
    with anyio.fail_after(20):
        while True:
            try:
                assert (await guard.caller(credential)).principal == "ann"
            except Overloaded:
                await anyio.sleep(0.01)
            else:
                return


async def test_a_key_that_is_published_is_trusted_and_one_that_is_new_is_fetched() -> None:
    async with publisher() as identity:
        identity.publishes(jwk("P-256", kid="one"))
        async with guarding(identity) as guard:
            await eventually(guard, token())
            assert guard.known(token()) is None, "each JWT is verified once"
            shown = token()
            caller = await guard.caller(shown)
            assert guard.known(shown) is caller
            identity.publishes(jwk("P-256", kid="one"), jwk("Ed25519", kid="two"))
            assert (await guard.caller(token("Ed25519", "two"))).principal == "ann"
            assert guard.good(caller)


async def test_one_that_is_published_no_more_is_trusted_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetched, "REFRESH_SECONDS", 0.05)
    async with publisher() as identity:
        identity.publishes(jwk("P-256", kid="one"))
        async with guarding(identity) as guard:
            await eventually(guard, shown := token())
            caller = await guard.caller(shown)
            identity.publishes(jwk("Ed25519", kid="two"))
            await until(lambda: not guard.good(caller))
            assert guard.known(shown) is None
            assert not await is_let_in(guard, shown)


TROUBLE = {
    "an error": (b"HTTP/1.1 500 Oops\r\nconnection: close\r\n", b"{}", "it answers 500"),
    "another place": (
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\nconnection: close\r\n",
        b"",
        "it answers 302",
    ),
    "no HTTP": (b"hello", b"", "it cannot be had"),
    "nothing": (b"", b"", "it cannot be had"),
    "a page": (b"HTTP/1.1 200 OK\r\nconnection: close\r\n", b"<html>", "it is no JSON object"),
    "no keys": (b"HTTP/1.1 200 OK\r\nconnection: close\r\n", b'{"keys": []}', "no key in it can be used"),
    "half of it": (b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n", b'{"keys"', "it cannot be had"),
    "more than any": (b"HTTP/1.1 200 OK\r\nconnection: close\r\n", b" " * 400_000, "it is longer than 262144 bytes"),
    "a bomb": (
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n",
        b"\x1f\x8b\x08" + b"\0" * 500,
        "it is no JSON object",
    ),
}


@pytest.mark.parametrize(("head", "answer", "says"), TROUBLE.values(), ids=TROUBLE.keys())
async def test_while_it_cannot_be_had_known_keys_go_on_and_nobody_else_is_judged(
    head: bytes, answer: bytes, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with publisher() as identity:
        identity.publishes(jwk("P-256", kid="one"))
        well, good = identity.head, identity.answer
        async with guarding(identity) as guard:
            await eventually(guard, shown := token())
            caller = await guard.caller(shown)
            identity.head, identity.answer = head, answer
            for kid in ("two", "three"):
                with pytest.raises(Overloaded) as caught:
                    await guard.caller(token(kid=kid))
                assert caught.value.retry_after
            assert guard.good(caller)
            assert await is_let_in(guard, token())
            assert f"--jwt-keys {identity.url}: {says}" in caplog.text
            identity.head, identity.answer = well, good
            with anyio.fail_after(20):
                while True:
                    try:
                        assert not await is_let_in(guard, token(kid="two"))
                    except Overloaded:
                        await anyio.sleep(0.01)
                    else:
                        break
            assert f"--jwt-keys {identity.url}: it can be had again" in caplog.text


async def test_before_it_was_had_once_nobody_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    async with publisher() as identity:
        identity.head = b""
        async with guarding(identity) as guard:
            with pytest.raises(Overloaded):
                await guard.caller(token())
            assert not await is_let_in(guard, "ssk_" + "A" * 43), "what is no JWT is judged all the same"
            assert not await is_let_in(guard, "a.b.c")
            assert not await is_let_in(guard, by_secret()), "nor by a kind of key that is not asked for there"


async def test_one_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(fetched, "FETCH_SECONDS", 0.2)
    async with publisher() as identity:
        identity.gate = anyio.Event()
        async with guarding(identity) as guard:
            with pytest.raises(Overloaded):
                await guard.caller(token())
            await until(lambda: "no answer within 0.2 s" in caplog.text or "it cannot be had" in caplog.text)


async def test_a_flood_of_keys_that_nobody_has_is_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetched, "LEAST_SECONDS", 600.0)
    async with publisher() as identity:
        identity.publishes(jwk("P-256", kid="one"))
        async with guarding(identity) as guard:
            await eventually(guard, token())
            for number in range(200):
                assert not await is_let_in(guard, token(kid=f"made-up-{number}"))
            assert identity.asked == 1


async def test_who_waits_is_bounded_and_all_are_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetched, "MOST_WAITING", 5)
    results: list[str] = []

    async def ask(guard: Guard, kid: str) -> None:
        try:
            results.append("in" if await is_let_in(guard, token(kid=kid)) else "out")
        except Overloaded:
            results.append("busy")

    async with publisher() as identity:
        identity.publishes(jwk("P-256", kid="one"))
        async with guarding(identity) as guard:
            await eventually(guard, token())
            monkeypatch.setattr(fetched, "LEAST_SECONDS", 0.0)
            asked, identity.gate = identity.asked, anyio.Event()
            async with anyio.create_task_group() as tasks:
                for number in range(8):
                    tasks.start_soon(ask, guard, f"made-up-{number}")
                await until(lambda: len(results) == 3)
                assert results == ["busy"] * 3
                identity.gate.set()
            assert results == ["busy"] * 3 + ["out"] * 5
            assert identity.asked <= asked + 2


async def test_what_may_be_secret_in_its_address_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async with publisher() as identity:
        identity.publishes(jwk("P-256", kid="one"))
        head, identity.head = identity.head, b""
        identity.url += "?s3cret=1"
        with caplog.at_level(logging.DEBUG):
            async with guarding(identity):
                await until(lambda: "it cannot be had" in caplog.text)
                identity.head = head
                await until(lambda: "it can be had again" in caplog.text)
        assert "s3cret" not in caplog.text
        assert "s3cret" not in repr(Settings(auth="required", jwt_keys=identity.url))


async def test_the_way_is_the_one_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    async with publisher() as identity:
        identity.publishes(jwk("P-256", kid="one"))
        monkeypatch.setenv("HTTP_PROXY", identity.url.removesuffix("/jwks").removesuffix("/"))
        monkeypatch.setenv("NO_PROXY", "")
        identity.url = "http://keys.internal/jwks"
        async with guarding(identity) as guard:
            await eventually(guard, token())


async def test_a_proxy_for_others_that_cannot_be_used_is_nothing_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "foo://proxy.example.org")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with publisher() as identity:
        identity.publishes(jwk("P-256", kid="one"))
        async with guarding(identity) as guard:
            await eventually(guard, token())

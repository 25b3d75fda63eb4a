"""The guard where a credential is asked for: who is let in, until when, and what others are told."""

import secrets
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanstream.errors import Unauthorized
from scanstream.model import Principal, ScanId
from scanstream.scans.identity import new_scan_id
from scanstream.security import required
from scanstream.security.apikey import digest_of, new_key
from scanstream.security.caller import Caller, Right, Ticket
from scanstream.security.guard import Guard
from scanstream.security.keyfile import Entry
from scanstream.security.required import LONGEST_CREDENTIAL, REFUSAL, Required

pytestmark = pytest.mark.anyio

STORE_KEY = secrets.token_bytes(32)
ANN = Principal("ann")
SCAN = new_scan_id(STORE_KEY, ANN, 1_800_000_000_000)
START = 1_800_000_000_000


class Clock:
    """The wall clock, set by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(clock: Clock) -> Required:
    return Required(STORE_KEY, clock=clock)


def entry(key: str, name: str = "one", *, expires: int | None = None, rights: frozenset[Right] | None = None) -> Entry:
    given = frozenset({Right.SCAN}) if rights is None else rights
    return Entry(name=name, principal=ANN, rights=given, created=START, expires=expires, digest=digest_of(key))


async def refused(guard: Guard, credential: str | None) -> Unauthorized:
    assert guard.known(credential) is None
    with pytest.raises(Unauthorized) as caught:
        await guard.caller(credential)
    return caught.value


async def test_a_key_of_the_file_is_its_principal(guard: Required) -> None:
    key = new_key()
    guard.take_keys([entry(key)])

    caller = await guard.caller(key)

    assert (caller.principal, caller.rights, caller.expires_at) == (ANN, frozenset({Right.SCAN}), None)
    assert caller.starts() == ANN
    assert guard.known(key) is caller
    assert guard.good(caller)
    assert key.removeprefix("ssk_") not in repr(caller)


async def test_it_ends_at_its_end_and_not_a_millisecond_before(guard: Required, clock: Clock) -> None:
    key = new_key()
    guard.take_keys([entry(key, expires=START + 1000)])
    caller = await guard.caller(key)
    clock.now += 999
    assert guard.good(caller)
    assert guard.known(key) is caller
    clock.now += 1
    assert not guard.good(caller)
    await refused(guard, key)


async def test_a_clock_that_jumps_ends_what_is_over_then_and_nothing_else(guard: Required, clock: Clock) -> None:
    for_ever, shortly = new_key(), new_key()
    guard.take_keys([entry(for_ever), entry(shortly, "two", expires=START + 60_000)])
    token = guard.ticket(SCAN, {Right.READ}, START + 60_000)
    callers = {credential: await guard.caller(credential) for credential in (for_ever, shortly, token)}
    for jump, good in ((10**12, {for_ever}), (-(10**12), {for_ever, shortly, token}), (0, {for_ever, shortly, token})):
        clock.now = START + jump
        assert {credential for credential, caller in callers.items() if guard.good(caller)} == good
        assert {credential for credential in callers if guard.known(credential)} == good


async def test_a_revoked_key_is_over_at_once_for_who_is_connected_too(guard: Required) -> None:
    kept, revoked = new_key(), new_key()
    guard.take_keys([entry(kept), entry(revoked, "two")])
    callers = [await guard.caller(kept), await guard.caller(revoked)]

    guard.take_keys([entry(kept)])

    assert [guard.good(caller) for caller in callers] == [True, False]
    assert guard.known(kept) == callers[0]
    await refused(guard, revoked)


@pytest.mark.parametrize("change", [{"principal": Principal("bob")}, {"rights": frozenset({Right.OPERATE})}])
async def test_a_key_that_was_changed_in_the_file_is_another(guard: Required, change: dict[str, object]) -> None:
    key = new_key()
    guard.take_keys([before := entry(key)])
    caller = await guard.caller(key)
    guard.take_keys([replace(before, name="renamed")])
    assert guard.good(caller), "its name is for the file only"
    guard.take_keys([replace(before, **change)])  # type: ignore[arg-type]
    assert not guard.good(caller)
    assert guard.good(await guard.caller(key))


async def test_two_keys_of_one_principal_are_one_principal(guard: Required) -> None:
    keys = [new_key(), new_key()]
    guard.take_keys([entry(keys[0]), entry(keys[1], "two", rights=frozenset({Right.OPERATE}))])
    callers = [await guard.caller(key) for key in keys]
    assert [caller.principal for caller in callers] == [ANN, ANN]
    assert [caller.rights for caller in callers] == [{Right.SCAN}, {Right.OPERATE}]
    guard.take_keys([entry(keys[1], "two")])
    assert [guard.good(caller) for caller in callers] == [False, False]


async def test_a_token_opens_its_scan_until_its_end(guard: Required, clock: Clock) -> None:
    token = guard.ticket(SCAN, {Right.READ}, START + 1000)
    caller = await guard.caller(token)

    assert (caller.principal, caller.scan_id, caller.expires_at) == (None, SCAN, START + 1000)
    assert caller.reads(SCAN) == Ticket(SCAN)
    assert guard.known(token) is caller
    guard.forget()
    assert guard.good(caller)
    assert await guard.caller(token) == caller
    clock.now += 1000
    assert not guard.good(caller)
    await refused(guard, token)


async def test_what_was_made_up_is_not_good(guard: Required) -> None:
    """A caller that no guard has made, or another guard has."""
    stranger = Required(secrets.token_bytes(32))
    key = new_key()
    stranger.take_keys([entry(key)])
    assert not guard.good(await stranger.caller(key))
    assert not guard.good(Caller(ANN, frozenset({Right.SCAN})))
    assert not guard.good(Caller(ANN, frozenset({Right.SCAN}), credential=b"j" + b"x" * 48))


NONE_AT_ALL = [None, "", " ", "Bearer", "ssk_", "sst_", "x", "ssk_" + "A" * 43, "sst_" + "A" * 60, "a.b.c", "\0", "é"]


async def test_every_refusal_is_the_same(guard: Required, clock: Clock) -> None:
    key, over, revoked = new_key(), new_key(), new_key()
    guard.take_keys([entry(key), entry(revoked, "two"), entry(over, "three", expires=START)])
    guard.take_keys([entry(key), entry(over, "three", expires=START)])
    foreign = Required(secrets.token_bytes(32)).ticket(SCAN, {Right.READ}, None)
    ended = guard.ticket(SCAN, {Right.READ}, START)
    long = "ssk_" + "A" * LONGEST_CREDENTIAL
    lone = "ssk_\ud800"
    changed = [key[:-1], key + "A", key.upper(), f" {key}", f"{key}\n", digest_of(key).hex(), f"Bearer {key}"]
    refusals = [
        await refused(guard, shown) for shown in (*NONE_AT_ALL, over, revoked, foreign, ended, long, lone, *changed)
    ]
    assert {(error.code, error.detail, error.retry_after, error.errors, error.scan_id) for error in refusals} == {
        ("unauthorized", REFUSAL, None, (), "")
    }


@settings(max_examples=60)
@given(st.text(max_size=300) | st.text(max_size=100).map("ssk_".__add__) | st.text(max_size=100).map("sst_".__add__))
async def test_whatever_is_shown_it_is_refused(shown: str) -> None:
    guard = Required(STORE_KEY)
    guard.take_keys([entry(new_key())])
    await refused(guard, shown)


async def test_what_is_too_long_is_not_looked_at(guard: Required, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr(required, "digest_of", looked.append)
    await refused(guard, "sst_" + "A" * 1_000_000)
    assert looked == []


async def test_what_is_known_again_is_bounded(guard: Required, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(required, "MOST_KNOWN", 3)
    tokens = [guard.ticket(SCAN, {Right.READ}, START + end) for end in range(1, 6)]
    callers = [await guard.caller(token) for token in tokens]
    assert [guard.known(token) is not None for token in tokens] == [False, False, True, True, True]
    assert all(guard.good(caller) for caller in callers)
    assert await guard.caller(tokens[0]) == callers[0]
    for number in range(20):
        with pytest.raises(Unauthorized):
            await guard.caller(f"sst_{number}")
    assert guard.known(tokens[0]) == callers[0], "what is not good takes no room"


async def test_no_token_is_made_for_what_is_no_scan(guard: Required) -> None:
    with pytest.raises(ValueError, match="one scan"):
        guard.ticket(ScanId("latest"), {Right.READ}, None)

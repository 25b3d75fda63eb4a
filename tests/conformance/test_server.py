"""`scanstream conformance URL`: green on the real server, red on every server that breaks a promise on purpose."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from conformance.judged import APART, CALLERS, SECONDS, SLOW, judged, scripted, told
from conformance.mutants import all_mutants
from conformance.mutating import Mutated, Mutation, mutated_server
from docs.pages import code, table
from scanstream.app import Scanstream
from scanstream.conformance.judging import BROKEN, HOLDS, NOT_TRIED, Verdict
from scanstream.conformance.promise import CHECKS
from scanstream.server import serving
from scanstream.settings import Settings
from support.guards import key_in
from support.hosting import hosted

pytestmark = pytest.mark.anyio

MUTANTS = all_mutants()
NO_MUTANT = {
    "silent": "below ASGI: test_time.py has servers with other settings",
    "too-large": "below ASGI: test_time.py has a server with another setting",
    "restart": "test_time.py has servers that are killed, and one that forgets",
    "crash": "likewise",
    "large-heads": "bytes are bounded below ASGI: tests/wire/test_limits.py has a server without these bounds",
    "wrong-frames": "a codec that forgives is below what is mutated here",
    "heartbeat": "a comment that does not come is 15 s of waiting",
}
"""Checks that no mutant is for, and why."""
QUICK = [
    "answers-at-once",
    "ack-first",
    "lawful",
    "one-state",
    "status-agrees",
    "resume",
    "switch",
    "foreign-cursor",
    "one-end",
    "nothing-left",
    "results-at-the-end",
    "cancel",
    "not-found",
    "etag",
    "idempotency",
    "unknown-fields",
    "follow-many",
    "foreign-pages",
    "foreign-hosts",
]
"""What is asked with every run of the tests; the others with `make clients`."""
FEW = {
    "status: an ack before the scan is registered",
    "a frame before its ack",
    "a lost update",
    "another message over MessagePack",
    "follow: an opportunity comes again after a cut",
    "an end that comes twice",
    "a 404 after complete",
    "a 410 for what never existed",
}
"""A mutant for each promise of section 1, likewise."""
SHORT_SECONDS = 3.0
"""For servers that are silent where they should speak."""
SILENT = {
    "no end at all",
    "a subscription to an end that says nothing",
    "a cancel on a socket that is not acknowledged",
    "a cancel that does nothing",
    "an unsubscribe that is one from all scans",
}
SHORT = scripted(shards=8, found=2, pause=0.03)
LASTING = scripted(shards=8, found=2, pause=1.0)
"""Longer than a link that was shared, and than what was opened with it may outlive it."""


def often(names: set[str], of: list[str]) -> list[Any]:
    """These with every run of the tests, the others with `make clients`."""
    return [pytest.param(name, marks=() if name in names else pytest.mark.clients) for name in of]


def assert_kept(verdicts: list[Verdict]) -> None:
    """Each of them has been tried, and holds."""
    others = [verdict for verdict in verdicts if verdict.outcome != HOLDS]
    assert not others, told(*others)


def two_callers(directory: Path) -> tuple[dict[str, Any], tuple[str, str]]:
    """The settings of a server that asks who is there, and the keys of two principals."""
    keys = directory / "keys.toml"
    tokens = key_in(keys, "ann"), key_in(keys, "ben")
    return {"auth": "required", "keys": str(keys), "max_discovers": 10_000}, tokens


async def test_the_server_keeps_its_promises() -> None:
    async with serving(Settings(port=0, data=":memory:", workers=1, worker_priority="low")) as url:
        verdicts = await judged(url, *QUICK, long=SHORT)
    assert_kept(verdicts)
    assert [verdict.check.name for verdict in verdicts] == QUICK


@pytest.mark.clients
@pytest.mark.timeout(500)
@pytest.mark.parametrize("asks", [False, True], ids=["asks nobody", "asks who is there"])
async def test_the_server_keeps_all_of_its_promises(asks: bool, tmp_path: Path) -> None:
    settings, tokens = two_callers(tmp_path) if asks else ({}, (None, None))
    wanted = CHECKS.keys() - SLOW - ({"foreign-hosts"} if asks else CALLERS)
    async with serving(
        Settings(**{"port": 0, "data": str(tmp_path), "workers": 1, "worker_priority": "low", **settings})
    ) as url:
        verdicts = await judged(url, *wanted, seed=1 + asks, tokens=tokens)
    assert_kept(verdicts)
    assert {verdict.check.name for verdict in verdicts} == wanted


@pytest.mark.clients
@pytest.mark.timeout(500)
async def test_the_plain_outlet_keeps_all_of_its_promises() -> None:
    """In an application of somebody's own, behind an ordinary uvicorn: nothing is answered at a glance."""
    ours = {"large-heads", "too-large"}  # bounds of our transports; those of somebody else's server are its own
    async with hosted(Scanstream(data=":memory:", workers=1, worker_priority="low")) as url:
        verdicts = await judged(url, *(CHECKS.keys() - APART - ours))
    assert_kept(verdicts)


@pytest.mark.clients
async def test_a_stream_that_is_still_is_kept_awake() -> None:
    async with serving(Settings(port=0, data=":memory:", workers=1, worker_priority="low")) as url:
        assert_kept(await judged(url, "heartbeat", long=scripted(shards=1, pause=12.0)))


async def test_callers_are_kept_apart(tmp_path: Path) -> None:
    settings, tokens = two_callers(tmp_path)
    async with serving(
        Settings(**{"port": 0, "data": ":memory:", "workers": 1, "worker_priority": "low", **settings})
    ) as url:
        verdicts = await judged(url, *CALLERS, "not-found", "foreign-pages", tokens=tokens, long=SHORT)
        [alone] = await judged(url, "not-yours", tokens=(tokens[0], None))
    assert_kept(verdicts)
    assert (alone.outcome, "--other-token" in alone.seen) == (NOT_TRIED, True)


@pytest.fixture(scope="module")
async def apart(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, Mutated, tuple[str, str]]]:
    """One server that asks who is there, for all mutants of that."""
    settings, tokens = two_callers(tmp_path_factory.mktemp("keys"))
    with pytest.MonkeyPatch.context() as patches:
        async with mutated_server(patches, **settings) as (url, server):
            yield url, server, tokens


@pytest.mark.usefixtures("breaking")
@pytest.mark.parametrize("wrong", [name for name, one in MUTANTS.items() if one.check in CALLERS])
async def test_callers_that_are_not_kept_apart_are_found_out(
    apart: tuple[str, Mutated, tuple[str, str]], wrong: str
) -> None:
    url, server, tokens = apart
    check, make = MUTANTS[wrong]
    server.mutation = make()
    try:
        [verdict] = await judged(url, check, tokens=tokens, long=LASTING if check == "share" else SHORT)
    finally:
        server.mutation = Mutation()
    assert verdict.outcome == BROKEN, told(verdict)
    assert not verdict.expected.startswith("this within"), told(verdict)
    assert not any(token in line for token in tokens for line in verdict.trace)


@pytest.fixture(scope="module")
async def mutated() -> AsyncIterator[tuple[str, Mutated]]:
    """One server for all mutants."""
    with pytest.MonkeyPatch.context() as patches:
        async with mutated_server(patches) as server:
            yield server


@pytest.mark.parametrize("wrong", often(FEW, [name for name, one in MUTANTS.items() if one.check not in APART]))
async def test_a_broken_promise_is_found_by_its_check(mutated: tuple[str, Mutated], wrong: str) -> None:
    url, server = mutated
    check, make = MUTANTS[wrong]
    server.mutation = make()
    try:
        [verdict] = await judged(url, check, seconds=SHORT_SECONDS if wrong in SILENT else SECONDS)
    finally:
        server.mutation = Mutation()
    assert verdict.outcome == BROKEN, told(verdict)
    assert verdict.expected.startswith("this within") <= (wrong in SILENT), told(verdict)


@pytest.mark.clients
@pytest.mark.usefixtures("breaking")
async def test_an_expired_scan_is_told_from_one_that_never_was() -> None:
    with pytest.MonkeyPatch.context() as patches:
        async with mutated_server(patches, retention=3.0, fresh=0.0) as (url, server):  # its end is to be seen before
            [held] = await judged(url, "expired")
            server.mutation = MUTANTS["a 404 for what has expired"].make()
            [broken] = await judged(url, "expired")
    assert held.outcome == HOLDS, told(held)
    assert broken.outcome == BROKEN, told(broken)


def test_each_check_has_a_mutant() -> None:
    assert {mutant.check for mutant in MUTANTS.values()} | NO_MUTANT.keys() == CHECKS.keys()
    assert {*QUICK} <= CHECKS.keys()
    assert MUTANTS.keys() >= FEW | SILENT


def test_the_page_tells_every_check() -> None:
    told = {code(row["Check"])[0]: (row["Section"], row["Promise"]) for row in table("conformance.md", "Check")}

    expected = {
        name: (check.section, check.promise + (" (slow)" if check.slow else "")) for name, check in CHECKS.items()
    }
    assert told == expected

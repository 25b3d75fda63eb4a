"""Callers: under whom a scan is looked for, for each credential and each question."""

import uuid
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from scanstream.engines.sqlite import open_store
from scanstream.errors import Forbidden, NotFound
from scanstream.log.hub import Hub
from scanstream.model import ANYONE, Principal, ScanId
from scanstream.scans.archive import Archive
from scanstream.scans.identity import new_scan_id
from scanstream.security.caller import EVERYBODY, LATEST, NOBODY, Caller, Right, Ticket
from scanstream.security.names import principal_of
from scanstream.security.seats import payer

ANN = Principal("ann")
SCAN = ScanId(f"scan_{uuid.uuid4().hex}{'0' * 10}")
OTHER = ScanId(f"scan_{uuid.uuid4().hex}{'0' * 10}")


def bearer(*rights: Right) -> Caller:
    """Of a token for `SCAN`."""
    return Caller(None, frozenset(rights), scan_id=SCAN)


def test_a_principal_looks_under_their_own_name_for_whatever_it_is() -> None:
    ann = Caller(ANN, frozenset({Right.SCAN}))
    assert {ann.starts(), ann.reads(SCAN), ann.cancels(OTHER), ann.reads(LATEST)} == {ANN}
    with pytest.raises(Forbidden, match="operate"):
        ann.operates()


def test_one_who_may_only_operate_sees_no_scan() -> None:
    operator = Caller(ANN, frozenset({Right.OPERATE}))
    operator.operates()
    asked: list[Callable[[], object]] = [
        operator.starts,
        partial(operator.reads, SCAN),
        partial(operator.cancels, SCAN),
    ]
    for asks in asked:
        with pytest.raises(Forbidden, match="lacks the right scan"):
            asks()


def test_a_token_opens_its_scan_as_far_as_it_goes() -> None:
    assert bearer(Right.READ).reads(SCAN) == Ticket(SCAN)
    assert bearer(Right.CANCEL).cancels(SCAN) == Ticket(SCAN)
    with pytest.raises(Forbidden, match="right cancel"):
        bearer(Right.READ).cancels(SCAN)
    for rights in (Right.CANCEL, Right.SCAN, Right.OPERATE):
        with pytest.raises(Forbidden, match="right read"):
            bearer(rights).reads(SCAN)


def test_a_token_opens_nothing_else() -> None:
    every = bearer(*Right)
    assert every.reads(OTHER) == every.cancels(OTHER) == NOBODY
    asked: list[Callable[[], object]] = [every.starts, partial(every.reads, LATEST), partial(every.cancels, LATEST)]
    for asks in asked:
        with pytest.raises(Forbidden, match="opens one scan"):
            asks()


def test_where_nobody_is_asked_everybody_may_all() -> None:
    EVERYBODY.operates()
    assert EVERYBODY.starts() == EVERYBODY.reads(SCAN) == EVERYBODY.cancels(LATEST)


@pytest.fixture
async def archive() -> AsyncIterator[Archive]:
    """Of a store in which there is nothing."""
    async with open_store(None) as store:
        yield Archive(store, Hub(store))


@pytest.mark.anyio
async def test_what_is_not_theirs_is_found_by_nobody(archive: Archive) -> None:
    of_ann = new_scan_id(archive._store.key, ANN, 0)
    for owner in (NOBODY, Principal("ben"), Ticket(SCAN)):
        with pytest.raises(NotFound):
            await archive.find(owner, of_ann)
        assert archive.held(owner, of_ann) is None


@pytest.mark.anyio
@pytest.mark.parametrize("scan_id", [LATEST, ""])
async def test_a_ticket_is_for_no_word_but_the_id(archive: Archive, scan_id: str) -> None:
    with pytest.raises(NotFound):
        await archive.find(Ticket(SCAN), scan_id)


def test_no_principal_is_taken_for_who_is_at_an_address() -> None:
    """They may be called whatever can be printed; and seats are either's."""
    assert payer(None, ("192.0.2.1", 1)) == payer(ANYONE, ("192.0.2.1", 2))
    assert payer(None, ("192.0.2.1", 1)) != payer(None, ("192.0.2.2", 1))
    for name in (payer(None, ("192.0.2.1", 1)), payer(None, None)):
        with pytest.raises(ValueError, match="principal"):
            principal_of(name)

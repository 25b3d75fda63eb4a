"""Principals take turns in the queue of scans: a flood is the queue of whoever made it."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanstream.model import Principal, ScanId
from scanstream.scans.rota import Rota

A, B, C = Principal("a"), Principal("b"), Principal("c")


def flood(rota: Rota, principal: Principal, count: int, first: int = 0) -> list[ScanId]:
    """So many scans of one principal's join."""
    scans = [ScanId(f"{principal}{number}") for number in range(first, first + count)]
    for scan in scans:
        rota.join(scan, principal)
    return scans


def let_in(rota: Rota, count: int) -> list[str]:
    """The next so many."""
    return [str(rota.let_in()) for _ in range(count)]


def test_one_principal_alone_has_the_queue_that_it_always_had() -> None:
    rota = Rota()
    scans = flood(rota, A, 50)
    assert [rota.rank(scan) for scan in scans] == list(range(1, 51))
    assert let_in(rota, 20) == scans[:20]
    rota.leave(scans[30])
    scans += flood(rota, A, 5, first=50)
    assert let_in(rota, 34) == [*scans[20:30], *scans[31:]]
    assert rota.let_in() is None


@pytest.mark.parametrize("running", [0, 1, 4])
def test_whoever_comes_to_a_flood_is_next(running: int) -> None:
    rota = Rota()
    flood(rota, A, 200)
    let_in(rota, running)
    rota.join(ScanId("b0"), B)
    ahead = 1 if running == 0 else 0  # where nobody had a turn yet, who came first has the first
    assert rota.rank(ScanId("b0")) == ahead + 1
    rota.join(ScanId("c0"), C)
    assert let_in(rota, ahead + 3)[ahead:] == ["b0", "c0", f"a{running + ahead}"]


def test_newcomers_keep_nobody_waiting_for_more_than_a_round() -> None:
    """One principal after the other comes, as often as one is let in: the flood waits for those who were there."""
    rota = Rota()
    flood(rota, A, 50)
    let_in(rota, 1)
    others, waited, turns = 0, 0, 0
    for number in range(200):
        rota.join(ScanId(f"n{number}"), Principal(f"new {number}"))
        waited += 1
        if let_in(rota, 1)[0].startswith("a"):
            assert waited <= others + 2
            turns += 1
            others, waited = len(rota) - 49 + turns, 0
    assert turns > 10


def test_what_had_begun_before_a_restart_goes_on_first() -> None:
    rota = Rota()
    for number in range(4):
        rota.join(ScanId(f"run{number}"), A, first=True)
    flood(rota, A, 3)
    rota.join(ScanId("b0"), B)
    assert let_in(rota, 7) == ["run0", "run1", "run2", "run3", "b0", "a0", "a1"]


def test_who_cancels_has_had_no_turn_for_that() -> None:
    rota = Rota()
    scans = flood(rota, A, 100)
    for scan in scans[:99]:
        rota.leave(scan)
    flood(rota, B, 100)
    assert let_in(rota, 2) == ["a99", "b0"]


def test_the_turns_of_all_are_equal_whenever_they_came() -> None:
    rota = Rota()
    flood(rota, A, 100)
    let_in(rota, 7)
    flood(rota, B, 60)
    let_in(rota, 9)
    flood(rota, C, 60)
    turns = Counter(name[0] for name in let_in(rota, 60))
    assert max(turns.values()) - min(turns.values()) <= 2


@given(
    st.lists(
        st.tuples(st.sampled_from(["join", "join", "let in", "leave", "first"]), st.sampled_from([A, B, C])),
        max_size=60,
    ),
    st.randoms(use_true_random=False),
)
def test_a_place_is_the_turn_at_which_it_is_let_in_and_worsens_only_by_newcomers(
    moves: list[tuple[str, Principal]], random: Random
) -> None:
    rota, owners = Rota(), dict[ScanId, Principal]()
    names = iter(ScanId(f"scan_{number}") for number in range(100))
    for move, principal in moves:
        before = {scan: rota.rank(scan) or 0 for scan in owners}
        others: list[ScanId] = []
        if move in ("join", "first"):
            scan = next(names)
            behind = rota.behind(principal)
            rota.join(scan, principal, first=move == "first")
            owners[scan] = principal
            assert move == "first" or len(rota) - (rota.rank(scan) or 0) == behind
            others = [other for other in owners if other in before and (rota.rank(other) or 0) > before[other]]
            assert move == "first" or all(owners[other] != principal for other in others)
        elif move == "leave" and owners:
            gone = random.choice(sorted(owners))
            rota.leave(gone)
            del owners[gone]
        elif move == "let in" and owners:
            expected = min(owners, key=before.__getitem__)
            assert rota.let_in() == expected
            del owners[expected]
        assert sorted(rota.rank(scan) or 0 for scan in owners) == list(range(1, len(owners) + 1))
        if move not in ("join", "first"):
            assert all((rota.rank(scan) or 0) <= before[scan] for scan in owners)
    while len(rota):
        rota.let_in()
    assert not rota._slots
    assert not rota._principals
    rota.join(ScanId("last"), Principal("d"))
    rota.let_in()
    assert set(rota._own) <= {Principal("d")}


def test_nothing_is_remembered_of_those_who_have_gone() -> None:
    rota = Rota()
    for number in range(1000):
        rota.join(ScanId(f"scan_{number}"), Principal(f"p{number}"))
        if number % 3 == 0:
            rota.leave(ScanId(f"scan_{number}"))
        elif number % 3 == 1:
            rota.let_in()
    while rota.let_in():
        pass
    flood(rota, A, 3)
    let_in(rota, 3)
    assert len(rota._own) == 1


def test_who_comes_and_goes_while_nobody_is_let_in_is_remembered_once() -> None:
    """Long scans have all the places, and somebody asks and cancels again and again: no round begins meanwhile."""
    rota = Rota()
    flood(rota, A, 1)
    let_in(rota, 1)
    for scan in (ScanId(f"scan_{number}") for number in range(1000)):
        rota.join(scan, A)
        rota.leave(scan)
    assert len(rota._rested) == 1

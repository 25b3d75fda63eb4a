"""Whose turn it is: few attempts at once for one host, principals in turn, and of many that wait each comes back when
there is a place."""

import random
from collections import Counter
from contextlib import ExitStack

import pytest

from scanstream.model import Principal
from scanstream.notify.hosts import AT_ONCE, AT_ONCE_IN_ALL, GRACE_SECONDS, LONGEST_SECONDS, Hosts

ANN, BOB, EVE = map(Principal, ("ann", "bob", "eve"))


class Clock:
    """Set by the test."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hosts(clock: Clock) -> Hosts:
    return Hosts(clock)


def took(hosts: Hosts, clock: Clock, seconds: float) -> None:
    with hosts.busy("a", ANN):
        clock.at += seconds


def test_so_many_at_once_for_one_and_others_beside_them(hosts: Hosts) -> None:
    with ExitStack() as under_way:
        for _ in range(AT_ONCE):
            assert hosts.wait("a", ANN) == 0
            under_way.enter_context(hosts.busy("a", ANN))
        assert hosts.wait("a", ANN) > 0
        assert hosts.wait("b", ANN) == 0
    assert hosts.wait("a", ANN) == 0


def test_those_that_wait_come_back_one_after_another_as_fast_as_attempts_end(hosts: Hosts, clock: Clock) -> None:
    for _ in range(100):
        took(hosts, clock, 4.0)
    with hosts.busy("a", ANN), hosts.busy("a", ANN):
        waits = [hosts.wait("a", ANN) for _ in range(3)]
        assert waits == pytest.approx([2.0, 4.0, 6.0])
        clock.at += 1
        assert hosts.wait("a", ANN) == pytest.approx(7.0), "behind those, and not before them"
    clock.at += 100
    with hosts.busy("a", ANN), hosts.busy("a", ANN):
        assert hosts.wait("a", ANN) == pytest.approx(hosts.of("a").places.seconds / AT_ONCE), "nobody waits any more"


def test_who_hangs_for_the_first_time_is_not_asked_for_all_the_time(hosts: Hosts, clock: Clock) -> None:
    """The queue is written to each time that one is put off."""
    asked = 0
    with hosts.busy("a", ANN), hosts.busy("a", ANN):
        end = clock.at + 10
        while clock.at < end:
            clock.at += hosts.wait("a", ANN)
            asked += 1
    assert asked < 20


def test_nobody_waits_for_ever(hosts: Hosts, clock: Clock) -> None:
    for _ in range(100):
        took(hosts, clock, 10.0)
    with hosts.busy("a", ANN), hosts.busy("a", ANN):
        assert max(hosts.wait("a", ANN) for _ in range(10_000)) == LONGEST_SECONDS
        assert hosts.wait("a", BOB) == pytest.approx(5.0, rel=0.1), "and nobody for another's"


def test_an_attempt_that_fails_frees_its_place_all_the_same(hosts: Hosts, clock: Clock) -> None:
    for _ in range(5):
        with pytest.raises(LookupError), hosts.busy("a", ANN):
            raise LookupError
    assert hosts.wait("a", ANN) == 0


def test_a_place_that_is_free_is_left_to_whoever_has_fewer_and_is_expected(hosts: Hosts, clock: Clock) -> None:
    with hosts.busy("a", ANN):
        with hosts.busy("a", ANN):
            assert hosts.wait("a", ANN) > 0
            wait = hosts.wait("a", BOB)
            assert wait > 0
        assert hosts.wait("a", ANN) > 0, "it is another's"
        assert hosts.wait("a", EVE) > 0, "who comes later than that one"
        clock.at += wait
        assert hosts.wait("a", BOB) == 0
        with hosts.busy("a", BOB):
            assert hosts.wait("a", EVE) > 0
        assert hosts.wait("a", ANN) > 0
        assert hosts.wait("a", BOB) > 0, "who has had a turn since"
        assert hosts.wait("a", EVE) == 0


def test_nobody_waits_for_one_who_does_not_come(hosts: Hosts, clock: Clock) -> None:
    """Another node may have taken it."""
    with hosts.busy("a", ANN), hosts.busy("a", ANN):
        wait = hosts.wait("a", BOB)
    clock.at += wait + GRACE_SECONDS + 0.001
    with hosts.busy("a", ANN):
        assert hosts.wait("a", ANN) == 0
        assert hosts.wait("a", ANN) == 0
    with hosts.busy("a", ANN), hosts.busy("a", ANN):
        hosts.wait("a", ANN)
    assert BOB not in hosts.of("a").places.claims, "nor is anything remembered of them"


def test_over_all_hosts_there_is_a_place_for_whoever_comes(hosts: Hosts) -> None:
    with ExitStack() as under_way:
        for principal, most in ((ANN, AT_ONCE_IN_ALL // 2), (BOB, AT_ONCE_IN_ALL // 4), (EVE, AT_ONCE_IN_ALL // 8)):
            count = 0
            while hosts.wait(f"{principal}{count}", principal) == 0:
                under_way.enter_context(hosts.busy(f"{principal}{count}", principal))
                count += 1
            assert count == most
        assert hosts.wait("x", Principal("x")) == 0


@pytest.mark.parametrize("crowd", [1, 5, 20])
def test_however_much_one_has_another_s_is_among_the_next(hosts: Hosts, clock: Clock, crowd: int) -> None:
    """A day of a slow receiver: a flood of one, and others who come with one each now and then. Waits are simulated."""
    chance = random.Random(20261127)
    due = [(clock.at, number, ANN) for number in range(2000)]
    due += [(clock.at + 50 + number / 10, 2000 + number, Principal(f"one of {number}")) for number in range(crowd)]
    came = {number: at for at, number, _ in due}
    under_way: list[tuple[float, Principal, ExitStack]] = []
    turns: list[tuple[float, int]] = []
    while due and len(turns) < 500:
        due.sort()
        under_way.sort(key=lambda one: one[0])
        if under_way and under_way[0][0] <= due[0][0]:
            clock.at, _, attempt = under_way.pop(0)
            attempt.close()
            continue
        clock.at, number, principal = due.pop(0)
        if wait := hosts.wait("a", principal):
            due.append((clock.at + wait + chance.uniform(0, 0.05), number, principal))
        else:
            attempt = ExitStack()
            attempt.enter_context(hosts.busy("a", principal))
            turns.append((clock.at, number))
            under_way.append((clock.at + chance.uniform(0.5, 1.5), principal, attempt))
            assert len(under_way) <= AT_ONCE
    places = [number for _, number in turns]
    for number in range(2000, 2000 + crowd):
        before = sum(came[number] <= at for at, _ in turns[: places.index(number)])
        assert before <= 2 * (crowd + AT_ONCE), f"{before} had a turn while {number} waited"
    seconds = turns[-1][0] - turns[0][0]
    assert len(turns) / seconds > 0.75 * AT_ONCE, f"{len(turns)} in {seconds:.0f} s: places are left empty"
    assert Counter(places).most_common(1)[0][1] == 1
    for _, _, attempt in under_way:
        attempt.close()

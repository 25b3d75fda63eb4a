"""Whose turn it is: few attempts at once for one host, and of many that wait each comes back when there is a place."""

from contextlib import ExitStack

import pytest

from scanstream.notify.hosts import AT_ONCE, LONGEST_SECONDS, Hosts


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
    with hosts.busy("a"):
        clock.at += seconds


def test_so_many_at_once_for_one_and_others_beside_them(hosts: Hosts) -> None:
    with ExitStack() as under_way:
        for _ in range(AT_ONCE):
            assert hosts.wait("a") == 0
            under_way.enter_context(hosts.busy("a"))
        assert hosts.wait("a") > 0
        assert hosts.wait("b") == 0
    assert hosts.wait("a") == 0


def test_those_that_wait_come_back_one_after_another_as_fast_as_attempts_end(hosts: Hosts, clock: Clock) -> None:
    for _ in range(100):
        took(hosts, clock, 4.0)
    with hosts.busy("a"), hosts.busy("a"):
        waits = [hosts.wait("a") for _ in range(3)]
        assert waits == pytest.approx([2.0, 4.0, 6.0])
        clock.at += 1
        assert hosts.wait("a") == pytest.approx(7.0), "behind those, and not before them"
    clock.at += 100
    with hosts.busy("a"), hosts.busy("a"):
        assert hosts.wait("a") == pytest.approx(hosts.of("a").seconds / AT_ONCE), "nobody waits any more"


def test_who_hangs_for_the_first_time_is_not_asked_for_all_the_time(hosts: Hosts, clock: Clock) -> None:
    """The queue is written to each time that one is put off."""
    asked = 0
    with hosts.busy("a"), hosts.busy("a"):
        end = clock.at + 10
        while clock.at < end:
            clock.at += hosts.wait("a")
            asked += 1
    assert asked < 20


def test_nobody_waits_for_ever(hosts: Hosts, clock: Clock) -> None:
    for _ in range(100):
        took(hosts, clock, 10.0)
    with hosts.busy("a"), hosts.busy("a"):
        assert max(hosts.wait("a") for _ in range(10_000)) == LONGEST_SECONDS


def test_an_attempt_that_fails_frees_its_place_all_the_same(hosts: Hosts, clock: Clock) -> None:
    for _ in range(5):
        with pytest.raises(LookupError), hosts.busy("a"):
            raise LookupError
    assert hosts.wait("a") == 0

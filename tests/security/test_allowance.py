"""So much in a time for each, told when to come again, and nothing remembered of those who have waited."""

import pytest

from scanstream.security import allowance
from scanstream.security.allowance import Allowance, Rate


class Clock:
    """Set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_so_many_at_once_and_then_as_it_fills_up() -> None:
    clock = Clock()
    discovers = Allowance[str](Rate(30, 60.0), clock)
    assert [discovers.take("a") for _ in range(31)] == [0.0] * 30 + [2.0]
    assert discovers.take("b") == 0, "everybody has their own"
    clock.now += 2
    assert [discovers.take("a"), discovers.take("a")] == [0.0, 2.0]
    clock.now += 60
    assert [discovers.take("a") for _ in range(31)] == [0.0] * 30 + [2.0]


def test_it_is_told_what_they_lack_beside_what_they_are_about_to_take() -> None:
    clock = Clock()
    discovers = Allowance[str](Rate(3, 60.0), clock)
    assert [discovers.lacks("a", beside) for beside in range(5)] == [0.0, 0.0, 0.0, 20.0, 40.0]
    assert not len(discovers), "who asks is not remembered"
    discovers.take("a")
    assert [discovers.lacks("a", beside) for beside in range(3)] == [0.0, 0.0, 20.0]
    clock.now += 7
    assert discovers.lacks("a", 2) == 13.0


def test_a_clock_that_is_set_back_gives_and_takes_nothing() -> None:
    clock = Clock()
    discovers = Allowance[str](Rate(1, 60.0), clock)
    assert discovers.take("a") == 0
    clock.now -= 500
    assert discovers.take("a") == 60
    clock.now += 30
    assert discovers.take("a") == 30


def test_of_many_only_those_are_remembered_who_had_something_lately(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    discovers = Allowance[int](Rate(30, 60.0), clock)
    for who in range(1000):
        discovers.take(who)
        clock.now += 1
    assert len(discovers) <= 61
    monkeypatch.setattr(allowance, "MOST_REMEMBERED", 50)
    for who in range(1000, 2000):
        discovers.take(who)
    assert len(discovers) <= 50

"""Budgets count the time at work: no waiting, no sleep of the machine, no clock that is set."""

from collections.abc import Callable
from contextlib import ExitStack

import anyio
import pytest
from msgspec.structs import replace

from scanstream.log.entry import AnyEntry
from scanstream.log.scanlog import ScanLog
from scanstream.scans.budget import (
    LEAST_WAIT_SECONDS,
    LONGEST_STEP_SECONDS,
    Budgets,
    Clock,
    Countdown,
    ScanBudget,
    Stopwatch,
    limited,
)
from support.histories import done, failed, folded, planned, registered, timed_out


class Hands:
    """The hands of a clock that a test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def one(_: str) -> int:
    """One shard of each strategy could be at work."""
    return 1


def budget(
    hands: Hands, whole: float = 100.0, could: Callable[[str], int] = one, **each: float
) -> tuple[Clock, ScanBudget]:
    """A scan that is let in now."""
    clock = Clock(hands)
    return clock, ScanBudget(replace(registered(*each), budget=whole, budgets=each), clock, Stopwatch(), could)


def passed(clock: Clock, hands: Hands, seconds: float) -> None:
    """So much time, in which the process ran and its clock ticked."""
    for _ in range(round(seconds * 4)):
        hands.at += 0.25
        clock.now()


def test_a_clock_counts_the_seconds_in_which_it_ticks() -> None:
    hands = Hands()
    clock = Clock(hands)
    passed(clock, hands, 60)
    assert clock.now() == 60


def test_a_clock_does_not_count_the_time_in_which_its_process_stood_still() -> None:
    hands = Hands()
    clock = Clock(hands)
    passed(clock, hands, 1)
    hands.at += 7200
    assert clock.now() == 1 + LONGEST_STEP_SECONDS
    hands.at -= 50
    assert clock.now() == 1 + LONGEST_STEP_SECONDS  # a source that goes back takes nothing away


def test_a_stopwatch_counts_time_once_however_many_are_at_work() -> None:
    watch = Stopwatch()
    watch.start(10)
    watch.start(12)
    assert watch.spent(13) == 3
    watch.stop(14)
    watch.stop(15)
    assert watch.spent(99) == 5
    watch.start(100)
    assert watch.spent(101) == 6


def test_a_strategy_spends_only_while_a_shard_of_it_runs() -> None:
    hands = Hands()
    clock, left = budget(hands, a=10, b=10)
    passed(clock, hands, 8)
    with left.running("a"):
        passed(clock, hands, 3)
        with left.running("a"), left.running("b"):
            passed(clock, hands, 2)
    passed(clock, hands, 8)
    assert (left.left("a"), left.left("b")) == (5, 8)
    assert left.left_of_scan() == 100 - 21


@pytest.mark.parametrize(
    ("at_work", "spent"), [(1, 2.5), (2, 5), (4, 10)], ids=["a fourth of the places", "half of them", "all of them"]
)
def test_a_strategy_that_shares_the_places_spends_what_it_would_take_alone(at_work: int, spent: float) -> None:
    hands, could = Hands(), 4
    clock, left = budget(hands, could=lambda _: could, a=100)
    for _ in range(10):  # ten shards after each other, or as many more
        with ExitStack() as shards:
            for _ in range(at_work):
                shards.enter_context(left.running("a"))
            passed(clock, hands, 1)
    assert left.left("a") == 100 - spent
    could = 1  # the last one: it would take as long alone
    with left.running("a"):
        passed(clock, hands, 5)
    assert left.left("a") == 95 - spent


def test_no_shard_is_done_sooner_than_it_runs() -> None:
    hands = Hands()
    clock, left = budget(hands, could=lambda _: 4, a=100)
    with left.running("a"):
        passed(clock, hands, 60)
        assert left.left("a") == 40
    assert left.left("a") == 40


def test_patience_ends_before_any_budget_can() -> None:
    hands = Hands()
    clock, left = budget(hands, whole=12, a=10, b=4)
    assert left.patience(["a", "b"]) == 4
    assert left.patience(["a"]) == 10
    passed(clock, hands, 5)
    assert left.patience(["a"]) == 7
    passed(clock, hands, 10)
    assert left.patience(["a"]) == LEAST_WAIT_SECONDS
    assert left.left_of_scan() == -3


def test_time_in_which_the_machine_hinders_anybody_is_no_scans_and_that_of_shards_at_work_is_their_strategys() -> None:
    hands = Hands()
    budgets = Budgets(Clock(hands))
    with budgets.hindered():
        passed(budgets.clock, hands, 5)
    with (
        budgets.letting_in(replace(registered("a"), budget=100.0, budgets={"a": 10.0}), one) as left,
        left.running("a"),
    ):
        passed(budgets.clock, hands, 1)
        with budgets.hindered():
            passed(budgets.clock, hands, 50)
            assert left.left_of_scan() == 99
        passed(budgets.clock, hands, 2)
        assert left.left_of_scan() == 97
        assert left.left("a") == 10 - 53


@pytest.mark.anyio
async def test_a_call_gives_its_result_or_its_error_or_is_ended_when_nothing_is_left() -> None:
    async def six() -> int:
        return 6

    async def broken() -> int:
        raise ZeroDivisionError

    assert await limited(lambda: 60.0, six) == 6
    with pytest.raises(ZeroDivisionError):
        await limited(lambda: 60.0, broken)
    left = iter([0.01, 0.01, 0.0])
    with pytest.raises(TimeoutError):
        await limited(lambda: next(left), anyio.sleep_forever)


def test_a_countdown_begins_when_it_is_entered() -> None:
    hands = Hands()
    clock = Clock(hands)
    countdown = Countdown(clock, 10)
    passed(clock, hands, 5)
    assert countdown.left() == 10
    with countdown:
        passed(clock, hands, 4)
    passed(clock, hands, 3)
    assert countdown.left() == 3


def test_only_scans_that_were_let_in_have_a_budget() -> None:
    budgets = Budgets(Clock(Hands()))
    scan = registered("a")
    assert budgets.of(scan.scan_id) is None
    with budgets.letting_in(scan, one) as left:
        assert budgets.of(scan.scan_id) is left
    assert budgets.of(scan.scan_id) is None


def told(left: ScanBudget, *entries: AnyEntry) -> None:
    """The log of a scan of the strategies a and b goes so far."""
    tallies = folded(registered("a", "b"), planned(a=9, b=9), *entries).tallies
    assert tallies is not None
    left.tell(tallies)


def test_what_ran_on_another_node_is_spent_as_if_it_had_run_here() -> None:
    hands = Hands()
    clock, left = budget(hands, could=lambda _: 4, a=10, b=10)
    ran: list[AnyEntry] = [done("a", 0, elapsed=8000), done("a", 1, elapsed=4000)]
    told(left, *ran)
    told(left, *ran)
    assert (left.left("a"), left.left("b")) == (10 - 12 / 4, 10)
    with left.running("a"):
        passed(clock, hands, 4)
    left.ran("a", 4000)
    told(left, *ran, done("a", 2, elapsed=4000))
    assert left.left("a") == 10 - max(12 / 4 + 4 / 4, 4)  # what ran here is counted once
    told(left, *ran, done("a", 2, elapsed=4000), done("a", 3, elapsed=4000))
    assert left.left("a") == 10 - (16 / 4 + 4 / 4)


def test_a_strategy_of_which_a_shard_has_run_out_of_time_elsewhere_has_none_left() -> None:
    hands = Hands()
    clock, left = budget(hands, a=10, b=10)
    told(left, failed("b", 0), timed_out("a", 3))
    assert (left.left("a"), left.left("b")) == (0, 10)
    passed(clock, hands, 2)
    assert left.left("a") == -2


def test_a_scan_that_another_node_let_in_has_what_that_left_it() -> None:
    scan = replace(registered("a"), budget=100.0)
    with Budgets(Clock(Hands())).letting_in(scan, one, since=30.0) as left:
        assert left.left_of_scan() == 70


def test_the_budget_of_a_scan_that_another_node_conducts_is_forgotten_at_its_end() -> None:
    budgets = Budgets(Clock(Hands()))
    log = ScanLog(registered("a"), "epoch")
    left = budgets.sharing(log.folded.registered, one)
    assert budgets.sharing(log.folded.registered, one) is left
    entries: list[AnyEntry] = [planned(a=2), done("a", 0, elapsed=1000), done("a", 1, elapsed=1000)]
    for seq, entry in enumerate(entries, start=2):
        log.apply(seq, entry)
        assert budgets.of(log.scan_id) is left
        budgets.notice(log)
    assert budgets.of(log.scan_id) is None
    assert left.left("a") == registered("a").budgets["a"] - 2

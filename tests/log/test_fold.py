"""The fold by example: what each entry means."""

from typing import Any

import pytest

from scanstream.log.entry import AnyEntry, Cancelled, CancelRequested, Cut, Planned, Queued, ScanFailed
from scanstream.model import Document, Problem, document, timestamp
from support.histories import (
    NOON,
    SCAN,
    done,
    failed,
    folded,
    found,
    planned,
    registered,
    started,
    steps,
    timed_out,
)

QUEUED = Queued(at=NOON + 1_000)
CANCEL = CancelRequested(at=NOON + 5_000)
STOPPED = Cancelled(at=NOON + 6_000)
RUNNING: list[AnyEntry] = [registered("a", "b"), QUEUED, planned(NOON + 2_000, a=2, b=1)]


def shown(*entries: AnyEntry) -> Document:
    """The state that readers see after these entries."""
    return document(folded(*entries).state)


def progress(state: Document) -> tuple[Any, ...]:
    """Strategies and shards completed of how many, and the percentage."""
    names = ("strategies_completed", "total_strategies", "shards_completed", "total_shards", "percentage")
    return tuple(state["progress"][name] for name in names)


def statuses(state: Document) -> dict[str, str]:
    """Strategy → status."""
    return {name: strategy["status"] for name, strategy in state["strategies"].items()}


def test_the_placeholder_is_true_from_its_first_moment() -> None:
    pending = {"status": "pending", "shards_completed": 0, "total_shards": 0, "opportunities_found": 0, "elapsed_ms": 0}

    assert shown(registered("a", "b")) == {
        "success": True,
        "scan_id": SCAN,
        "status": "scanning",
        "phase": "init",
        "message": "Scan registered",
        "market": "synthetic",
        "filters": {"symbols": ["BTC/USDT"]},
        "progress": {
            "strategies_completed": 0,
            "total_strategies": 2,
            "shards_completed": 0,
            "total_shards": 0,
            "opportunities_found_so_far": 0,
            "percentage": 0,
        },
        "strategies": {"a": pending, "b": pending},
        "total_opportunities": 0,
        "created_at": "2026-11-23T14:00:00.000Z",
        "poll_url": f"/opportunities/status/{SCAN}",
        "results_url": f"/opportunities/results/{SCAN}",
    }


def test_queued() -> None:
    state = shown(registered("a"), QUEUED)

    assert (state["status"], state["phase"], "started_at" in state) == ("scanning", "queued", False)
    assert shown(*RUNNING, QUEUED) == shown(*RUNNING)


def test_the_plan_fixes_the_totals() -> None:
    state = shown(*RUNNING)

    assert (state["status"], state["phase"]) == ("scanning", "running")
    assert progress(state) == (0, 2, 0, 3, 0)
    assert statuses(state) == {"a": "pending", "b": "pending"}
    assert state["started_at"] == "2026-11-23T14:00:02.000Z"


def test_the_first_plan_wins() -> None:
    assert shown(*RUNNING, planned(NOON + 3_000, a=9)) == shown(*RUNNING)


def test_a_shard_starts() -> None:
    state = shown(*RUNNING, started("a", at=NOON + 3_000), started("a", 1, at=NOON + 4_000))

    assert statuses(state) == {"a": "running", "b": "pending"}
    assert state["strategies"]["a"]["elapsed_ms"] == 0


def test_opportunities_count_once_by_id() -> None:
    first, again = found("a", "a:1", "a:2", at=NOON + 3_000), found("a", "a:2", "a:3", "a:3", shard=1, at=NOON + 4_000)
    *_, (_, step) = steps([*RUNNING, started("a", at=NOON + 2_500), first, again])
    state = document(step.after.state)

    assert [new.id for new in step.opportunities] == ["a:3"]
    assert state["total_opportunities"] == state["progress"]["opportunities_found_so_far"] == 3
    assert state["strategies"]["a"]["opportunities_found"] == 3
    assert state["strategies"]["a"]["elapsed_ms"] == 1_500


def test_a_shard_is_done() -> None:
    state = shown(*RUNNING, started("a", at=NOON + 3_000), done("a", at=NOON + 4_000, elapsed=1_000))

    assert progress(state) == (0, 2, 1, 3, 33)
    assert (statuses(state)["a"], state["strategies"]["a"]["shards_completed"]) == ("running", 1)
    assert state["strategies"]["a"]["elapsed_ms"] == 1_000
    assert state["estimated_time_remaining_seconds"] == 2.0


def test_the_time_left_counts_the_shards_that_run_side_by_side() -> None:
    opening = registered("a"), planned(a=4)
    one, other = done("a", 0, at=NOON + 1_000, elapsed=1_000), done("a", 1, at=NOON + 1_000, elapsed=1_000)

    assert shown(*opening, one)["estimated_time_remaining_seconds"] == 3.0
    assert shown(*opening, one, other)["estimated_time_remaining_seconds"] == 1.0
    assert "estimated_time_remaining_seconds" not in shown(*opening, started("a"))


def test_complete() -> None:
    state = shown(
        *RUNNING, found("b", "b:1"), done("a"), done("a", 1), done("b", at=NOON + 9_000, note="BTC/USDT: gaps")
    )

    assert (state["status"], state["phase"], state["message"]) == ("complete", "done", "Complete: 1 found")
    assert progress(state) == (2, 2, 3, 3, 100)
    assert statuses(state) == {"a": "complete", "b": "complete"}
    assert state["strategies"]["b"]["note"] == "BTC/USDT: gaps"
    assert state["estimated_time_remaining_seconds"] == 0
    assert (state["finished_at"], state["expires_at"]) == (timestamp(NOON + 9_000), timestamp(NOON + 69_000))
    assert "error" not in state


def test_a_scan_is_complete_without_the_strategies_that_failed() -> None:
    state = shown(*RUNNING, failed("a"), done("a", 1), done("b"))

    assert (state["status"], state["message"]) == ("complete", "Complete: 0 found, without a (failed)")
    assert statuses(state) == {"a": "failed", "b": "complete"}
    assert state["strategies"]["a"]["error"] == {"code": "strategy_error", "detail": "division by zero"}
    assert progress(state) == (2, 2, 3, 3, 100)


def test_a_scan_fails_when_all_its_strategies_do() -> None:
    state = shown(*RUNNING, failed("a"), failed("a", 1), timed_out("b"))

    assert (state["status"], state["phase"]) == ("failed", "done")
    assert state["message"] == "Every strategy failed: a (failed), b (timed out)"
    assert state["error"] == {"code": "strategy_error", "detail": "division by zero"}
    assert statuses(state) == {"a": "failed", "b": "timed_out"}
    assert progress(state) == (2, 2, 3, 3, 99)


def test_of_several_problems_the_same_one_is_told_in_any_order() -> None:
    late, early, slow = failed("a", 1, detail="late"), failed("a", 0, detail="early"), timed_out("a", 2)
    opening: list[AnyEntry] = [registered("a", "b"), planned(a=3, b=1)]

    for outcomes in ([late, early, slow], [slow, late, early], [early, slow, late]):
        strategy = folded(*opening, *outcomes).state.strategies["a"]
        assert (strategy.status, strategy.error) == ("failed", Problem("strategy_error", "early"))


def test_the_first_outcome_of_a_shard_wins() -> None:
    entries = [*RUNNING, done("a")]

    assert shown(*entries, failed("a"), found("a", "a:late"), started("a")) == shown(*entries)


def test_a_strategy_without_input_is_complete_and_says_why() -> None:
    state = shown(registered("a", "b"), planned(a=0, b=1))

    assert statuses(state) == {"a": "complete", "b": "pending"}
    assert (state["strategies"]["a"]["note"], progress(state)) == ("No quotes", (1, 2, 0, 1, 0))


def test_a_strategy_that_the_plan_leaves_out_is_complete_and_says_so() -> None:
    state = shown(registered("a", "b"), planned(a=1))

    assert (statuses(state)["b"], state["strategies"]["b"]["note"]) == ("complete", "Not planned")


def test_a_note_of_the_plan_stays_until_a_shard_has_one() -> None:
    opening: list[AnyEntry] = [
        registered("a", "b"),
        Planned(at=NOON, cuts={"a": Cut(2, note="ETH/USDT: too few bars"), "b": Cut(1)}),
    ]
    later: list[list[AnyEntry]] = [[], [done("a", 1)], [done("a", 1, note="late"), done("a", 0, note="early")]]
    notes = [shown(*opening, *entries)["strategies"]["a"]["note"] for entries in later]

    assert notes == ["ETH/USDT: too few bars", "ETH/USDT: too few bars", "early; late"]


def test_a_plan_without_any_shard_is_complete_at_once() -> None:
    state = shown(registered("a"), planned(a=0))

    assert (state["status"], progress(state)) == ("complete", (1, 1, 0, 0, 100))


@pytest.mark.parametrize("before", [[registered("a", "b")], [registered("a", "b"), QUEUED]])
def test_a_cancel_before_the_plan_is_the_end(before: list[AnyEntry]) -> None:
    state = shown(*before, CANCEL)

    assert (state["status"], state["phase"]) == ("cancelled", "done")
    assert statuses(state) == {"a": "cancelled", "b": "cancelled"}
    assert progress(state) == (2, 2, 0, 0, 0)
    assert state["finished_at"] == timestamp(NOON + 5_000)


def test_a_cancel_while_running_waits_for_the_shards() -> None:
    state = shown(*RUNNING, done("b"), CANCEL)

    assert (state["status"], state["phase"], "finished_at" in state) == ("scanning", "cancelling", False)

    assert folded(*RUNNING, done("b"), CANCEL, CancelRequested(at=NOON + 5_500)) == folded(*RUNNING, done("b"), CANCEL)

    stopped = shown(*RUNNING, done("b"), CANCEL, STOPPED)

    assert (stopped["status"], stopped["phase"]) == ("cancelled", "done")
    assert statuses(stopped) == {"a": "cancelled", "b": "complete"}
    assert progress(stopped) == (2, 2, 1, 3, 33)


def test_a_cancelled_scan_ends_with_its_last_shard_too() -> None:
    state = shown(*RUNNING, CANCEL, done("a"), done("a", 1), found("b", "b:1"), done("b"))

    assert (state["status"], state["total_opportunities"], progress(state)) == ("cancelled", 1, (2, 2, 3, 3, 99))


def test_a_cancel_after_the_end_changes_nothing() -> None:
    entries: list[AnyEntry] = [registered("a"), planned(a=1), done("a")]

    assert shown(*entries, CANCEL, STOPPED) == shown(*entries)


def test_a_scan_that_cannot_run_fails() -> None:
    state = shown(registered("a"), QUEUED, ScanFailed(at=NOON, code="invalid_market", detail="The file is gone"))

    assert (state["status"], state["message"]) == ("failed", "The file is gone")
    assert state["error"] == {"code": "invalid_market", "detail": "The file is gone"}
    assert statuses(state) == {"a": "cancelled"}


def test_only_what_the_plan_has_and_what_has_no_outcome_is_wanted() -> None:
    running = folded(*RUNNING, started("a"), done("a", 1))

    assert [running.wants("a", shard) for shard in (-1, 0, 1, 2)] == [False, True, False, False]
    assert not running.wants("z", 0)
    assert not folded(registered("a")).wants("a", 0)
    assert not folded(*RUNNING, CANCEL).wants("a", 0)
    assert not folded(*RUNNING, STOPPED).wants("a", 0)

"""The laws of the fold: what holds for every log, however unruly."""

from collections.abc import Callable
from typing import Any, TypeAlias

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from scanstream.log.entry import AnyEntry, Cancelled
from scanstream.log.fold import Folded, Step, fold
from scanstream.log.patch import diff
from scanstream.model import Document, document
from support.histories import NOON, Race, folded, histories, races, steps

Steps: TypeAlias = list[tuple[Folded, Step]]
PHASES = ("init", "queued", "running", "cancelling", "done")


def values(document: Document) -> list[Any]:
    """What is in it, at any depth."""
    return [inner for value in document.values() for inner in (values(value) if isinstance(value, dict) else [value])]


def every_change_is_a_patch_and_every_patch_a_change(taken: Steps) -> None:
    for before, step in taken:
        patch = diff(document(before.state), document(step.after.state))
        assert None not in values(patch)
        assert bool(patch) == (step.after.state is not before.state)
        assert patch or not step.opportunities
        told, let_in = len(step.after.targets) - len(before.targets), step.after.let_in != before.let_in
        assert patch or told + let_in == (step.after is not before), "but for these no reader could tell them apart"
        assert patch or replace(step.after, let_in=before.let_in, targets=before.targets) == before


def a_scan_never_goes_back(taken: Steps) -> None:
    for before, step in taken:
        old, new = before.state, step.after.state
        assert PHASES.index(old.phase) <= PHASES.index(new.phase)
        assert old.progress.percentage <= new.progress.percentage
        assert old.progress.shards_completed <= new.progress.shards_completed
        assert old.progress.strategies_completed <= new.progress.strategies_completed
        assert new.total_opportunities == old.total_opportunities + len(step.opportunities)


def the_counts_agree(taken: Steps) -> None:
    for _, step in taken:
        state = step.after.state
        progress, strategies = state.progress, state.strategies.values()
        assert progress.total_strategies == len(strategies)
        assert progress.strategies_completed == sum(one.status not in ("pending", "running") for one in strategies)
        assert progress.shards_completed == sum(one.shards_completed for one in strategies)
        assert progress.total_shards == sum(one.total_shards for one in strategies)
        assert progress.opportunities_found_so_far == sum(one.opportunities_found for one in strategies)
        assert progress.opportunities_found_so_far == state.total_opportunities
        assert (progress.percentage == 100) == (state.status == "complete")


def times(folded: Folded) -> list[Any]:
    """All that tells a time, and only ever grows."""
    state = folded.state
    told = [
        text
        for text in (state.created_at, state.started_at, state.finished_at, state.expires_at)
        if isinstance(text, str)
    ]
    assert told == sorted(told)
    return [folded.at, *(strategy.elapsed_ms for strategy in state.strategies.values())]


def time_never_goes_back(taken: Steps) -> None:
    for before, step in taken:
        assert all(earlier <= later for earlier, later in zip(times(before), times(step.after), strict=True))


LAWS: list[Callable[[Steps], None]] = [
    every_change_is_a_patch_and_every_patch_a_change,
    a_scan_never_goes_back,
    the_counts_agree,
    time_never_goes_back,
]


@given(histories())
def test_every_law_holds_of_every_step(entries: list[AnyEntry]) -> None:
    """All on the same logs: to make one up takes longer than to look at it."""
    taken = steps(entries)
    for law in LAWS:
        law(taken)


@given(histories(), st.data())
def test_the_end_is_whole_and_nothing_counts_after_it(entries: list[AnyEntry], data: st.DataObject) -> None:
    the_end_is_whole(entries)
    nothing_counts_after_the_end(entries, data.draw(st.integers(1, len(entries))))


def nothing_counts_after_the_end(entries: list[AnyEntry], cut: int) -> None:
    ended = folded(*entries[:cut], Cancelled(at=NOON))

    for entry in [*entries[cut:], *entries]:
        step = fold(ended, entry, set())
        assert step.after is ended
        assert not step.opportunities


def the_end_is_whole(entries: list[AnyEntry]) -> None:
    ended = folded(*entries, Cancelled(at=NOON))
    state = document(ended.state)

    assert (state["phase"], state["estimated_time_remaining_seconds"]) == ("done", 0)
    assert {"finished_at", "expires_at"} <= state.keys()
    assert ("error" in state) == (state["status"] == "failed")
    assert ended.expires_at == ended.at + ended.registered.retention


@given(races())
def test_however_twins_race_the_end_is_the_same(race: Race) -> None:
    calm, wild = folded(*race.calm), folded(*race.wild)

    assert document(wild.state) == document(calm.state)
    assert found(race.wild) == found(race.calm)
    assert calm.ended


def found(entries: list[AnyEntry]) -> set[str]:
    """The ids of all opportunities, each of which came once."""
    ids = [new.id for _, step in steps(entries) for new in step.opportunities]
    assert len(ids) == len(set(ids))
    return set(ids)

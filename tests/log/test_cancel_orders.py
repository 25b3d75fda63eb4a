"""A cancel at every place of a log: the log's order decides, and nothing else."""

import pytest

from scanstream.log.entry import AnyEntry, Cancelled, CancelRequested, Cut, Planned, Queued, ShardDone, ShardStarted
from scanstream.log.scanlog import ScanLog
from support.histories import found, registered

NOON = 1_795_442_400_000

STORY: list[AnyEntry] = [
    Queued(at=NOON),
    Planned(at=NOON, cuts={"a": Cut(2), "b": Cut(1)}),
    ShardStarted(at=NOON, strategy_id="a", shard=0),
    found("a", "a:1"),
    ShardDone(at=NOON, strategy_id="a", shard=0, elapsed_ms=1),
    ShardStarted(at=NOON, strategy_id="b", shard=0),
    ShardDone(at=NOON, strategy_id="b", shard=0, elapsed_ms=1),
    ShardStarted(at=NOON, strategy_id="a", shard=1),
    ShardDone(at=NOON, strategy_id="a", shard=1, elapsed_ms=1),
]
PLANNED = STORY.index(STORY[1]) + 1


def told(entries: list[AnyEntry]) -> ScanLog:
    """The log of a story."""
    log = ScanLog(registered("a", "b"), "epoch")
    for seq, entry in enumerate(entries, start=2):
        log.apply(seq, entry)
    return log


@pytest.mark.parametrize("stopped", [None, 0, 1, 2, 3], ids=lambda after: f"stopped after {after}")
@pytest.mark.parametrize("place", range(len(STORY) + 1))
def test_a_cancel_at_every_place(place: int, stopped: int | None) -> None:
    """Asked for after `place` entries; the shards are stopped so many entries later, or run to their end (None)."""
    story = list(STORY)
    if stopped is not None:
        story.insert(min(place + stopped, len(story)), Cancelled(at=NOON))
    story.insert(place, CancelRequested(at=NOON))
    log = told(story)
    state = log.folded.state
    assert log.ended
    assert state.phase == "done"
    counted = story[: story.index(Cancelled(at=NOON))] if stopped is not None else story
    if place == len(STORY):
        assert (state.status, state.progress.percentage, len(log.opportunities)) == ("complete", 100, 1)
    elif place < PLANNED:
        assert (state.status, list(log.opportunities), log.changed) == ("cancelled", [], place + 2)
    else:
        assert state.status == "cancelled"
        assert len(log.opportunities) == (STORY[3] in counted)
        outcomes = sum(isinstance(entry, ShardDone) for entry in counted)
        assert state.progress.shards_completed == outcomes
        assert state.progress.percentage < 100


def test_a_second_cancel_changes_nothing() -> None:
    log = told([*STORY[:3], CancelRequested(at=NOON), CancelRequested(at=NOON)])
    assert (log.folded.state.phase, log.seq - log.changed) == ("cancelling", 1)

"""The fold over whatever can be read back: no entry is a defect, and readers end where the log does."""

import logging
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from scanstream.log.cursor import START
from scanstream.log.entry import (
    LATEST,
    LONGEST,
    AnyEntry,
    Cancelled,
    CancelRequested,
    Cut,
    NotifyAsked,
    Planned,
    Queued,
    ScanFailed,
    ShardDone,
    ShardFailed,
    ShardFound,
    ShardStarted,
    decode,
    encode,
)
from scanstream.log.patch import merge
from scanstream.log.scanlog import ScanLog
from scanstream.model import Document
from support.histories import opportunity, registered

TIMES = st.integers(0, LATEST) | st.sampled_from([0, LATEST])
NUMBERS = st.integers(-3, 8) | st.sampled_from([2**31, 2**40, 2**63 - 1, -(2**63)])
NAMES = st.sampled_from(["a", "b", "z", ""])
TEXTS = st.sampled_from(["", "x", "\x00\ud7ff", "y" * 5000])
NOTES = st.just(UNSET) | TEXTS
SHARD: dict[str, Any] = {"at": TIMES, "strategy_id": NAMES, "shard": NUMBERS}
FOUND = st.lists(st.sampled_from(["a:1", "a:2", "b:1", ""]).map(opportunity), max_size=4)
CUTS = st.builds(Cut, units=NUMBERS, chunk=NUMBERS, note=NOTES)
ENTRIES: st.SearchStrategy[AnyEntry] = st.one_of(
    st.builds(Queued, at=TIMES),
    st.builds(Planned, at=TIMES, cuts=st.dictionaries(NAMES, CUTS, max_size=4)),
    st.builds(ShardStarted, **SHARD),
    st.builds(ShardFound, **SHARD, opportunities=FOUND),
    st.builds(ShardFound, **SHARD, opportunities=FOUND),
    st.builds(ShardDone, **SHARD, elapsed_ms=NUMBERS, note=NOTES),
    st.builds(
        ShardFailed, **SHARD, reason=st.sampled_from(["failed", "timed_out"]), code=TEXTS, detail=TEXTS, note=NOTES
    ),
    st.builds(CancelRequested, at=TIMES),
    st.builds(NotifyAsked, at=TIMES, id=NAMES, url=TEXTS),
    st.builds(Cancelled, at=TIMES) | st.builds(ScanFailed, at=TIMES, code=TEXTS, detail=TEXTS),
    TIMES.map(lambda at: registered("a", "z", at=at)),
)
HUGE = [
    Planned(at=1, cuts={"a": Cut(2**40), "b": Cut(2**63 - 1)}),
    ShardDone(at=1, strategy_id="a", shard=2**40 - 1, elapsed_ms=2**63 - 1),
    ShardStarted(at=LATEST, strategy_id="b", shard=2**62),
    ShardFailed(at=0, strategy_id="b", shard=0, reason="failed", code="", detail=""),
]


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    entries=st.lists(ENTRIES, max_size=14),
    start=TIMES,
    retention=st.integers(0, LONGEST),
    stops=st.sets(st.integers(0, 14)),
)
@example(entries=HUGE, start=LATEST, retention=LONGEST, stops={1, 3})
def test_no_entries_are_a_defect(entries: list[AnyEntry], start: int, retention: int, stops: set[int]) -> None:
    """No trace, however odd they are; the same log read back and folded again is the same; a reader who stops here and
    there has what is at the head, and its patches are what leads there."""
    first = msgspec.structs.replace(registered("a", "b", at=start), retention=retention)
    log, again = ScanLog(first, "e"), ScanLog(first, "e")
    state: Document = {}
    position, held = START, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("scanstream"), "exception", _defect)
        for number, entry in enumerate([*entries, Cancelled(at=0)]):
            log.apply(number + 2, entry)
            again.apply(number + 2, decode(encode(entry)))
            if number in stops or number == len(entries):
                frame = log.read(position)
                state = dict(frame.body) if frame.snapshot else merge(state, frame.body)
                held += len(frame.opportunities)
                position = frame.position
    assert log.ended
    assert state == log.document == again.document
    assert held == len(log.opportunities) == log.document["total_opportunities"]
    msgspec.json.encode(log.document)


def _defect(*told: object) -> None:
    raise AssertionError(told)

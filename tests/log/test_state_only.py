"""Readers of the state only: they are told nothing of opportunities, and lose none for those who come after them."""

from itertools import cycle
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanstream.client.mirror import Mirror
from scanstream.log import scanlog
from scanstream.log.cursor import START, Position, parse
from scanstream.log.entry import AnyEntry, Registered
from scanstream.log.scanlog import ScanLog
from scanstream.model import Only
from scanstream.push.codec import JSON, frame_message
from support.histories import done, found, histories, planned, registered

Act = Literal["all", "state", "cut"]
UNTOLD = {"opportunities", "offset", "more"}


class Reader:
    """A client that wants now this and now that, and the server's idea of where it is."""

    def __init__(self, log: ScanLog) -> None:
        self.log = log
        self.mirror = Mirror()
        self.position = START

    def read(self, only: Only | None = None) -> dict[str, Any]:
        """Take the next frame."""
        frame = self.log.read(self.position, only)
        message: dict[str, Any] = msgspec.json.decode(JSON.encode(frame_message(self.log, frame, JSON)))
        self.mirror.apply(message)
        self.position = frame.position
        return message

    def act(self, act: Act) -> None:
        """One thing that a client does."""
        if act == "cut":
            cursor = self.mirror.cursor
            self.position = self.log.place(None if cursor is None else parse(cursor))
        elif act == "all":
            self.read()
        else:
            self._read_state()

    def _read_state(self) -> None:
        n = self.position.n
        assert not UNTOLD & self.read("state").keys()
        assert self.mirror.state == self.log.document
        assert self.position == Position(self.log.seq, n)
        assert not self.log.news(self.position, "state")


def log_of(*entries: AnyEntry) -> ScanLog:
    """The log of these entries, the first of which is the registration."""
    first, *rest = entries
    assert isinstance(first, Registered)
    log = ScanLog(first, "k3f9")
    for seq, entry in enumerate(rest, start=2):
        log.apply(seq, entry)
    return log


RHYTHMS = st.lists(st.lists(st.sampled_from(Act.__args__), max_size=3), min_size=1, max_size=5)  # type: ignore[attr-defined]


@given(entries=histories(), rhythm=RHYTHMS)
def test_whoever_reads_the_state_only_for_a_while_ends_equal_to_the_log(
    entries: list[AnyEntry], rhythm: list[list[Act]]
) -> None:
    for kept, most, frozen in [(1, 2, False), (3, 1, True), (512, 3, True)]:
        ends_equal_to_the_log(kept, most, frozen, entries, rhythm)


def ends_equal_to_the_log(kept: int, most: int, frozen: bool, entries: list[AnyEntry], rhythm: list[list[Act]]) -> None:
    """Where so many patches are kept, and a frame has at most so many opportunities; `frozen`: at last it is."""
    first, *rest = entries
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scanlog, "PATCHES_KEPT", kept)
        patched.setattr(scanlog, "PART_OPPORTUNITIES", most)
        reader = Reader(log_of(first))
        for seq, (entry, acts) in enumerate(zip(rest, cycle(rhythm), strict=False), start=2):
            for act in acts:
                reader.act(act)
            reader.log.apply(seq, entry)
        if frozen:
            list(reader.log.freeze())
            reader.act("cut")
        while reader.log.news(reader.position):
            reader.read()

    assert reader.mirror.state == reader.log.document
    assert reader.mirror.opportunities == msgspec.to_builtins(list(reader.log.opportunities))


def test_a_snapshot_of_the_state_holds_no_opportunity() -> None:
    reader = Reader(log_of(registered("a"), planned(a=1), found("a", "a:1", "a:2")))

    first = reader.read("state")

    assert (first["type"], first["cursor"], first.keys() & UNTOLD) == ("snapshot", "k3f9-3.0", set())
    assert not reader.log.news(reader.position, "state")
    later = reader.read()
    assert (later["patch"], later["offset"], len(later["opportunities"])) == ({}, 0, 2)


def test_opportunities_are_no_news_to_a_reader_of_the_state() -> None:
    log = log_of(registered("a"), planned(a=1), found("a", "a:1", "a:2"), done("a"))

    assert log.ended
    assert not log.news(Position(4, 1), "state")
    assert log.news(Position(4, 1))
    assert log.news(Position(3, 2), "state")

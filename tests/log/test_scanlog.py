"""The law of readers: whatever is read, cut, lost and appended in between, a reader ends equal to the log.

The reader here is the real client's `Mirror`, fed with the real messages; all that outlives a cut is its cursor's text.
"""

from collections.abc import Sequence
from itertools import cycle
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from scanstream.client.mirror import Mirror
from scanstream.log import ids, packed, scanlog
from scanstream.log.cursor import START, Cursor, Position, parse
from scanstream.log.entry import AnyEntry, Queued, Registered
from scanstream.log.fold import Folded, Step, fold
from scanstream.log.packed import NO_PIECE
from scanstream.log.scanlog import Frame, GapError, ScanLog
from scanstream.model import Document, ScanId
from scanstream.push.codec import JSON, frame_message
from support.histories import NOON, done, found, histories, planned, registered, started

Act = Literal["read", "lose", "cut"]

RHYTHMS: st.SearchStrategy[list[list[Act]]] = st.lists(
    st.lists(st.sampled_from(["read", "read", "lose", "cut"]), max_size=3), min_size=1, max_size=5
)
"""What a reader does after each entry, over and over."""


def log_of(*entries: AnyEntry) -> ScanLog:
    """The log of these entries, the first of which is the registration."""
    first, *rest = entries
    assert isinstance(first, Registered)
    log = ScanLog(first, "k3f9")
    for seq, entry in enumerate(rest, start=2):
        log.apply(seq, entry)
    return log


class Reader:
    """A client, and the server's idea of where it is."""

    def __init__(self, log: ScanLog) -> None:
        self.log = log
        self.mirror = Mirror()
        self.position = START

    def read(self) -> Frame:
        """Take the next frame."""
        frame = self.log.read(self.position)
        self.mirror.apply(msgspec.json.decode(JSON.encode(frame_message(self.log, frame, JSON))))
        self.position = frame.position
        return frame

    def lose(self) -> None:
        """The next frame was sent, and the connection broke before it arrived."""
        self.log.read(self.position)
        self.cut()

    def cut(self) -> None:
        """Connect again, with the cursor that arrived last."""
        cursor = self.mirror.cursor
        self.position = self.log.place(None if cursor is None else parse(cursor))

    def catch_up(self) -> list[Frame]:
        """Read until there is no news."""
        frames: list[Frame] = []
        while self.log.news(self.position):
            frames.append(self.read())
        return frames

    def assert_holds_all(self) -> None:
        """The reader has what the log has."""
        assert self.mirror.state == self.log.document
        assert self.mirror.opportunities == msgspec.to_builtins(list(self.log.opportunities))


class Watched(Reader):
    """A reader whose every frame is held against the protocol."""

    def __init__(self, log: ScanLog, most: int) -> None:
        super().__init__(log)
        self.states: list[Document] = [{}, log.document]
        self.counts = [0, 0]
        self._most = most

    def append(self, entry: AnyEntry) -> None:
        """The log goes on, and its past is remembered."""
        self.log.apply(self.log.seq + 1, entry)
        self.states.append(self.log.document)
        self.counts.append(len(self.log.opportunities))

    def read(self) -> Frame:
        """Take the next frame, and look at it closely."""
        (seq, n), held = self.position, len(self.mirror.opportunities)
        frame = super().read()
        assert frame.snapshot == (seq == 0)
        assert frame.offset == (0 if frame.snapshot else held) == n
        assert len(frame.opportunities) <= self._most
        assert frame.position.n == n + len(frame.opportunities) == len(self.mirror.opportunities)
        assert frame.more == (frame.position.n < self.counts[frame.position.seq])
        if n < self.counts[seq]:
            assert (frame.position.seq, frame.body, frame.skipped) == (seq, {}, 0)
        else:
            assert frame.position.seq == self.log.seq
            assert frame.skipped == (0 if frame.snapshot else max(0, self.log.seq - seq - 1))
        assert self.mirror.state == self.states[frame.position.seq]
        assert self.mirror.cursor == f"k3f9-{frame.position.seq}.{frame.position.n}"
        return frame


@given(entries=histories(), rhythm=RHYTHMS)
def test_every_reader_ends_equal_to_the_log(entries: Sequence[AnyEntry], rhythm: list[list[Act]]) -> None:
    for kept, most in [(1, 2), (3, 1), (512, 3)]:
        ends_equal_to_the_log(kept, most, entries, rhythm)


def ends_equal_to_the_log(kept: int, most: int, entries: Sequence[AnyEntry], rhythm: list[list[Act]]) -> None:
    """Where so many patches are kept, and a frame has at most so many opportunities."""
    first, *rest = entries
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scanlog, "PATCHES_KEPT", kept)
        patched.setattr(scanlog, "PART_OPPORTUNITIES", most)
        reader = Watched(log_of(first), most)
        for entry, acts in zip(rest, cycle(rhythm), strict=False):
            for act in acts:
                getattr(reader, act)()
            reader.append(entry)
        reader.catch_up()

    reader.assert_holds_all()
    ids = [opportunity["id"] for opportunity in reader.mirror.opportunities]
    assert len(ids) == len(set(ids)) == reader.log.document["total_opportunities"]


@given(histories(), st.data())
def test_every_place_in_the_log_is_good_for_ever(entries: list[AnyEntry], data: st.DataObject) -> None:
    past = log_of(*entries[: data.draw(st.integers(1, len(entries)))])
    reader = Reader(log_of(*entries))
    held = data.draw(st.integers(0, len(past.opportunities)))
    reader.mirror.state = past.document
    reader.mirror.opportunities = msgspec.to_builtins(past.opportunities[:held])
    reader.mirror.cursor = str(past.cursor(Position(past.seq, held)))

    reader.cut()
    frames = reader.catch_up()

    assert not any(frame.snapshot for frame in frames)
    reader.assert_holds_all()


def many(count: int) -> list[AnyEntry]:
    """A running scan of one shard that found so many opportunities, in parts of 500."""
    ids = [f"a:{number}" for number in range(count)]
    parts = [found("a", *ids[start : start + 500]) for start in range(0, count, 500)]
    return [registered("a"), planned(a=1), *parts]


def test_a_snapshot_of_1201_opportunities_comes_in_chunks_of_500() -> None:
    reader = Reader(log_of(*many(1201)))

    frames = reader.catch_up()

    assert [(frame.snapshot, frame.offset, frame.position, frame.more) for frame in frames] == [
        (True, 0, Position(5, 500), True),
        (False, 500, Position(5, 1000), True),
        (False, 1000, Position(5, 1201), False),
    ]
    assert [frame.body for frame in frames[1:]] == [{}, {}]
    reader.assert_holds_all()


def test_chunks_go_on_at_their_seq_while_the_log_goes_on() -> None:
    log = log_of(registered("a"), planned(a=1))
    reader = Reader(log)
    reader.read()
    _, _, *parts = many(1201)
    for seq, part in enumerate(parts, start=3):
        log.apply(seq, part)

    update = reader.read()
    log.apply(6, done("a"))
    reader.cut()
    frames = reader.catch_up()

    assert [(frame.position, frame.more, frame.skipped) for frame in (update, *frames)] == [
        (Position(5, 500), True, 2),
        (Position(5, 1000), True, 0),
        (Position(5, 1201), False, 0),
        (Position(6, 1201), False, 0),
    ]
    reader.assert_holds_all()


def test_a_reader_too_far_behind_gets_the_whole_state_as_its_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanlog, "PATCHES_KEPT", 2)
    log = log_of(registered("a"))
    reader = Reader(log)
    reader.read()
    log.apply(2, Queued(at=NOON))
    log.apply(3, planned(a=1))
    log.apply(4, found("a", "a:1"))

    frame = reader.read()

    assert (frame.snapshot, frame.body, frame.offset, frame.skipped) == (False, log.document, 0, 2)
    reader.assert_holds_all()


@pytest.mark.parametrize("text", ["", "junk", "k3f9-0.0", "k3f9-0.1", "k3f9-4.0", "k3f9-2.1", "k3f9-3.3", "other-2.0"])
def test_a_cursor_that_is_not_of_this_log_starts_anew(text: str) -> None:
    log = log_of(registered("a"), planned(a=1), found("a", "a:1", "a:2"))

    assert log.place(parse(text)) == START
    assert log.read(log.place(parse(text))).snapshot


def test_a_reader_without_a_cursor_starts_anew() -> None:
    assert log_of(registered("a")).place(None) == START


@pytest.mark.parametrize("position", [Position(1, 0), Position(2, 0), Position(3, 0), Position(3, 1), Position(3, 2)])
def test_a_cursor_of_this_log_goes_on_from_there(position: Position) -> None:
    log = log_of(registered("a"), planned(a=1), found("a", "a:1", "a:2"))

    assert log.place(Cursor("k3f9", position)) == position
    assert not log.read(position).snapshot


def test_a_reader_that_has_all_has_no_news() -> None:
    log = log_of(registered("a"), planned(a=1), found("a", "a:1"))

    assert [log.news(position) for position in (START, Position(2, 0), Position(3, 0), log.head)] == [True] * 3 + [
        False
    ]


def test_what_changes_nothing_moves_the_head_and_is_no_news() -> None:
    log = log_of(registered("a"), planned(a=1), started("a"))
    before = log.head

    assert not log.apply(4, started("a"))

    assert (log.head, log.changed) == (Position(4, 0), 3)
    assert not log.news(before)
    assert log.read(before) == Frame(False, {}, NO_PIECE, 0, log.head, more=False, skipped=0)
    assert log.apply(5, done("a"))
    assert log.news(before)


def test_that_it_is_let_in_is_told_to_watchers_and_is_no_news() -> None:
    log = log_of(registered("a"), Queued(at=NOON, waits=True))
    before, state, waits = log.head, log.document, log.folded

    assert log.apply(3, Queued(at=NOON + 5))
    assert (waits.let_in, log.folded) == (False, replace(waits, let_in=True)), "not even its time"
    assert (log.head, log.changed, log.document) == (Position(3, 0), 2, state)
    assert not log.news(before)
    assert not log.apply(4, Queued(at=NOON + 6, waits=True))
    assert log_of(registered("a"), Queued(at=NOON)).folded.let_in, "as a version before has written it"


def test_a_repeated_entry_is_ignored() -> None:
    log = log_of(registered("a"), planned(a=1), found("a", "a:1"))
    state = log.document

    assert not log.apply(1, registered("z"))
    assert not log.apply(3, done("a"))
    assert (log.head, log.document) == (Position(3, 1), state)


def test_a_gap_is_an_error_and_nothing_is_taken() -> None:
    log = log_of(registered("a"))

    with pytest.raises(GapError, match="entry 3 came after entry 1"):
        log.apply(3, planned(a=1))
    assert log.head == Position(1, 0)
    assert log.apply(2, planned(a=1))


def test_the_end_is_the_folds() -> None:
    log = log_of(registered("a"), planned(a=1))
    assert not log.ended

    log.apply(3, done("a"))

    assert log.ended


def test_an_entry_that_the_fold_cannot_take_ends_its_scan_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored bytes may decode and still make no sense: that is their scan's end, and nobody else's."""

    def choking(before: Folded, entry: AnyEntry, held: set[str]) -> Step:
        if isinstance(entry, Queued):
            raise TypeError("bytes that make no sense")
        return fold(before, entry, held)

    monkeypatch.setattr(scanlog, "fold", choking)
    log = log_of(registered("a"), Queued(at=NOON), planned(a=1))

    assert (log.ended, log.document["status"], log.document["error"]["code"]) == (True, "failed", "damaged")
    assert log.seq == 2


def test_an_ended_log_lets_go_of_its_past_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "FREED_AT_ONCE", 10)
    log = ScanLog(registered("a"), "k3f9")
    entries: list[AnyEntry] = [planned(a=1), found("a", *map(str, range(95))), done("a")]
    for seq, entry in enumerate(entries, start=2):
        log.apply(seq, entry)
    state, opportunities = log.document, list(log.opportunities)
    steps = 0
    for _ in log.freeze():
        steps += 1
        assert (log.document, list(log.opportunities)) == (state, opportunities)
    assert steps >= 10
    assert not log.apply(5, done("a"))


def test_the_ids_of_very_many_are_many_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "TOGETHER", 100)
    held = ids.Ids()
    names = [f"a:{number}" for number in range(1000)]
    for start in range(0, 1000, 50):
        held.update(names[start : start + 50])
        assert len(held) == start + 50
        assert (len(held._sets) == 1) == (len(held) <= 100)
    assert sorted(held) == sorted(names)
    assert all(name in held for name in names)
    assert "a:1000" not in held
    assert max(map(len, held._sets)) < 100
    assert sum(1 for _ in held.let_go()) <= ids.SETS
    assert len(held) == 0
    assert "a:1" not in held


def test_a_frame_is_bounded_in_bytes_and_its_reader_has_all_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "MOST_IN_A_PIECE", 20_000)
    monkeypatch.setattr(packed, "LARGEST_FEW", 5)
    log = ScanLog(registered("a"), "k3f9")
    entries: list[AnyEntry] = [planned(a=1), found("a", *map(str, range(300))), done("a")]
    for seq, entry in enumerate(entries, start=2):
        log.apply(seq, entry)
    for _ in range(2):
        position, frames = START, 0
        got: list[object] = []
        while log.news(position):
            frame = log.read(position)
            encoded = frame.opportunities.encoded()
            assert len(encoded) >= 5
            assert sum(map(len, encoded)) <= 20_000
            assert frame.more == (frame.position.n < 300)
            assert frame.offset == len(got)
            got += list(frame.opportunities)
            position, frames = frame.position, frames + 1
        assert got == list(log.opportunities)
        assert frames > 5
        list(log.freeze())
    monkeypatch.setattr(packed, "MOST_IN_A_PIECE", 10)
    assert (
        len(log.read(START).opportunities) == 5
    )  # however large they are: one that says nothing new would be the last


def test_what_is_the_same_in_all_that_wait_is_held_once() -> None:
    one, other = (log_of(registered("a", "b", scan_id=ScanId(name)), Queued(at=NOON)) for name in "12")
    assert one.folded.state.strategies is other.folded.state.strategies
    assert one.folded.state.progress is other.folded.state.progress
    one.apply(3, planned(a=1, b=1))
    assert other.document["strategies"]["a"]["status"] == "pending"
    assert other.document["strategies"]["a"]["total_shards"] == 0


def test_a_cursor_of_before_the_first_find_is_as_good_as_any() -> None:
    log = log_of(registered("a"), Queued(at=NOON), planned(a=2))
    early = [log.head]
    entries: list[AnyEntry] = [found("a", "1", "2"), done("a"), found("a", "3", shard=1)]
    for seq, entry in enumerate(entries, start=log.seq + 1):
        log.apply(seq, entry)
        early.append(log.head)
    assert [position.n for position in early] == [0, 2, 2, 3]
    for position in [Position(seq, 0) for seq in range(1, log.seq + 1)] + early:
        assert log.place(log.cursor(position)) == position
    for ahead in (Position(1, 1), Position(early[0].seq, 1), Position(early[1].seq, 3)):
        assert log.place(log.cursor(ahead)) == START

"""Who is to be told of a scan's end: part of what the log means, and nothing that a reader sees."""

from hypothesis import given
from hypothesis import strategies as st

from log.test_scanlog import Reader, log_of
from scanstream.log.entry import AnyEntry, Cancelled, NotifyAsked, Queued, Registered, decode, encode
from scanstream.log.fold import MOST_TARGETS
from scanstream.log.scanlog import ScanLog
from scanstream.model import document
from scanstream.scans.explaining import Life
from support.histories import NOON, done, folded, found, histories, notify_asked, planned, registered, started

A, B = notify_asked("a"), notify_asked("b")
ENDS: list[AnyEntry] = [Queued(at=NOON), planned(a=1), started("a"), found("a", "a:1"), done("a")]


def test_the_first_who_ask_are_told_each_address_once() -> None:
    many: list[AnyEntry] = [notify_asked(str(number)) for number in range(MOST_TARGETS + 2)]
    again = NotifyAsked(at=NOON + 9, id=A.id, url=A.url)
    assert folded(registered("a"), A, B, again).targets == (A, B)
    assert folded(registered("a"), *many).targets == tuple(many[:MOST_TARGETS])
    assert folded(registered("a"), B, *ENDS, A).targets == (B,), "after the end nothing counts"


@given(histories(), st.data())
def test_no_reader_sees_it_and_every_cursor_stays_right(entries: list[AnyEntry], data: st.DataObject) -> None:
    """The same log with and without: the same states, opportunities and frames; only the numbers of entries differ."""
    plain: list[AnyEntry] = [entry for entry in entries if not isinstance(entry, NotifyAsked)]
    asked = list(plain)
    for target in (A, B, A):
        asked.insert(data.draw(st.integers(1, len(asked))), target)
    without, seen = log_of(*plain), Reader(log_of(asked[0]))
    for seq, entry in enumerate(asked[1:], start=2):
        told = seen.log.apply(seq, entry)
        assert not (told and isinstance(entry, NotifyAsked)), "who waits is not called for nothing"
        frames = seen.catch_up()
        assert bool(frames) == (seen.log.changed == seq) or seq == 2
        assert all(frame.body or frame.opportunities for frame in frames)
    seen.catch_up()
    seen.assert_holds_all()
    assert seen.log.document == without.document
    assert list(seen.log.opportunities) == list(without.opportunities)


def test_a_reader_before_it_is_brought_on_from_there() -> None:
    reader = Reader(log_of(registered("a"), Queued(at=NOON)))
    reader.catch_up()
    reader.log.apply(3, A)
    assert reader.catch_up() == []
    assert str(reader.log.cursor(reader.log.head)).endswith("-3.0")
    reader.log.apply(4, planned(a=1))
    [frame] = reader.catch_up()
    assert (frame.skipped, frame.snapshot, "started_at" in frame.body) == (1, False, True)
    reader.assert_holds_all()


def test_what_is_stored_is_read_back_and_old_logs_mean_what_they_meant() -> None:
    assert encode(A) == (
        b'{"type":"notify_asked","at":1795442400000,"id":"msg_a","url":"https://a.example.org/secret-a"}'
    )
    assert decode(encode(A)) == A
    before = [decode(encode(entry)) for entry in (registered("a"), *ENDS)]
    assert isinstance(before[0], Registered)
    assert folded(*before).targets == ()
    assert document(folded(*before).state) == document(folded(registered("a"), A, *ENDS).state)


def test_a_finished_scan_still_knows_them() -> None:
    log = log_of(registered("a"), A, *ENDS)
    for _ in log.freeze():
        pass
    assert log.folded.targets == (A,)
    assert log.weight > weight_without()


def weight_without() -> int:
    log: ScanLog = log_of(registered("a"), *ENDS)
    for _ in log.freeze():
        pass
    return log.weight


def test_its_life_names_the_host_and_nothing_of_the_path() -> None:
    late = notify_asked("late", NOON + 5)
    entries: list[AnyEntry] = [registered("a"), A, *ENDS, late]
    life = Life(log_of(*entries), who=True)
    for entry in entries:
        life.take(entry)
    timeline = life.timeline()
    assert [(one.what, one.detail) for one in timeline if one.what == "notify_asked"] == [
        ("notify_asked", "a.example.org")
    ]
    assert "secret" not in repr(timeline)


def test_of_a_cancelled_scan_too() -> None:
    assert folded(registered("a"), A, Cancelled(at=NOON), B).targets == (A,)

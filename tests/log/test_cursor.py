"""Cursors: a position in one opaque word, and whatever else a client may send."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scanstream.log.cursor import START, Cursor, Position, epoch_of, parse
from scanstream.model import ScanId

COUNTS = st.integers(0, 10**16 - 1)
CURSORS = st.builds(
    Cursor,
    st.builds(epoch_of, st.text(), st.text().map(ScanId)),
    st.builds(Position, COUNTS, COUNTS),
)


@given(CURSORS)
def test_a_cursor_comes_back_as_it_went(cursor: Cursor) -> None:
    assert parse(str(cursor)) == cursor


def test_it_is_written_as_the_protocol_says() -> None:
    assert str(Cursor("k3f9", Position(12, 500))) == "k3f9-12.500"
    assert str(Cursor("k3f9", START)) == "k3f9-0.0"


@pytest.mark.parametrize(
    "junk",
    [
        *("", "-", ".", "k3f9", "k3f9-", "k3f9-1", "k3f9-1.", "-1.2", "k3f9-.2", "k3f9-1.2.3", "k3f9-1-1.2"),
        *("K3F9-1.2", "k3f9-1.2 ", " k3f9-1.2", "k3f9-1.2\n", "k3f9-1,2", "k3f9--1.2", "k3f9-1.-2", "k3f9-+1.2"),
        *("k3f9-01.2", "k3f9-1.02", "k3f9-1e3.2", "k3f9-١.2", "k3f9-1_0.2", f"k3f9-{10**16}.0", "k" * 33 + "-1.2"),
        *("null", "undefined", "\0", "k3f9-1.2" * 1000, "9" * 100_000),
    ],
)
def test_junk_is_no_cursor(junk: str) -> None:
    assert parse(junk) is None


@given(st.text() | st.from_regex(r"[0-9a-z]*-[0-9]*\.[0-9]*\n?"))
@example("k3f9-1.2")
def test_there_is_one_text_for_a_cursor(text: str) -> None:
    cursor = parse(text)

    assert cursor is None or str(cursor) == text


def test_another_scan_or_another_store_is_another_epoch() -> None:
    epochs = {epoch_of(store, ScanId(scan)) for store in ("store", "lost") for scan in ("scan_1", "scan_2")}

    assert len(epochs) == 4


def test_an_epoch_outlives_the_server() -> None:
    assert epoch_of("store", ScanId("scan_1")) == "9e4b6565"

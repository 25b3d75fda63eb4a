"""Event streams are read as WHATWG has them, however their lines end and their bytes are cut."""

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scanstream.conformance.events import Event, events, lines, of_body

pytestmark = pytest.mark.anyio

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n"), max_size=12)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
COMMENTS = st.lists(TEXT.map(lambda text: f":{text}"), max_size=2)


@st.composite
def written(draw: st.DrawFn) -> tuple[list[Event], bytes]:
    """Events, and one of the ways to write them."""
    told, end = [], draw(ENDS)
    text = draw(st.sampled_from(["", "\ufeff"]))
    for data in draw(st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=4)):
        name, event_id = draw(st.sampled_from(["snapshot", "update", "end"])), draw(st.none() | TEXT)
        space = draw(st.sampled_from(["", " "])) if not any(line.startswith(" ") for line in data) else " "
        fields = [f"event:{name}", *(f"data:{space}{line}" for line in data)]
        fields += [] if event_id is None else [f"id: {event_id}"]
        text += end.join([*draw(COMMENTS), *fields, "", ""])
        told.append(Event(name, event_id, "\n".join(data)))
    return told, text.encode()


@given(written(), st.lists(st.integers(0, 400), max_size=6))
@example(([Event("end", None, "x")], b"event:end\r\ndata:x\r\n\r\n"), [10, 10])
async def test_what_was_written_is_read_however_it_is_cut(way: tuple[list[Event], bytes], cuts: list[int]) -> None:
    told, content = way
    places = [0, *sorted(cuts), len(content)]

    async def parts() -> AsyncIterator[bytes]:
        for begin, end in pairwise(places):
            yield content[begin:end]

    assert [event async for event in events(lines(parts()))] == told


@given(st.binary(max_size=200))
async def test_no_bytes_are_too_odd(content: bytes) -> None:
    assert all(isinstance(event, Event) for event in await of_body(content))

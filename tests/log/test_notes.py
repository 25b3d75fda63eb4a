"""The notes of many shards: each is told or counted, in an order that is theirs and not that of their coming."""

import random
import re
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from scanstream.log.entry import AnyEntry
from scanstream.log.notes import LONGEST, MOST_BYTES, Notes
from support.histories import done, failed, folded, planned, registered


def noted(notes: list[tuple[int, str]]) -> Notes:
    """They come in this order."""
    all_of_them = Notes()
    for shard, text in notes:
        all_of_them = all_of_them.add(shard, text)
    return all_of_them


def told(*notes: tuple[int, str]) -> str:
    """The text that they make."""
    return noted(list(notes)).told()


def test_equal_ones_are_told_once_with_their_number() -> None:
    assert told() == ""
    assert told((3, "gaps")) == "gaps"
    assert told((3, "gaps"), (0, "flat"), (1, "gaps")) == "flat; gaps (2 shards)"
    assert told((1, "gaps"), (0, "gaps"), (2, "flat")) == "gaps (2 shards); flat"


TEXTS = st.sampled_from(["gaps", "flat", "€" * 700, *(f"{number} " * 500 for number in range(8)), "x" * 9000])


@given(st.lists(TEXTS, max_size=40), st.randoms(use_true_random=False))
def test_the_order_in_which_they_come_does_not_matter(texts: list[str], order: random.Random) -> None:
    notes = list(enumerate(texts))
    calm = noted(notes)
    shuffled = list(notes)
    order.shuffle(shuffled)
    wild = noted(shuffled)

    assert wild.told() == calm.told()
    assert wild == calm
    assert len(calm.told().encode()) <= MOST_BYTES


@given(st.lists(TEXTS, min_size=1, max_size=40))
def test_what_is_not_told_is_counted(texts: list[str]) -> None:
    text = told(*enumerate(texts))
    more = re.search(r"… and (\d+) more$", text)
    shown = [
        one for one in dict.fromkeys(texts) if (one if len(one.encode()) <= LONGEST else one[: LONGEST - 10]) in text
    ]
    assert len(shown) + int(more[1] if more else 0) == len(set(texts))


def test_as_many_as_a_plan_has_shards_take_little_memory() -> None:
    shards = random.Random(7).sample(range(4096), 512)
    tracemalloc.start()
    try:
        all_of_them = Notes()
        for shard in shards:
            all_of_them = all_of_them.add(shard, f"{shard} " * 2000)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1_000_000
    assert all_of_them.told().endswith("… and 511 more")


def test_every_shards_note_is_in_the_state_also_of_those_that_failed() -> None:
    entries: list[AnyEntry] = [registered("a"), planned(a=4)]
    state = folded(
        *entries,
        done("a", 2, note="C has gaps"),
        failed("a", 0, note="it held up"),
        done("a", 1),
        done("a", 3, note="C has gaps"),
    ).state
    assert state.strategies["a"].note == "it held up; C has gaps (2 shards)"


def test_a_note_stays_where_later_shards_have_none() -> None:
    state = folded(registered("a"), planned(a=2), done("a", 0, note="gaps"), done("a", 1)).state
    assert state.strategies["a"].note == "gaps"


def test_of_many_notes_few_are_looked_at() -> None:
    """Each of 4,096 shards has its own: a note more is as much work as the first."""
    notes = noted([(shard, f"shard {shard} saw gaps") for shard in range(4096)])
    assert len(notes.groups) == 4096
    assert len(notes.within) < MOST_BYTES // 16
    assert sum(bool(group.text) for group in notes.groups.values()) == len(notes.within)

"""Packed opportunities are the list that they were, and weigh what their bytes weigh."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanstream.log import packed as packed_module
from scanstream.log.packed import Packed
from scanstream.model import Opportunity, confidence_order
from support.histories import opportunity

FOUND = [opportunity(f"a:{number}") for number in range(23)]


def packed(found: list[Opportunity]) -> Packed:
    """The list, packed."""
    whole = Packed()
    for start in range(0, len(found), packed_module.TOGETHER):
        whole.pack(found[start : start + packed_module.TOGETHER])
    return whole


@given(
    length=st.integers(0, len(FOUND)),
    start=st.none() | st.integers(-30, 30),
    stop=st.none() | st.integers(-30, 30),
    step=st.none() | st.sampled_from([1, 2, -1, -3]),
)
def test_any_part_of_it_is_that_part_of_the_list(
    length: int, start: int | None, stop: int | None, step: int | None
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(packed_module, "TOGETHER", 5)
        plain = FOUND[:length]
        whole = packed(plain)
        assert len(whole) == length
        assert list(whole) == plain == whole
        assert whole[start:stop:step] == plain[start:stop:step]
        assert [whole[index] for index in range(-length, length)] == [*plain, *plain]
        as_they_are = [msgspec.json.decode(whole.encoded(index), type=Opportunity) for index in range(length)]
        assert as_they_are == plain
        assert [plain[index] for index in whole.by_confidence()] == sorted(plain, key=confidence_order)


def test_beyond_its_end_there_is_nothing() -> None:
    whole = packed(FOUND)
    for index in (23, -24):
        with pytest.raises(IndexError):
            whole[index]


def test_it_weighs_its_bytes() -> None:
    assert packed([]).size == 0
    assert 23 * 200 < packed(FOUND).size < 23 * 600

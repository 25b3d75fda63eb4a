"""Packed opportunities are the list that they were, and weigh what their bytes weigh."""

import zlib
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from scanstream.log import packed as packed_module
from scanstream.log.packed import Packed
from scanstream.model import Opportunity, confidence_order
from support.histories import opportunity

FOUND = [opportunity(f"a:{number}") for number in range(23)]


def packed(found: list[Opportunity], *, closed: bool) -> Packed:
    """The list, packed as it came: some at a time."""
    whole = Packed()
    for start in range(0, len(found), 3):
        whole.extend(found[start : start + 3])
    for _ in whole.close() if closed else ():
        assert whole == found
    return whole


@given(
    length=st.integers(0, len(FOUND)),
    start=st.none() | st.integers(-30, 30),
    stop=st.none() | st.integers(-30, 30),
    step=st.none() | st.sampled_from([1, 2, -1, -3]),
    closed=st.booleans(),
    most=st.sampled_from([0, 1000]),
)
def test_any_part_of_it_is_that_part_of_the_list(
    length: int, start: int | None, stop: int | None, step: int | None, closed: bool, most: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(packed_module, "TOGETHER", 5)
        patched.setattr(packed_module, "MOST_COMPRESSED", most)
        plain = FOUND[:length]
        whole = packed(plain, closed=closed)
        assert len(whole) == length
        assert list(whole) == plain == whole
        assert whole[start:stop:step] == plain[start:stop:step]
        assert [whole[index] for index in range(-length, length)] == [*plain, *plain]
        as_they_are = [msgspec.json.decode(one, type=Opportunity) for one in whole.encoded(range(length))]
        assert as_they_are == plain
        assert whole.sizes(range(length)) == sum(map(len, whole.encoded(range(length))))
        results = sorted(plain, key=confidence_order)
        assert [plain[index] for index in whole.by_confidence()] == results
        assert whole.best() == results[: packed_module.MOST_BEST]


@pytest.mark.parametrize("closed", [False, True])
def test_beyond_its_end_there_is_nothing(closed: bool) -> None:
    whole = packed(FOUND, closed=closed)
    for index in (23, -24):
        with pytest.raises(IndexError):
            whole[index]


@pytest.mark.parametrize("at_once", [1, 7, 500])
def test_the_order_of_results_is_kept_however_they_come(at_once: int) -> None:
    random = Random(at_once)
    found = [replace(opportunity(f"a:{number}"), confidence_score=float(random.randrange(50))) for number in range(500)]
    random.shuffle(found)
    whole = Packed()
    for start in range(0, 500, at_once):
        whole.extend(found[start : start + at_once])
        assert whole.best() == sorted(found[: start + at_once], key=confidence_order)[:10]
    assert [found[index].id for index in whole.by_confidence()] == [
        one.id for one in sorted(found, key=confidence_order)
    ]


def test_it_weighs_its_bytes_and_closed_far_fewer() -> None:
    assert packed([], closed=True).size == 0
    many = [opportunity(f"a:{number}") for number in range(230)]
    as_results = len(msgspec.json.encode(many))
    growing = packed(many, closed=False).size
    assert as_results < growing < 2 * as_results
    assert packed(many, closed=True).size < as_results / 5


def test_a_long_list_is_not_compressed_as_its_results_come_from_everywhere_in_it() -> None:
    many = [opportunity(f"a:{number}") for number in range(packed_module.MOST_COMPRESSED + 1)]
    whole = packed(many, closed=True)
    assert len(msgspec.json.encode(many)) <= whole.size
    assert whole[-1] == many[-1]


def test_what_comes_in_one_step_is_unpacked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [opportunity(f"a:{number}") for number in range(1000)]
    whole = packed(many, closed=True)
    unpacked: list[bytes] = []
    decompress = zlib.decompress

    def counted(part: bytes) -> bytes:
        unpacked.append(part)
        return decompress(part)

    monkeypatch.setattr(zlib, "decompress", counted)
    order = list(range(1000))
    Random(1).shuffle(order)
    assert len(whole.encoded(order)) == 1000
    assert len(unpacked) == 10


def test_many_are_put_in_order_step_by_step_and_once_for_all_who_want_it() -> None:
    found = [replace(opportunity(f"a:{number}"), confidence_score=number * 37 % 101) for number in range(3000)]
    whole = Packed()
    for start in range(0, len(found), 500):
        whole.extend(found[start : start + 500])
    one, other = whole.ordering(), whole.ordering()
    assert sum(1 for _ in one) == len(found) // packed_module.TOGETHER
    assert sum(1 for _ in other) == 0
    assert [found[index] for index in whole.by_confidence()] == sorted(found, key=confidence_order)
    whole.extend([replace(opportunity("b"), confidence_score=101.0)])
    assert whole.by_confidence()[0] == len(found), "what comes later has its place, too"

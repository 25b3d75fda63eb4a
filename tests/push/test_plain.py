"""What both formats can say: a walk level by level finds what a plain recursion finds, and names its place."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanstream.push.plain import MOST_NESTING, not_plain

PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
FOREIGN = st.sampled_from([math.nan, -math.inf, 2**64, -(2**63) - 1, b"bytes", datetime.now(UTC), {1: 2}])


def inside(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists and objects of these."""
    return st.lists(leaves) | st.dictionaries(st.text(max_size=2), leaves)


def is_plain(value: Any, levels: int = MOST_NESTING) -> bool:
    """The same by recursion."""
    if isinstance(value, list | dict):
        items = value.values() if isinstance(value, dict) else value
        named = not isinstance(value, dict) or all(isinstance(key, str) for key in value)
        return levels > 0 and named and all(is_plain(item, levels - 1) for item in items)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str) or (isinstance(value, int) and -(2**63) <= value < 2**64)


@given(st.recursive(PLAIN | st.text(), inside))
def test_what_is_plain_passes(value: Any) -> None:
    assert is_plain(value)
    assert not_plain(value, "f") is None


@given(st.recursive(PLAIN | FOREIGN, inside))
def test_what_is_not_is_found(value: Any) -> None:
    assert (not_plain(value, "f") is None) == is_plain(value)


@pytest.mark.parametrize(
    ("value", "place", "reason"),
    [
        (math.nan, "f", "must be a finite number"),
        ([[], {"a": 1}, [1, {"b": [2, 3, math.inf]}]], "f[2][1].b[2]", "must be a finite number"),
        ({"a": [1, 2], "b": {}, "c": [{}, {"d": 2**64}]}, "f.c[1].d", "must be an integer of at most 64 bits"),
        ({"a": {"b": {7: 1}}}, "f.a.b", "has a key that is no string"),
        ([0, b"x"], "f[1]", "must be a value that JSON has, and not of the type `bytes`"),
    ],
)
def test_its_place_is_named(value: Any, place: str, reason: str) -> None:
    assert not_plain(value, "f") == (place, reason)


def test_nesting_is_bounded() -> None:
    value: Any = []
    for _ in range(MOST_NESTING - 1):
        value = [value]
    assert not_plain(value, "f") is None
    assert not_plain([value], "f") == ("f" + "[0]" * MOST_NESTING, f"is nested deeper than {MOST_NESTING} levels")

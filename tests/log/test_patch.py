"""Patches: they lead from state to state, compose key by key, and never lose a field."""

from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from scanstream.log.patch import diff, merge
from scanstream.model import Document

Key = tuple[str, ...]

KEYS = st.sampled_from("abcd")
SCALARS = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = SCALARS | st.lists(SCALARS, max_size=3)
"""What is no object."""
DOCUMENTS: st.SearchStrategy[Document] = st.recursive(
    st.dictionaries(KEYS, VALUES, max_size=3),
    lambda inner: st.dictionaries(KEYS, VALUES | inner, max_size=3),
    max_leaves=8,
)


@st.composite
def grown(draw: st.DrawFn, before: Document) -> Document:
    """A later state: no field is gone, and an object is still one."""
    kept = {key: draw(grown(old) if isinstance(old, dict) else st.just(old) | VALUES) for key, old in before.items()}
    return {**draw(DOCUMENTS), **kept}


@st.composite
def lives(draw: st.DrawFn, *, states: int) -> list[Document]:
    """The states of one document, oldest first."""
    life = [draw(DOCUMENTS)]
    while len(life) < states:
        life.append(draw(grown(life[-1])))
    return life


def paths(document: Document, above: Key = ()) -> list[Key]:
    """The way to every field at any depth."""
    return [
        path
        for key, value in document.items()
        for path in ((*above, key), *(paths(value, (*above, key)) if isinstance(value, dict) else ()))
    ]


def at(document: Document, path: Key) -> Any:
    """The value there."""
    value: Any = document
    for key in path:
        value = value[key]
    return value


@given(lives(states=2))
def test_a_patch_leads_to_the_later_state(life: list[Document]) -> None:
    before, after = life

    assert merge(before, diff(before, after)) == after


@given(lives(states=2))
def test_a_patch_holds_only_what_changed(life: list[Document]) -> None:
    before, after = life
    patch = diff(before, after)
    old, new = set(paths(before)), set(paths(patch))

    assert not [path for path in new & old if at(before, path) == at(after, path)]


@given(lives(states=3))
def test_patches_compose(life: list[Document]) -> None:
    first, second, third = life
    patch, next_patch = diff(first, second), diff(second, third)

    assert merge(merge(first, patch), next_patch) == merge(first, merge(patch, next_patch)) == third


@given(lives(states=4))
def test_a_whole_state_is_a_patch_from_every_earlier_one(life: list[Document]) -> None:
    *earlier, latest = life

    assert [merge(state, latest) for state in earlier] == [latest] * len(earlier)


@given(lives(states=2))
def test_nothing_given_is_changed(life: list[Document]) -> None:
    before, after = life
    copies = deepcopy(life)

    patch = diff(before, after)
    untouched = deepcopy(patch)
    merge(before, patch)

    assert [before, after] == copies
    assert patch == untouched


@given(lives(states=2), st.data())
def test_a_field_that_vanished_is_refused(life: list[Document], data: st.DataObject) -> None:
    before, after = life
    path = data.draw(st.sampled_from([*paths(before), ("new",)]))
    before.setdefault("new", 1)
    after.setdefault("new", 1)
    del at(after, path[:-1])[path[-1]]

    with pytest.raises(ValueError, match="vanished"):
        diff(before, after)


@given(lives(states=2), st.data())
def test_an_object_that_is_none_any_more_is_refused(life: list[Document], data: st.DataObject) -> None:
    before, after = ({**state, "object": {"key": 1}, "value": 1} for state in life)
    path = data.draw(st.sampled_from(paths(before)))
    at(after, path[:-1])[path[-1]] = 1 if isinstance(at(before, path), dict) else {"key": 1}

    with pytest.raises(ValueError, match="object"):
        diff(before, after)


class Vector(msgspec.Struct, forbid_unknown_fields=True):
    """One example that clients in every language share."""

    name: str
    before: Document
    patch: Document
    after: Document


VECTORS = msgspec.json.decode((ROOT / "tests" / "vectors" / "patches.json").read_bytes(), type=list[Vector])


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_vectors(vector: Vector) -> None:
    assert merge(vector.before, vector.patch) == vector.after
    assert merge(vector.before, diff(vector.before, vector.after)) == vector.after

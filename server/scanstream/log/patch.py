"""Patches: how one state becomes a later one.

RFC 7396 merge patches in a dialect without null: no field ever vanishes and an object stays an object. That is why they
compose key by key (`merge` is both application and composition) and why a whole state is a valid patch from every
earlier state. General merge patches do neither.
"""

from typing import Any

from scanstream.model import Document


def diff(before: Document, after: Document) -> Document:
    """The smallest patch with `merge(before, diff(before, after)) == after`.

    :raises ValueError: if a field vanished or an object became something else; the fold never does that
    """
    if not before.keys() <= after.keys():
        raise ValueError(f"fields vanished: {sorted(before.keys() - after.keys())}")
    patch: Document = {}
    for key, value in after.items():
        if key not in before:
            patch[key] = value
        elif before[key] is not value and before[key] != value:
            patch[key] = _change(key, before[key], value)
    return patch


def _change(key: str, before: Any, after: Any) -> Any:
    if isinstance(before, dict) != isinstance(after, dict):
        raise ValueError(f"{key} was {'' if isinstance(before, dict) else 'not '}an object, and must stay so")
    return diff(before, after) if isinstance(before, dict) else after


def merge(target: Document, patch: Document) -> Document:
    """`target` with `patch` on it; of two patches, the one that does both. Changes neither."""
    merged = dict(target)
    for key, value in patch.items():
        held = merged.get(key)
        merged[key] = merge(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return merged

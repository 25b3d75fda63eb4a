"""A client's copy of one scan."""

from typing import Any

import pytest

from scanstream.client.mirror import Mirror, ProtocolError


def snapshot(state: dict[str, Any], *ids: str, cursor: str = "e-1.0") -> dict[str, Any]:
    """A frame that replaces everything."""
    found = [{"id": identity} for identity in ids]
    return {"type": "snapshot", "scan_id": "s", "cursor": cursor, "state": state, "opportunities": found, "offset": 0}


def update(patch: dict[str, Any], offset: int | None = None, *ids: str, cursor: str = "e-2.0") -> dict[str, Any]:
    """A frame that goes on; without an offset it brings no opportunities."""
    found: dict[str, Any] = (
        {} if offset is None else {"opportunities": [{"id": name} for name in ids], "offset": offset}
    )
    return {"type": "update", "scan_id": "s", "cursor": cursor, "patch": patch, **found}


def ids(mirror: Mirror) -> list[str]:
    """What it holds."""
    return [found["id"] for found in mirror.opportunities]


def test_frames_add_up() -> None:
    mirror = Mirror()
    mirror.apply(snapshot({"status": "scanning", "progress": {"a": 1, "b": 1}}, "x"))
    mirror.apply(update({"progress": {"b": 2}}))
    mirror.apply(update({"status": "complete"}, 1, "y", "z", cursor="e-3.3"))
    assert mirror.state == {"status": "complete", "progress": {"a": 1, "b": 2}}
    assert ids(mirror) == ["x", "y", "z"]
    assert (mirror.cursor, mirror.ended) == ("e-3.3", False)


def test_a_snapshot_discards_what_was_held() -> None:
    mirror = Mirror()
    mirror.apply(snapshot({"status": "scanning", "note": "old"}, "x", "y"))
    mirror.apply(snapshot({"status": "scanning"}, "z", cursor="f-1.1"))
    assert mirror.state == {"status": "scanning"}
    assert ids(mirror) == ["z"]
    assert mirror.cursor == "f-1.1"


def test_the_end_keeps_all_and_moves_the_cursor() -> None:
    mirror = Mirror()
    mirror.apply(snapshot({"status": "complete"}, "x"))
    mirror.apply({"type": "end", "scan_id": "s", "cursor": "e-9.1", "status": "complete"})
    assert mirror.ended
    assert ids(mirror) == ["x"]
    assert mirror.cursor == "e-9.1"


def test_opportunities_that_do_not_follow_are_a_defect() -> None:
    mirror = Mirror()
    mirror.apply(snapshot({}, "x"))
    with pytest.raises(ProtocolError, match="offset 2, but 1 are held"):
        mirror.apply(update({}, 2, "y"))
    assert mirror.cursor == "e-1.0"

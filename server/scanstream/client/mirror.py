"""What a reader holds of one scan. Pure: frames in; state, opportunities and the cursor to go on from out."""

from typing import Any

from scanstream.log.cursor import Cursor, parse
from scanstream.log.patch import merge
from scanstream.model import Document

FRAMES = ("snapshot", "update", "end")
ENVELOPE = ("cursor", "opportunities", "offset", "more", "skipped", "partial_results", "rank")
"""What a status answer holds beside the state."""


class ProtocolError(Exception):
    """A frame does not follow from what is held: it is to be asked for again, from the cursor."""


class Mirror:
    """The state, the opportunities, and the cursor to go on from."""

    def __init__(self) -> None:
        self.state: Document = {}
        self.opportunities: list[dict[str, Any]] = []
        """In the order of the log. Only grows; a snapshot brings another list."""
        self.cursor: str | None = None
        self.base = 0
        """How many opportunities came before the first one held, where a reader began at a cursor."""
        self.ended = False
        """Whether the server said that nothing more will come."""
        self.lacking = False
        """Whether somebody wants more than is held: a snapshot, which brings all, is to come."""

    @classmethod
    def since(cls, cursor: str) -> "Mirror":
        """Begins where a reader was before: opportunities that came until then are not held."""
        mirror = cls()
        mirror.cursor = cursor
        place = parse(cursor)
        mirror.base = place.position.n if place else 0
        return mirror

    @property
    def place(self) -> str | None:
        """The cursor that the next frame is to lead on from; None where it is to be a snapshot."""
        return None if self.lacking else self.cursor

    @property
    def everything(self) -> list[dict[str, Any]] | None:
        """All that the scan has found, if it has ended and all of it is held."""
        place = parse(self.cursor or "")
        whole = self.ended and self.base == 0 and place is not None and place.position.n == len(self.opportunities)
        return self.opportunities if whole and self._counted() else None

    def _counted(self) -> bool:
        """Whether the state says the same; a reader of the state alone holds none."""
        return self.state.get("total_opportunities") == len(self.opportunities)

    def apply(self, message: dict[str, Any]) -> bool:
        """Take a `snapshot`, an `update` or the `end`; what else there may be is ignored.

        Opportunities that are held already are not taken again, and nothing is of an update from before what is held:
        one that came twice, or late.

        :return: whether it was a frame, and was taken
        :raises ProtocolError: if it is malformed, or something is missing between what is held and the frame; then
            nothing has changed
        """
        kind = message.get("type")
        if kind not in FRAMES:
            return False
        if not isinstance(message.get("cursor"), str):
            raise ProtocolError(f"{kind} without a cursor")
        match kind:
            case "snapshot":
                self._begin(message)
            case "update":
                if not self._go_on(message):
                    return False
            case _:
                self._end(message)
        self.cursor = message["cursor"]
        return True

    def _begin(self, message: dict[str, Any]) -> None:
        state, found = _object(message, "state"), _listed(message)
        after = parse(message["cursor"])
        if after is not None and after.position.n > len(found):
            raise ProtocolError(f"{message['cursor']}: a snapshot with {len(found)} opportunities")
        self.state, self.opportunities, self.base, self.lacking = state, found, 0, False

    def _go_on(self, message: dict[str, Any]) -> bool:
        """Whether there is something new in it."""
        patch, found = _object(message, "patch"), _listed(message)
        before, after = self._place(), parse(message["cursor"])
        if before is not None and after is not None:
            begin = after.position.seq - 1 - _whole(message, "skipped", after.position.seq)
            if before.epoch != after.epoch or before.position.seq < begin:
                raise ProtocolError(f"{message['cursor']} does not lead on from {self.cursor}")
            if after.position < before.position:
                return False
        new = self._new(message, found)
        if before is not None and after is not None and after.position.n > self._count(before) + len(new):
            raise ProtocolError(f"{message['cursor']}: {len(new)} new opportunities after {self.cursor}")
        self.state = merge(self.state, patch)
        self.opportunities += new
        return True

    def _end(self, message: dict[str, Any]) -> None:
        """Whatever number it has: what was said before it must have come."""
        before, after = self._place(), parse(message["cursor"])
        if before is not None and after is not None:
            here = before.epoch == after.epoch and before.position.seq == after.position.seq
            told = self.state.get("status") == message.get("status")
            if not (here or told) or after.position.n > self._count(before):
                raise ProtocolError(f"the end is at {message['cursor']}, and {self.cursor} is held")
        self.ended = True

    def _count(self, place: Cursor) -> int:
        """How many opportunities came until here; a reader of the state alone has their number only."""
        return max(place.position.n, self.base + len(self.opportunities))

    def _place(self) -> Cursor | None:
        """Where this is; None where the cursor is not one that this version can read.

        :raises ProtocolError: if nothing is held that could be gone on from
        """
        if self.cursor is None:
            raise ProtocolError("nothing is held yet")
        return parse(self.cursor)

    def _new(self, message: dict[str, Any], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        held = self.base + len(self.opportunities)
        begin = _whole(message, "offset", held)
        if found and not self.base <= begin <= held:
            raise ProtocolError(f"{message['cursor']}: offset {begin}, but {held} are held")
        return found[held - begin :] if found else []


def _object(message: dict[str, Any], name: str) -> Document:
    if not isinstance(value := message.get(name), dict):
        raise ProtocolError(f"{message['type']}: {name} is no object")
    return value


def _listed(message: dict[str, Any]) -> list[dict[str, Any]]:
    found = message.get("opportunities", [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ProtocolError(f"{message['type']}: opportunities are no list of objects")
    return [*found]


def _whole(message: dict[str, Any], name: str, absent: int) -> int:
    value = message.get(name, absent)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ProtocolError(f"{message['type']}: {name} is no whole number")
    return value


def state_in(body: Document) -> Document:
    """The state in a status answer."""
    return {name: value for name, value in body.items() if name not in ENVELOPE}


def skipped(before: str | None, after: str) -> int:
    """Revisions folded together on the way between two cursors, beyond the first: what an update calls `skipped`."""
    begin, end = parse(before or ""), parse(after)
    if begin is None or end is None or begin.epoch != end.epoch or begin.position.seq == 0:
        return 0
    return max(0, end.position.seq - begin.position.seq - 1)

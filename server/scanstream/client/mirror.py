"""What a reader holds of one scan. Pure: frames in; state, opportunities and the cursor to go on from out."""

from typing import Any

from scanstream.log.cursor import parse
from scanstream.log.patch import merge
from scanstream.model import Document

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

    @classmethod
    def since(cls, cursor: str) -> "Mirror":
        """Begins where a reader was before: opportunities that came until then are not held."""
        mirror = cls()
        mirror.cursor = cursor
        place = parse(cursor)
        mirror.base = place.position.n if place else 0
        return mirror

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

        Opportunities that are held already are not taken again.

        :return: whether it was a frame
        :raises ProtocolError: if something is missing between what is held and the frame; then nothing has changed
        """
        match message.get("type"):
            case "snapshot":
                self.state = message["state"]
                self.opportunities = [*message.get("opportunities", ())]
                self.base = 0
            case "update":
                found = self._new(message)
                self.state = merge(self.state, message["patch"])
                self.opportunities += found
            case "end":
                self.ended = True
            case _:
                return False
        self.cursor = message["cursor"]
        return True

    def _new(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = message.get("opportunities", [])
        held = self.base + len(self.opportunities)
        begin = message.get("offset", held)
        if found and not self.base <= begin <= held:
            raise ProtocolError(f"{message['cursor']}: offset {begin}, but {held} are held")
        return found[held - begin :] if found else []


def state_in(body: Document) -> Document:
    """The state in a status answer."""
    return {name: value for name, value in body.items() if name not in ENVELOPE}


def skipped(before: str | None, after: str) -> int:
    """Revisions folded together on the way between two cursors, beyond the first: what an update calls `skipped`."""
    begin, end = parse(before or ""), parse(after)
    if begin is None or end is None or begin.epoch != end.epoch or begin.position.seq == 0:
        return 0
    return max(0, end.position.seq - begin.position.seq - 1)

"""A client's copy of one scan: frames in, state and opportunities out."""

from typing import Any

from scanstream.log.patch import merge
from scanstream.model import Document


class ProtocolError(Exception):
    """The server sent what it must not: a defect, never a matter of luck."""


class Mirror:
    """What a reader holds: the state, the opportunities, and the cursor to go on from."""

    def __init__(self) -> None:
        self.state: Document = {}
        self.opportunities: list[dict[str, Any]] = []
        self.cursor: str | None = None
        self.ended = False
        """Whether the server said that nothing more will come."""

    def apply(self, message: dict[str, Any]) -> None:
        """Take a `snapshot`, an `update` or the `end`.

        :raises ProtocolError: if the frame does not follow from what is held
        """
        match message["type"]:
            case "snapshot":
                self.state = message["state"]
                self.opportunities = []
                self._extend(message)
            case "update":
                self.state = merge(self.state, message["patch"])
                self._extend(message)
            case "end":
                self.ended = True
        self.cursor = message["cursor"]

    def _extend(self, message: dict[str, Any]) -> None:
        found = message.get("opportunities", [])
        offset = message.get("offset", len(self.opportunities) if not found else None)
        if offset != len(self.opportunities):
            raise ProtocolError(f"{message['cursor']}: offset {offset}, but {len(self.opportunities)} are held")
        self.opportunities += found

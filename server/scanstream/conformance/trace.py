"""What went over the wire while a check was made: shown where it fails."""

from collections import deque
from typing import Any

import msgspec

from scanstream.legible import legible

LINES = 24
WIDTH = 300
LONGEST_LINE = 2 * WIDTH


class Trace:
    """The last lines of a check's conversation: `→` to the server, `←` from it."""

    def __init__(self, *secrets: str | None) -> None:
        """`secrets`: credentials that are shown nowhere."""
        self._secrets = [secret for secret in secrets if secret]
        self._lines: deque[str] = deque(maxlen=LINES)

    def asked(self, words: str, body: Any = None) -> None:
        """A request, or a message to the server."""
        self._say("→", words, body)

    def came(self, words: str, body: Any = None) -> None:
        """An answer, or a message from the server."""
        self._say("←", words, body)

    def noted(self, words: str) -> None:
        """What the check itself did: cut a connection, changed over to another transport."""
        self._say("·", words, None)

    def clear(self) -> None:
        """Another check begins."""
        self._lines.clear()

    def lines(self) -> list[str]:
        """The last ones, in order; long ones are cut."""
        return list(self._lines)

    def _say(self, way: str, words: str, body: Any) -> None:
        line = f"{way} {words}" + ("" if body is None else f" {shown(body)}")
        for secret in self._secrets:
            line = line.replace(secret, "…")
        self._lines.append(legible(line, LONGEST_LINE))  # tokens that the server has given are told no more than keys


def shown(body: Any) -> str:
    """A value in one line, cut where it is long."""
    if isinstance(body, bytes):
        text = body[: 2 * WIDTH].decode(errors="replace")
    elif isinstance(body, str):
        text = body
    else:
        text = msgspec.json.encode(body).decode()
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}… ({len(text)} characters)"

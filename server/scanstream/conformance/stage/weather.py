"""What a script does to a client: asked before each answer and each frame. The calm one does nothing."""

from collections.abc import Sequence
from random import Random
from typing import Any

from scanstream.conformance.stage.lines import Asked, Cut, Reply, as_json

PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
ABSENT = {"success": False, "status": "not_found", "message": "No scan found. Please initiate a new scan."}


class Freeze(Exception):
    """From here on this connection is silent, and stays open."""


class Weather:
    """Calm: everything comes as it was sent."""

    def answer(self, asked: Asked, kind: str) -> Reply | None:
        """What is answered instead; None where nothing is in the way.

        :param kind: `websocket`, `stream`, `longpoll`, `poll`, `discover`, `results`, or `other`
        :raises Cut: to end the connection without an answer
        :raises Freeze: to say nothing at all
        """
        return None

    def told(self, kind: str, message: dict[str, Any]) -> Sequence[dict[str, Any]]:
        """What is told instead of a message of a socket, a stream or a long poll.

        :raises Cut: to end the connection instead
        :raises Freeze: to be silent from now on
        """
        return [message]

    def written(self, event: bytes) -> bytes:
        """How an event of a stream goes out."""
        return event

    def answered(self, asked: Asked, kind: str, reply: Reply) -> Reply:
        """What is answered instead, where something was done: an answer may get lost.

        :raises Cut: to lose it
        """
        return reply


def page(status: int = 502) -> Reply:
    """What a proxy says in place of a server."""
    return Reply(status, PAGE, {"content-type": "text/html"})


def problem(status: int, code: str, **headers: str) -> Reply:
    """A problem document."""
    told = {"type": f"urn:scanstream:error:{code}", "title": code, "status": status, "detail": code, "message": code}
    return as_json(status, {**told, "code": code}, content_type="application/problem+json", **headers)


class Cuts(Weather):
    """Connections are cut off behind a frame, again and again: where, is chance's."""

    def __init__(self, random: Random, most: int = 3) -> None:
        self._random = random
        self._most = most
        self._left = random.randint(1, most)

    def told(self, kind: str, message: dict[str, Any]) -> Sequence[dict[str, Any]]:
        """A few frames, then the end of the connection."""
        if message["type"] not in ("snapshot", "update"):
            return [message]
        if self._left == 0:
            self._left = self._random.randint(1, self._most)
            raise Cut
        self._left -= 1
        return [message]


class Refuses(Weather):
    """Some transports do not come through."""

    def __init__(self, *kinds: str, status: int = 403) -> None:
        self._kinds = kinds
        self._status = status

    def answer(self, asked: Asked, kind: str) -> Reply | None:
        """A page in place of an answer."""
        return page(self._status) if kind in self._kinds else None


class Freezes(Weather):
    """One connection falls silent after some frames; those behind it are fine."""

    def __init__(self, *kinds: str, frames: int = 2) -> None:
        self._kinds = kinds
        self._left = frames
        self._frozen = False

    def told(self, kind: str, message: dict[str, Any]) -> Sequence[dict[str, Any]]:
        """Silence, once."""
        if kind in self._kinds and not self._frozen and message["type"] in ("snapshot", "update"):
            self._left -= 1
            if self._left < 0:
                self._frozen = True
                raise Freeze
        return [message]


class Buffers(Weather):
    """A proxy without WebSockets that keeps event streams back."""

    def answer(self, asked: Asked, kind: str) -> Reply | None:
        """No upgrade, and no byte of a stream."""
        if kind == "websocket":
            return page(403)
        if kind == "stream":
            raise Freeze
        return None


class Injects(Weather):
    """Message types and fields that nobody knows."""

    def told(self, kind: str, message: dict[str, Any]) -> Sequence[dict[str, Any]]:
        """One that is strange before each, and more in each."""
        strange = {"type": "weather", "scan_id": message.get("scan_id", "?"), "cursor": "zz-9.9", "state": {"a": None}}
        return [strange, {**message, "x_unknown": {"deep": [None, 1e300]}, "x_none": None, "": [[]]}]

    def answered(self, asked: Asked, kind: str, reply: Reply) -> Reply:
        """More in every object that is answered."""
        if reply.body.startswith(b"{") and len(reply.body) > 2:
            return reply._replace(body=reply.body[:-1] + b', "x_unknown": {"deep": [null]}}')
        return reply


class Rewrites(Weather):
    """Event streams as they may be written as well: other ends of lines, data on two lines, no spaces, comments."""

    def written(self, event: bytes) -> bytes:
        """What it says is the same."""
        told = event.replace(b"\ndata: {", b"\n:\n: still here\nunknown: 1\ndata:{\ndata:").replace(
            b"event: ", b"event:"
        )
        return b"retry:700\r\n\r\n" + told.replace(b"\n", b"\r\n")


class Repeats(Weather):
    """Every frame comes twice."""

    def told(self, kind: str, message: dict[str, Any]) -> Sequence[dict[str, Any]]:
        """Twice, but for what is no frame."""
        return [message] * (2 if message["type"] in ("snapshot", "update") else 1)


class Loses(Weather):
    """An update is lost, once on each kind of connection; the connection goes on."""

    def __init__(self, number: int = 2) -> None:
        self._number = number
        self._seen: dict[str, int] = {}

    def told(self, kind: str, message: dict[str, Any]) -> Sequence[dict[str, Any]]:
        """All but one."""
        self._seen[kind] = self._seen.get(kind, 0) + (message["type"] == "update")
        return [] if message["type"] == "update" and self._seen[kind] == self._number else [message]


class LosesEnd(Weather):
    """The first end is lost, with the update that tells of it; the connection stays open and answers pings."""

    def __init__(self) -> None:
        self._lost: set[str] = set()

    def told(self, kind: str, message: dict[str, Any]) -> Sequence[dict[str, Any]]:
        """What tells of the end is lost, once."""
        tells = message.get("patch", {}).get("status", "scanning") != "scanning"
        name = message["type"] if message["type"] == "end" else "update"
        if (tells or message["type"] == "end") and name not in self._lost:
            self._lost.add(name)
            return []
        return [message]


class LosesAck(Weather):
    """The answer to the first discover is lost, though the scan is registered."""

    def __init__(self) -> None:
        self._lost = False

    def answered(self, asked: Asked, kind: str, reply: Reply) -> Reply:
        """Lost, once."""
        if kind == "discover" and not self._lost:
            self._lost = True
            raise Cut
        return reply

    def told(self, kind: str, message: dict[str, Any]) -> Sequence[dict[str, Any]]:
        """The same where it came over a WebSocket."""
        if (
            message["type"] == "ack"
            and "poll_url" in message
            and message.get("status") == "initiated"
            and not self._lost
        ):
            self._lost = True
            raise Cut
        return [message]


class Sometimes(Weather):
    """One of every so many requests is answered with this instead, the first of them."""

    def __init__(self, reply: Reply, every: int, *kinds: str, most: int = 1000) -> None:
        self._reply = reply
        self._every = every
        self._kinds = kinds
        self._most = most
        self._count = 0

    def answer(self, asked: Asked, kind: str) -> Reply | None:
        """It, or nothing."""
        if kind not in self._kinds or self._most == 0:
            return None
        self._count += 1
        if (self._count - 1) % self._every:
            return None
        self._most -= 1
        return self._reply


class Both(Weather):
    """What the first does to questions, and the second to frames."""

    def __init__(self, first: Weather, second: Weather) -> None:
        self._first = first
        self._second = second

    def answer(self, asked: Asked, kind: str) -> Reply | None:
        """As the first has it."""
        return self._first.answer(asked, kind)

    def told(self, kind: str, message: dict[str, Any]) -> Sequence[dict[str, Any]]:
        """As the second has it."""
        return self._second.told(kind, message)

    def written(self, event: bytes) -> bytes:
        """As the second has it."""
        return self._second.written(event)

    def answered(self, asked: Asked, kind: str, reply: Reply) -> Reply:
        """As the second has it."""
        return self._second.answered(asked, kind, reply)

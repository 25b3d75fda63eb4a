"""What goes over the connections of servers in this process, as it was on the wire: recorded, and read afterwards.

To record costs next to nothing while a test runs: requests as the parser has read them, and the bytes of the answers,
up to a bound. They are read when the test is over (`exchanges`), and judged by the contracts (support/judge.py).
"""

import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

import scanstream.server
from scanstream.push.transport.http import HttpTransport
from scanstream.push.transport.websocket import WebSocketTransport

MOST_BYTES = 256 * 1024
"""Kept of what one connection is sent."""
MOST_KEPT = 8 * 1024 * 1024
"""Kept of what is said in one test."""
MOST_BODY = 64 * 1024
"""Kept of a request's body; of a longer one nothing."""
WITHOUT_BODY = {204, 304}


class Asked:
    """A request, as the server's parser read it."""

    __slots__ = ("body", "headers", "method", "target")

    def __init__(self, method: str, target: str, headers: list[tuple[str, str]]) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body: bytes | None = b""
        """None: too long to be kept."""


class Answered(NamedTuple):
    """An answer, and what it answers."""

    asked: Asked | None
    """None: it was refused before it was read to the end of its head."""
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool
    """Whether the body is there to its end."""


class Message(NamedTuple):
    """One message of a WebSocket."""

    by_server: bool
    data: str | bytes
    subprotocol: str | None


class Closed(NamedTuple):
    """The server has said goodbye to a WebSocket."""

    code: int
    reason: str
    repeated: bool = False
    """Whether that is the client's own goodbye, with the client's code."""


Exchange = Answered | Message | Closed


class Line:
    """One connection."""

    __slots__ = ("asked", "closed", "heard", "kept", "left", "said")

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.heard: list[str | bytes] = []
        """The messages of a WebSocket's client."""
        self.said = bytearray()
        self.kept = True
        """Whether all of it is in `said`."""
        self.closed = False
        self.left = False
        """Whether a WebSocket's client has said goodbye first."""


class Traffic:
    """All that was recorded and not taken yet."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._bytes = 0

    def line(self) -> Line:
        """A new connection."""
        line = Line()
        self.lines.append(line)
        return line

    def say(self, line: Line, data: Any) -> None:
        """The server writes."""
        if not line.kept:
            return
        if len(line.said) + len(data) > MOST_BYTES or self._bytes + len(data) > MOST_KEPT:
            line.kept = False
            return
        line.said += data
        self._bytes += len(data)

    def take(self, *, ended: bool = True) -> list[Line]:
        """The connections that have ended since; with `ended` false all there are."""
        taken = [line for line in self.lines if line.closed or not ended]
        self.lines = [line for line in self.lines if not (line.closed or not ended)]
        self._bytes = sum(len(line.said) for line in self.lines)
        return taken


TRAFFIC = Traffic()


class Tapped:
    """A transport that is listened to."""

    def __init__(self, transport: Any, line: Line) -> None:
        self._transport = transport
        self.line = line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: Any) -> None:
        """See `asyncio.Transport.write`."""
        TRAFFIC.say(self.line, data)
        self._transport.write(data)

    def writelines(self, parts: Any) -> None:
        """See `asyncio.Transport.writelines`."""
        parts = list(parts)
        for part in parts:
            TRAFFIC.say(self.line, part)
        self._transport.writelines(parts)


class Recorded(HttpTransport):
    """The server's HTTP, listened to."""

    _line: Line

    def connection_made(self, transport: Any) -> None:
        """See `HttpTransport.connection_made`."""
        self._line = TRAFFIC.line()
        super().connection_made(Tapped(transport, self._line))  # type: ignore[arg-type]  # as far as it is used

    def connection_lost(self, exc: Exception | None) -> None:
        """See `HttpTransport.connection_lost`."""
        self._line.closed = True
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """See `HttpTransport.on_headers_complete`, in which some requests are answered."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers]
        self._line.asked.append(Asked(self.parser.get_method().decode(), self.url.decode("latin-1"), headers))
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """See `HttpTransport.on_body`."""
        asked = self._line.asked[-1]
        if asked.body is not None:
            asked.body = asked.body + body if len(asked.body) + len(body) <= MOST_BODY else None
        super().on_body(body)

    def _is_repeated(self, data: bytes) -> bool:
        repeated = super()._is_repeated(data)
        if repeated:
            self._line.asked.append(self._line.asked[-1])
        return repeated


def record(patch: pytest.MonkeyPatch) -> None:
    """From now on."""
    taken, lost = WebSocketTransport.send_receive_event_to_app, WebSocketTransport.connection_lost
    left = WebSocketTransport.handle_close

    def take(self: Any) -> None:
        line = getattr(self.transport, "line", None)
        if line is not None and len(self.frames[-1]) <= MOST_BODY and len(line.heard) < MOST_BODY:
            data = bytes(self.frames[-1])
            line.heard.append(data if self.curr_msg_data_type == "bytes" else data.decode(errors="replace"))
        taken(self)

    def lose(self: Any, exc: Exception | None) -> None:
        if (line := getattr(self.transport, "line", None)) is not None:
            line.closed = True
        lost(self, exc)

    def leave(self: Any, event: Any) -> None:
        if (line := getattr(self.transport, "line", None)) is not None:
            line.left = line.left or not self.close_sent
        left(self, event)

    patch.setattr(WebSocketTransport, "handle_close", leave)
    patch.setattr(scanstream.server, "HttpTransport", Recorded)
    patch.setattr(WebSocketTransport, "send_receive_event_to_app", take)
    patch.setattr(WebSocketTransport, "connection_lost", lose)


def exchanges(line: Line) -> Iterator[Exchange]:
    """What was said on a connection, in order; what is not there whole is left out, or said to be a part."""
    asked, rest = iter(line.asked), bytes(line.said)
    while rest:
        head, found, rest = rest.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        headers = [(name, value.strip()) for name, _, value in (text.partition(":") for text in lines)]
        if 100 <= status < 200 and status != 101:
            continue
        request = next(asked, None)
        named = {name.lower(): value for name, value in headers}
        if status == 101:
            yield Answered(request, status, headers, b"", True)
            protocol = named.get("sec-websocket-protocol")
            yield from (Message(False, data, protocol) for data in line.heard)
            for said in _frames(rest, protocol):
                yield said._replace(repeated=line.left) if isinstance(said, Closed) else said
            return
        body, whole, rest = _body(request, status, named, rest)
        yield Answered(request, status, headers, body, whole and (line.kept or bool(rest)))


def _body(request: Asked | None, status: int, headers: dict[str, str], rest: bytes) -> tuple[bytes, bool, bytes]:
    """(an answer's body, whether it is whole, what comes behind it), as RFC 9112 has it in section 6.3."""
    if status in WITHOUT_BODY or (request is not None and request.method == "HEAD"):
        return b"", True, rest
    if headers.get("transfer-encoding") == "chunked":
        return _chunks(rest)
    size = int(headers.get("content-length", len(rest)))
    return rest[:size], len(rest) >= size, rest[size:]


def _chunks(rest: bytes) -> tuple[bytes, bool, bytes]:
    whole = bytearray()
    while rest:
        line, _, behind = rest.partition(b"\r\n")
        size = int(line, 16)
        if len(behind) < size + 2:
            break
        whole += behind[:size]
        rest = behind[size + 2 :]
        if size == 0:
            return bytes(whole), True, rest
    return bytes(whole), False, b""


def _frames(rest: bytes, protocol: str | None) -> Iterator[Message | Closed]:
    """The frames of a server, which are not masked (RFC 6455, section 5.2), some compressed (RFC 7692)."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    while len(rest) >= 2:
        size, start = rest[1] & 0x7F, 2
        if size >= 126:
            start += 2 if size == 126 else 8
            size = int.from_bytes(rest[2:start], "big")
        data = rest[start : start + size]
        if len(data) < size or len(rest) < start:
            return
        opcode, packed, last = rest[0] & 0x0F, bool(rest[0] & 0x40), bool(rest[0] & 0x80)
        rest = rest[start + size :]
        if opcode == 8:
            yield Closed(int.from_bytes(data[:2], "big") if data else 1005, data[2:].decode(errors="replace"))
            return
        assert last or opcode > 8, "the server sends each message in one frame"
        if packed:
            data = inflate.decompress(data + b"\x00\x00\xff\xff")
        if opcode in (1, 2):
            yield Message(True, data.decode() if opcode == 1 else data, protocol)

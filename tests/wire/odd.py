"""What proxies and servers of other makers do to answers and messages: some of it allowed, and all of it met somewhere.

Each is one of the proxy's faults: `Faults(odd="gzipped")`, `--odd gzipped`.
"""

import json
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from wire.faults import CLOSE, TEXT, Head, Through, closing, frame

BINARY, PING, NOBODYS = 2, 9, 3
FINAL, COMPRESSED = 128, 64
EARLY = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n"
OUR_FRAMES = 2
"""An ack and one frame come through before a socket comes to harm: then it is proven."""
FLOOD = 100


class Answer(NamedTuple):
    """What comes in the place of an answer's head and body; the connection ends with it."""

    head: bytes
    through: Through
    tail: Callable[[], bytes]


def _nothing() -> bytes:
    return b""


def _same(data: bytes) -> bytes:
    return data


def _early(head: Head, first: bool) -> Answer:
    return Answer(EARLY + head.having(), _same, _nothing)


def _old(head: Head, first: bool) -> Answer:
    old = head._replace(first=head.first.replace("HTTP/1.1", "HTTP/1.0"))
    return Answer(old.having(content_length="", connection=""), _same, _nothing)


def _gzipped(head: Head, first: bool) -> Answer:
    """Though nobody has asked for it."""
    packer = zlib.compressobj(wbits=31)

    def through(data: bytes) -> bytes:
        return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)

    return Answer(head.having(content_length="", content_encoding="gzip"), through, packer.flush)


def _chunk(data: bytes) -> bytes:
    """In chunks of seven bytes, with an extension that nobody knows."""
    pieces = (data[begin : begin + 7] for begin in range(0, len(data), 7))
    return b"".join(b"%x;x=y\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def _chunked(head: Head, first: bool) -> Answer:
    told = head.having(content_length="", transfer_encoding="chunked")
    return Answer(told, _chunk, lambda: b"0\r\nx-trailer: 1\r\n\r\n")


def _cut(head: Head, first: bool) -> Answer:
    """In the midst of a chunk; the next answer is whole."""
    whole = _chunked(head, first)
    return Answer(whole.head, lambda data: b"%x\r\n%s" % (len(data) + 9, data), _nothing) if first else whole


def _too_short(head: Head, first: bool) -> Answer:
    """The body ends before its length is there; the next answer is whole."""
    length = head.value("content-length")
    return Answer(
        head.having(content_length=str(int(length) + 99)) if first and length else head.having(), _same, _nothing
    )


def _too_long(head: Head, first: bool) -> Answer:
    """The body goes on beyond its length; the next answer does not."""
    length = head.value("content-length")
    return Answer(
        head.having(content_length=str(int(length) // 2)) if first and length else head.having(), _same, _nothing
    )


def _nonsense(head: Head, first: bool) -> Answer:
    """Lengths that contradict each other; the next answer has one."""
    told = head.having()
    return Answer(
        told.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n") if first else told,
        _same,
        _nothing,
    )


ANSWERS: dict[str, Callable[[Head, bool], Answer]] = {
    "early answers": _early,
    "HTTP/1.0": _old,
    "gzipped": _gzipped,
    "chunks": _chunked,
    "a chunk that is cut": _cut,
    "too short": _too_short,
    "too long": _too_long,
    "two lengths": _nonsense,
}
"""By name; the second argument says whether the answer before this one came to no harm."""


def _fragments(whole: bytes, body: bytes) -> bytes:
    """A message in three, with pings between them."""
    third = len(body) // 3 + 1
    first, second, last = body[:third], body[third : 2 * third], body[2 * third :]
    parts = ((frame(TEXT, first), ~FINAL), (frame(0, second), ~FINAL), (frame(0, last), 255))
    return frame(PING, b"?").join(bytes([part[0] & mask & 255]) + part[1:] for part, mask in parts)


def _acks_twice(whole: bytes, body: bytes) -> bytes:
    return whole * 2 if json.loads(body)["type"] in ("ack", "pong") else whole


def _acks_of_others(whole: bytes, body: bytes) -> bytes:
    """Of questions that were not asked, or not yet; with another scan in them, or none."""
    ids = ["1", "2", "3", "4", "s1", "s2", "s3", 7, None, "renewal"]
    acks = [
        {"type": "ack", "id": one, "scan_id": "scan_of_the_sky", "status": "complete", "cursor": "z-9.9"} for one in ids
    ]
    if json.loads(body)["type"] == "ack":
        return whole
    return b"".join(frame(TEXT, json.dumps(ack).encode()) for ack in [*acks, {"type": "ack"}]) + whole


MESSAGES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "fragments": _fragments,
    "a flood of pings": lambda whole, body: frame(PING, b"flood") * FLOOD + whole,
    "binary": lambda whole, body: frame(BINARY, body),
    "acks twice": _acks_twice,
    "acks of others": _acks_of_others,
}
"""What comes in the place of each message of a socket: of the frame, and the text in it."""

HARM: dict[str, bytes] = {
    **{
        f"closes with {code}": closing(code)
        for code in (1000, 1001, 1003, 1008, 1009, 1011, 1012, 1013, 3000, 4000, 4999)
    },
    "closes without a code": frame(CLOSE, b""),
    "closes with half a code": frame(CLOSE, b"\x03"),
    "closes with a code of nobody's": closing(1005),
    "closes with words that are none": frame(CLOSE, struct.pack(">H", 1001) + b"\xff\xfe"),
    "compressed, which was not agreed on": bytes([FINAL | COMPRESSED | TEXT, 7]) + b"\xaaV*\xa9,H\x00",
    "an opcode of nobody's": frame(NOBODYS, b"?"),
    "text that is none": frame(TEXT, b'{"type": "\xff\xfe"}'),
    "masked": bytes([FINAL | TEXT, 128 | 2, 1, 2, 3, 4]) + bytes([ord("{") ^ 1, ord("}") ^ 2]),
    "a ping that is too long": bytes([FINAL | PING, 126, 1, 0]) + bytes(256),
    "the rest of nothing": frame(0, b"?"),
    "a length beyond all": bytes([FINAL | TEXT, 127]) + b"\x7f" + b"\xff" * 7,
    "a cut": b"",
}
"""What comes after the second frame of a socket, and ends it."""

ODD = (*ANSWERS, *MESSAGES, *HARM, "byte by byte")


class Socket:
    """The messages of one WebSocket on their way to a client, harmed in one way."""

    def __init__(self, odd: str) -> None:
        self._odd = odd
        self._frames = 0
        self.over = False
        """Whether nothing more comes of this socket."""

    def through(self, whole: bytes, body: bytes) -> bytes:
        """What comes in the place of a message."""
        if self._odd in MESSAGES:
            return MESSAGES[self._odd](whole, body)
        if self._odd not in HARM:
            return whole
        self._frames += 1
        if self._frames < OUR_FRAMES:
            return whole
        self.over = True
        return whole + HARM[self._odd]

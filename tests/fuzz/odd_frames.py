"""What nobody should say on a WebSocket: frames that are wrong in every way, made from a seed, between good ones."""

import zlib
from collections.abc import Callable
from random import Random

import msgspec

from scanstream.push.codec import JSON, Codec
from support.raw import CONTINUATION, PING, PONG, TEXT

BINARY, CLOSE = 2, 8
MOST_MOVES = 12
EMPTY_BLOCK = b"\x00\x00\xff\xff"
"""What the end of a compressed message goes without (RFC 7692, section 7.2.1)."""
MEGABYTE = 1024 * 1024
CLOSE_CODES = (0, 1, 999, 1000, 1001, 1003, 1004, 1005, 1006, 1015, 1016, 2999, 3000, 4999, 5000, 65535)
RESERVED = (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
SIZES = (0, 1, 125, 126, 65535, 65536, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1)


def masked(
    random: Random,
    opcode: int,
    data: bytes,
    *,
    last: bool = True,
    reserved: int = 0,
    mask: bool = True,
    said: int | None = None,
    wide: int = 0,
) -> bytes:
    """A frame (RFC 6455, section 5.2).

    :param reserved: the three bits, which extensions may use
    :param said: the length that it claims
    :param wide: in how many bytes at least that is said: 0, 2 or 8
    """
    size = len(data) if said is None else said
    width = max(wide, 0 if size < 126 else 2 if size < 65536 else 8)
    first = bytes([(0x80 if last else 0) | reserved << 4 | opcode])
    flag = 0x80 if mask else 0
    length = bytes([flag | size]) if not width else bytes([flag | (126 if width == 2 else 127)])
    key = random.randbytes(4) if mask else b""
    body = _xor(data, key) if mask else data
    return first + length + (size.to_bytes(width, "big") if width else b"") + key + body


def _xor(data: bytes, key: bytes) -> bytes:
    whole = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(data), "big")


class Speaker:
    """Somebody with a seed, on one connection."""

    def __init__(self, seed: int, codec: Codec, *, deflates: bool) -> None:
        self.random = Random(seed)
        self.codec = codec
        self.deflates = deflates
        self.kind = TEXT if codec is JSON else BINARY

    def speech(self) -> bytes:
        """All that is said, to a close that may be a good one."""
        moves = list(MOVES.values()) + list(DEFLATED.values()) * self.deflates
        said = [self.random.choice(moves)(self) for _ in range(self.random.randint(1, MOST_MOVES))]
        return b"".join([*said, self.frame(CLOSE, (1000).to_bytes(2, "big"))])

    def frame(self, opcode: int, data: bytes, **options: int) -> bytes:
        """One frame of this speaker's."""
        return masked(self.random, opcode, data, **options)  # type: ignore[arg-type]  # bool is an int

    def message(self) -> bytes:
        """A good message."""
        scan = self.random.choice(["latest", "scan_1", "", "x" * 200])
        said = self.random.choice(
            [
                {"type": "ping", "id": "p"},
                {"type": "subscribe", "scan_id": scan, "since": self.random.choice(["", "k3f9-1.0", "x"])},
                {"type": "unsubscribe", "scan_id": scan},
                {"type": "cancel", "scan_id": scan, "id": "c"},
                {"type": "discover", "request": {"strategy_ids": ["nothing"]}},
                {"type": "news"},
            ]
        )
        return msgspec.json.encode(said) if self.codec is JSON else msgspec.msgpack.encode(said)

    def good(self) -> bytes:
        """A good message in one frame."""
        return self.frame(self.kind, self.message())

    def pieces(self, data: bytes, *, between: bytes = b"") -> bytes:
        """A message in fragments, maybe with something between them."""
        cuts = sorted(self.random.randint(0, len(data)) for _ in range(self.random.randint(1, 4)))
        parts = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        frames = [
            self.frame(CONTINUATION if place else self.kind, part, last=place == len(parts) - 1)
            for place, part in enumerate(parts)
        ]
        return between.join(frames)

    def control(self) -> bytes:
        """A good control frame."""
        return self.frame(self.random.choice([PING, PONG]), self.random.randbytes(self.random.choice([0, 4, 125])))

    def bad_text(self) -> bytes:
        """A text that is no UTF-8, maybe only at its end."""
        ends = [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xe2\x82"]
        return b'{"type":"ping","id":"' + "\u20ac".encode() * 3 + self.random.choice(ends)

    def odd_value(self) -> bytes:
        """Of the format, or nearly; and much of it, or deep."""
        depth = self.random.choice([10, 1000, 100_000])
        many = self.random.choice([10, 20_000])
        if self.codec is JSON:
            choices = [
                b"[" * depth + b"]" * depth,
                b'{"a":' * depth,
                b'{"type":"ping","id":' + b"9" * many + b"}",
                b'{"type":"discover","request":{"parameters":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}}",
                b"{" + b",".join(b'"%d":1' % number for number in range(many)) + b"}",
                b'{"type":"ping","id":"' + b"\\ud800" * 9 + b'"}',
                b"\xef\xbb\xbf" * 2 + b"{}",
                b"",
                b"null",
            ]
        else:
            choices = [
                b"\x91" * depth + b"\xc0",
                b"\x81\xa1a" * depth + b"\xc0",
                b"\xdf\xff\xff\xff\xff",
                b"\xdd\xff\xff\xff\xff" + b"\xc0" * many,
                b"\xc9\xff\xff\xff\xff\x05",
                b"\xc7\x0c\xff" + b"\xff" * 12,
                b"\x82\xa4type\xa4ping\xa2id\xd6\xff\x00\x00\x00\x00",
                b"\xdb\xff\xff\xff\xffx",
                b"\x81\xc0\xc0",
                b"\xc1",
                b"",
            ]
        return self.random.choice(choices)

    def packed(self, data: bytes) -> bytes:
        """A message as permessage-deflate has it, in one frame."""
        pack = zlib.compressobj(wbits=-15)
        whole = (pack.compress(data) + pack.flush(zlib.Z_SYNC_FLUSH)).removesuffix(EMPTY_BLOCK)
        return self.frame(self.kind, whole, reserved=4)


Move = Callable[[Speaker], bytes]

MOVES: dict[str, Move] = {
    "a message": Speaker.good,
    "another message": Speaker.good,
    "a control frame": Speaker.control,
    "fragments": lambda one: one.pieces(one.message()),
    "fragments, and control frames between them": lambda one: one.pieces(one.message(), between=one.control()),
    "fragments, and another message between them": lambda one: one.pieces(one.message(), between=one.good()),
    "fragments without an end": lambda one: one.frame(one.kind, one.message(), last=False),
    "an end without a beginning": lambda one: one.frame(CONTINUATION, one.message()),
    "no mask": lambda one: one.frame(one.kind, one.message(), mask=0),
    "a mask that is wrong": lambda one: one.good()[:-1] + bytes([one.random.randrange(256)]),
    "an opcode that there is not": lambda one: one.frame(one.random.choice(RESERVED), one.message()),
    "reserved bits": lambda one: one.frame(one.kind, one.message(), reserved=one.random.randint(1, 7)),
    "reserved bits of a control frame": lambda one: one.frame(PING, b"x", reserved=one.random.randint(1, 7)),
    "a length that is not true": lambda one: one.frame(one.kind, one.message(), said=one.random.choice(SIZES)),
    "a length in more bytes than it takes": lambda one: one.frame(
        one.kind, one.message(), wide=one.random.choice([2, 8])
    ),
    "a control frame that is too long": lambda one: one.frame(PING, b"x" * 126),
    "a control frame that claims to be": lambda one: one.frame(PING, b"x", said=one.random.choice(SIZES[3:])),
    "a control frame in fragments": lambda one: one.frame(PING, b"x", last=False) + one.frame(CONTINUATION, b"y"),
    "text that is none": lambda one: one.frame(TEXT, one.bad_text()),
    "text that is none, in fragments": lambda one: one.pieces(one.bad_text()),
    "the other kind": lambda one: one.frame(BINARY if one.kind == TEXT else TEXT, one.message()),
    "an odd value": lambda one: one.frame(one.kind, one.odd_value()),
    "an odd value, in fragments": lambda one: one.pieces(one.odd_value()),
    "a close": lambda one: one.frame(CLOSE, one.random.choice(CLOSE_CODES).to_bytes(2, "big") + b"why"),
    "a close without a code": lambda one: one.frame(CLOSE, b""),
    "half a code": lambda one: one.frame(CLOSE, b"\x03"),
    "a close whose reason is no text": lambda one: one.frame(CLOSE, b"\x03\xe8\xff"),
    "many pings": lambda one: one.control() * 200,
    "many tiny fragments": lambda one: (
        one.frame(one.kind, b" ", last=False) + one.frame(CONTINUATION, b"", last=False) * 300
    ),
    "bytes": lambda one: one.random.randbytes(one.random.choice([1, 2, 14, 200])),
    "HTTP": lambda one: b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
}
DEFLATED: dict[str, Move] = {
    "compressed": lambda one: one.packed(one.message()),
    "compressed and odd": lambda one: one.packed(one.odd_value()),
    "a bomb": lambda one: one.packed(b" " * one.random.choice([MEGABYTE, 16 * MEGABYTE])),
    "compressed, and broken": lambda one: one.frame(one.kind, one.random.randbytes(40), reserved=4),
    "compressed in the middle": lambda one: (
        one.frame(one.kind, b"x", last=False) + one.frame(CONTINUATION, b"y", reserved=4)
    ),
    "a control frame, compressed": lambda one: one.frame(PING, b"\x00", reserved=4),
}

"""What nobody should send a server of HTTP/1.1: requests that are wrong in every way, made from a seed, and good ones.

What is ambiguous is the smuggler's: two readers would not agree where the next request begins (RFC 9112, section 11.2).
"""

from collections.abc import Callable
from random import Random

from support.raw import UPGRADE

MOST_REQUESTS = 4
HOST = "Host: 127.0.0.1\r\n"
PATHS = (
    *("/", "/healthz", "/opportunities/status/scan_1", "/opportunities/status/latest", "/opportunities/events/scan_1"),
    *("/opportunities/results/x?wait=0&limit=1", "/opportunities/scans?limit=2", "/opportunities/discover", "/ws"),
    *("/opportunities/follow", "/static/index.html", "/opportunities/market/candles?symbol=BTC/USDT&bars=2"),
)
TARGETS = (
    *("*", "//", "http://127.0.0.1/healthz", "HTTP://evil.example/", "https://127.0.0.1:99999/", "127.0.0.1:80", ""),
    *("/%00", "/%ff%fe", "/..%2f..%2fetc/passwd", "/static/../../etc/passwd", "/static/%2e%2e/x", "/opportunities//"),
    *("/\x7f", "/\xff", "/a b", "/\t", "/?" + "a=b&" * 200, "/#x", "?x", "/opportunities/status/" + "x" * 4000),
    *(
        "http://",
        "http:///x",
        "http://[::1/x",
        "/healthz?%",
        "/healthz?\xe9=\xe9",
        "/ws?\xff",
        "/\u0130".encode().decode("latin-1"),
    ),
)
METHODS = (
    "GET",
    "POST",
    "HEAD",
    "OPTIONS",
    "PUT",
    "DELETE",
    "TRACE",
    "CONNECT",
    "PATCH",
    "get",
    "G\x00T",
    "BREW",
    "",
    "PRI",
)
VERSIONS = ("HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 ", "HTTP/11", "HTTP/", "")
ENDS = ("\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", "\n\r")
FIELDS = (
    *(
        "Host: evil.example",
        "Host:",
        "Host: 127.0.0.1, b",
        "Host : 127.0.0.1",
        " Host: 127.0.0.1",
        "Host: \x00",
        "Host: a@b",
    ),
    *("X: a\r\n folded", "X:\r\n\tfolded", "X", ": x", "X: \x00", "X: \xff", "X Y: z", "X\x00: y", "X: " + "y" * 9000),
    *(
        "Connection: close",
        "Connection: keep-alive, upgrade",
        "Connection: \x00",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAA",
    ),
    *("Expect: 100-continue", "Expect: x", "Range: bytes=0-1,2-3", "TE: trailers", "Trailer: Host", "Prefer: wait=0"),
    *(
        "If-None-Match: " + '"a",' * 300,
        "Accept: " + "a/b;q=0.1," * 200,
        "Accept-Encoding: gzip;q=0,*",
        "Cookie: " + "a=b;" * 99,
    ),
    *("Origin: https://evil.example", "Origin: null", "Access-Control-Request-Method: POST", "X-Forwarded-For: ,,,"),
    *(
        "Authorization: Bearer \xff",
        "Authorization: Basic " + "A" * 500,
        "Last-Event-ID: \xe9",
        "Idempotency-Key: " + "k" * 300,
    ),
)
LENGTHS = (
    *(
        "0",
        "2",
        "3",
        "-1",
        "+2",
        "0x2",
        "2, 2",
        "2,3",
        "2 2",
        "",
        " ",
        "2\t",
        "00002",
        "1e1",
        "\xb2",
        "9" * 25,
        "18446744073709551617",
    ),
)
CODINGS = (
    *(
        "chunked",
        "Chunked",
        "chunked, chunked",
        "identity",
        "gzip, chunked",
        "chunked, gzip",
        "xchunked",
        "chunked;q=1",
    ),
    *(" chunked", "\tchunked", "chunked\x00", '"chunked"', "", "chunked,", ",chunked", "\x0bchunked"),
)
CHUNKS = (
    *(
        "2\r\n{}\r\n0\r\n\r\n",
        "2;a=b\r\n{}\r\n0;c\r\n\r\n",
        '2;a="\r\n"\r\n{}\r\n0\r\n\r\n',
        "2\n{}\n0\n\n",
        "02\r\n{}\r\n00\r\n\r\n",
    ),
    *(
        "0x2\r\n{}\r\n0\r\n\r\n",
        "+2\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        " 2\r\n{}\r\n0\r\n\r\n",
        "2 \r\n{}\r\n0\r\n\r\n",
    ),
    *(
        "2\r\n{}0\r\n\r\n",
        "2\r\n{}x\r\n0\r\n\r\n",
        "f" * 17 + "\r\n",
        "fffffffffffffffe\r\n",
        "7fffffff\r\n{}",
        "\r\n",
        "g\r\n",
    ),
    *(
        "2\r\n{}\r\n0\r\nHost: evil.example\r\n\r\n",
        "2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n",
        "2\r\n{}\r\n0\r\n x\r\n\r\n",
        "1\r\n",
    ),
)
SMUGGLED = "GET /opportunities/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = "POST /opportunities/discover HTTP/1.1\r\n" + HOST

AMBIGUOUS: dict[str, str] = {
    "length and chunks": POST + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    "chunks and length": POST + "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX",
    "two lengths": POST + "Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}",
    "two lengths in one": POST + "Content-Length: 2, 40\r\n\r\n{}",
    "a length with a sign": POST + "Content-Length: +2\r\n\r\n{}",
    "a length in hex": POST + "Content-Length: 0x2\r\n\r\n{}",
    "a length below zero": POST + "Content-Length: -2\r\n\r\n{}",
    "a length beyond 64 bits": POST + "Content-Length: 18446744073709551618\r\n\r\n{}",
    "a coding twice": POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding that is nearly one": POST + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding behind a tab of another kind": POST + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks that are not last": POST + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a name with a blank": POST + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a name with a blank, of a length": POST + "Content-Length : 2\r\n\r\n{}",
    "a coding of HTTP/1.0": POST.replace("1.1", "1.0")
    + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "a folded line": POST + "X: a\r\n Content-Length: 40\r\nContent-Length: 2\r\n\r\n{}",
    "a folded coding": POST + "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "a chunk with a sign": POST + "Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n",
    "a chunk in hex": POST + "Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk that is longer than it says": POST + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}X\r\n0\r\n\r\n",
    "a chunk whose line ends otherwise": POST + "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
    "an extension with an end of line": POST + "Transfer-Encoding: chunked\r\n\r\n2;\n{}\r\n0\r\n\r\n",
    "a line that ends otherwise": POST.replace("\r\n", "\r") + "Content-Length: 2\r\n\r\n{}",
    "NUL in a name": POST + "Content-Length\x00: 2\r\n\r\n{}",
    "NUL in a value": POST + "X: \x00\r\nContent-Length: 2\r\n\r\n{}",
}
"""Requests of which readers may differ; each is refused, and what comes behind it is never answered."""


class Caller:
    """Somebody with a seed, on one connection."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def requests(self) -> bytes:
        """All that is said."""
        kinds = list(KINDS)
        many = self.random.randint(1, MOST_REQUESTS)
        whole = b"".join(self.random.choice(kinds)(self) for _ in range(many))
        return whole[: self.random.randint(1, len(whole))] if self.random.random() < 0.1 else whole

    def good(self) -> bytes:
        """A good request, which keeps its connection."""
        return f"GET {self.random.choice(PATHS[:4])} HTTP/1.1\r\n{HOST}\r\n".encode()

    def posted(self) -> bytes:
        """A body, framed in some way."""
        choose = self.random.choice
        fields = [HOST]
        if self.random.random() < 0.6:
            fields += [f"Content-Length: {choose(LENGTHS)}\r\n" for _ in range(choose((1, 1, 2)))]
        if self.random.random() < 0.5:
            fields += [f"Transfer-Encoding: {choose(CODINGS)}\r\n" for _ in range(choose((1, 1, 2)))]
        self.random.shuffle(fields)
        body = choose((*CHUNKS, "{}", '{"follow":[]}', "", SMUGGLED))
        path = choose(PATHS)
        return f"POST {path} HTTP/1.1\r\n{''.join(fields)}\r\n{body}".encode("latin-1")

    def odd(self) -> bytes:
        """A head with something wrong in it."""
        choose = self.random.choice
        line = f"{choose(METHODS)} {choose(PATHS + TARGETS)} {choose(VERSIONS)}"
        fields = [choose(FIELDS) for _ in range(self.random.randint(0, 4))]
        end = choose(ENDS)
        return end.join([line, HOST.strip(), *fields, "", ""]).encode("latin-1")

    def handshake(self) -> bytes:
        """A WebSocket's, with something wrong in it."""
        choose = self.random.choice
        whole = UPGRADE + b"\r\n"
        old, new = choose(
            [
                (b"13", choose([b"8", b"", b"13, 8", b"\xff"])),
                (b"GET", choose([b"POST", b"HEAD", b"OPTIONS"])),
                (b"/ws", choose([b"/ws/", b"/ws?\xff", b"/nowhere", b"/ws?" + b"x" * 9000, b"http://127.0.0.1/ws"])),
                (b"dGhlIHNhbXBsZSBub25jZQ==", choose([b"x", b"", b"\xff", b"dGhlIHNhbXBsZSBub25jZQ==, x"])),
                (b"Upgrade: websocket", choose([b"Upgrade: websocket, h2c", b"Upgrade: x", b"Upgrade: WEBSOCKET"])),
                (b"Host", choose([b"Origin: https://evil.example\r\nHost", b"Content-Length: 3\r\nHost", b"Hots"])),
                (
                    b"\r\n\r\n",
                    b"\r\nSec-WebSocket-Extensions: "
                    + choose(
                        [b"permessage-deflate; x=" + b"y" * 99, b";", b"permessage-deflate; server_max_window_bits=99"]
                    )
                    + b"\r\nSec-WebSocket-Protocol: "
                    + choose([b"\xff", b",,", b"scanstream.bearer.\xff", b"a b"])
                    + b"\r\n\r\n",
                ),
            ]
        )
        return whole.replace(old, new, 1)

    def noise(self) -> bytes:
        """No request at all."""
        choices = [
            b"\r\n" * 50,
            b"\x16\x03\x01\x02\x00",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            self.random.randbytes(60),
            b"\x00",
        ]
        return self.random.choice(choices)


KINDS: tuple[Callable[[Caller], bytes], ...] = (
    *(Caller.good, Caller.posted, Caller.posted, Caller.odd, Caller.odd, Caller.handshake, Caller.noise),
)

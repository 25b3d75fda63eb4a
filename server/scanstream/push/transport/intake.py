"""What has been taken in of one request, against what one may send."""

from enum import Enum

from scanstream.errors import HeadersTooLarge, MalformedRequest, ScanstreamError, TooLarge
from scanstream.push.transport.bounds import MOST_HEAD_BYTES, MOST_HEADERS

LINE_BYTES = 4
"""What a header has beside its name and value: a colon, a space, the end of the line."""


class Phase(Enum):
    """What of the newest request has come."""

    QUIET = "nothing"
    HEAD = "a part of its head"
    BODY = "its head, and its body not wholly"
    WHOLE = "all of it"


class Refused(Exception):
    """Raised inside the parser to stop it; `Intake.refusal` says why."""


class Intake:
    """Counts a request: its head, then its body and its trailers."""

    __slots__ = (
        "_body_bytes",
        "_fields",
        "_head_bytes",
        "_most_body_bytes",
        "_most_head_bytes",
        "_paused",
        "_swallowed",
        "refusal",
    )

    def __init__(self, most_body_bytes: int, most_head_bytes: int = MOST_HEAD_BYTES) -> None:
        self._most_body_bytes = most_body_bytes
        self._most_head_bytes = most_head_bytes
        self.refusal: ScanstreamError | None = None
        self.begin()

    def begin(self) -> None:
        """A request begins, or its head is over and trailers are counted from now on."""
        self._head_bytes = 0
        self._fields = 0
        self._body_bytes = 0
        self.pause()

    def pause(self) -> None:
        """The parser has made something of what it was given."""
        self._swallowed = 0
        self._paused = True

    def slice(self, size: int) -> None:
        """A slice went into the parser: where nothing came out, all of it belongs to one head or one line."""
        if self._paused:
            self._paused = False
            return
        self._swallowed += size
        if self._swallowed > self._most_head_bytes:
            self.refusal = too_large_a_head(self._most_head_bytes)

    def add(self, size: int) -> None:
        """Bytes of the request line."""
        self._head_bytes += size
        if self._head_bytes > self._most_head_bytes:
            self._refuse(too_large_a_head(self._most_head_bytes))

    def field(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        self._fields += 1
        if self._fields > MOST_HEADERS:
            self._refuse(too_large_a_head(self._most_head_bytes))
        self.add(len(name) + len(value) + LINE_BYTES)

    def framing(self, headers: list[tuple[bytes, bytes]], *, upgrades: bool) -> None:
        """The head is over: a body in a coding that we do not read would be taken for what it is not (RFC 9112,
        section 6.1), and behind a handshake it would be lost, and the client waited for.

        :param headers: names in lower case
        """
        codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
        if codings not in ([], [b"chunked"]):
            self._refuse(MalformedRequest("The only Transfer-Encoding that this server reads is chunked"))
        lengths = [value.strip(b" \t0") for name, value in headers if name == b"content-length"]
        if upgrades and (codings or any(lengths)):
            self._refuse(MalformedRequest("The handshake of a WebSocket has no body"))

    def body(self, size: int) -> None:
        """A piece of the body."""
        self.pause()
        self._body_bytes += size
        if self._body_bytes > self._most_body_bytes:
            self._refuse(
                TooLarge(f"The body is over {self._most_body_bytes} bytes, which no path of this server takes")
            )

    @property
    def body_bytes(self) -> int:
        """Of the body, so far."""
        return self._body_bytes

    def _refuse(self, error: ScanstreamError) -> None:
        self.refusal = error
        raise Refused


def too_large_a_head(most_bytes: int) -> ScanstreamError:
    """The refusal of a head, or of trailers."""
    return HeadersTooLarge(
        f"The request line and headers (or the trailers) have over {most_bytes} bytes or {MOST_HEADERS} fields;"
        " send fewer and shorter ones"
    )

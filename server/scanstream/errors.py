"""Every way to fail: one tree, one table.

    ScanstreamError
    ├── RequestError            the caller's fault
    │   ├── InvalidJson         InvalidMessage      InvalidRequest     TooLarge
    │   ├── MalformedRequest    HeadersTooLarge     RequestTimeout
    │   ├── NotFound            Expired             NoSuchRoute        MethodNotAllowed
    │   ├── UpgradeRequired     UnsupportedMedia    InvalidAddress
    │   ├── Unauthorized        Forbidden
    │   └── RateLimited         TooManySubscriptions    TooManyScans
    ├── ServerError             ours; the same request may work later
    │   └── Overloaded          StoreUnavailable    Restarting      Internal    Damaged
    │       └── Shortage
    └── SetupError              the operator's: a command says so and exits with 2
        ├── SettingError        DataLocked      DataUnusable    PortInUse   MarketError
        └── EngineUnusable      … and this one with 3: what is outside of us may come back

`TABLE` maps the code of each to its HTTP status, its WebSocket close code (None: the connection stays open) and
whether the same request may succeed later. docs/errors.md is held equal to it by a test.
"""

from collections.abc import Iterable
from itertools import islice
from typing import ClassVar, Literal, NamedTuple

from scanstream.legible import legible

PROBLEM_TYPE = "urn:scanstream:error:"
"""What the `type` of a problem document begins with; its code follows."""
MOST_ERRORS = 20
"""Fields that one error names."""
LONGEST_DETAIL = 700
LONGEST_FIELD = 100
LONGEST_REASON = 200
LONGEST_SCAN_ID = 100
"""Characters of what callers are told. Much of it may be what they said themselves; all together it stays below 32 KiB,
with four bytes a character and the detail twice."""


class Row(NamedTuple):
    """What one error code means on each transport."""

    status: int
    close: int | None
    retry: bool
    fault: Literal["client", "server", "operator"]
    title: str


TABLE: dict[str, Row] = {
    "invalid_json": Row(400, None, False, "client", "The body is not valid JSON"),
    "invalid_message": Row(400, None, False, "client", "The message is not one that this protocol knows"),
    "invalid_request": Row(422, None, False, "client", "A field of the request is not valid"),
    "too_large": Row(413, 1009, False, "client", "The message is larger than the server accepts"),
    "headers_too_large": Row(431, None, False, "client", "The head of the request is larger than the server accepts"),
    "malformed_request": Row(400, None, False, "client", "The request is not one of HTTP"),
    "timeout": Row(408, None, True, "client", "The request did not go on"),
    "unsupported_media": Row(415, None, False, "client", "The body is written in a way that the server does not read"),
    "no_such_route": Row(404, None, False, "client", "There is no such path"),
    "method_not_allowed": Row(405, None, False, "client", "The path does not take this method"),
    "upgrade_required": Row(426, None, False, "client", "This path is a WebSocket's"),
    "invalid_address": Row(400, None, False, "client", "The request does not say properly where it goes"),
    "not_found": Row(404, None, False, "client", "There is no such scan"),
    "expired": Row(410, None, False, "client", "The scan has expired"),
    "unauthorized": Row(401, 4401, False, "client", "The request lacks a valid token"),
    "forbidden": Row(403, 1008, False, "client", "The request is not allowed from here"),
    "rate_limited": Row(429, None, True, "client", "Too many requests"),
    "too_many_subscriptions": Row(429, None, False, "client", "Too many scans are followed on this connection"),
    "too_many_scans": Row(429, None, True, "client", "Too many scans are under way"),
    "overloaded": Row(503, 1013, True, "server", "The server is busy"),
    "store_unavailable": Row(503, None, True, "server", "The store does not answer"),
    "restarting": Row(503, 1012, True, "server", "The server is restarting"),
    "internal": Row(500, None, True, "server", "The server failed"),
    "damaged": Row(500, None, False, "server", "The record of the scan is damaged"),
    "invalid_setting": Row(500, None, False, "operator", "A setting is not valid"),
    "data_locked": Row(500, None, False, "operator", "Another server uses the data directory"),
    "data_unusable": Row(500, None, False, "operator", "The data directory cannot be used"),
    "engine_unusable": Row(500, None, True, "operator", "The engine cannot be used"),
    "port_in_use": Row(500, None, True, "operator", "The port is in use"),
    "invalid_market": Row(500, None, False, "operator", "The market cannot be read"),
}


class FieldError(NamedTuple):
    """What is wrong with one field of a request."""

    field: str
    reason: str


class ScanstreamError(Exception):
    """The root. `detail` is for people: it names the field, the file or the setting, and what to do."""

    code: ClassVar[str] = "internal"

    def __init__(
        self, detail: str, *, errors: Iterable[FieldError] = (), retry_after: float | None = None, scan_id: str = ""
    ) -> None:
        self.detail = self.told(detail)
        super().__init__(self.detail)
        self.errors = tuple(
            FieldError(legible(field, LONGEST_FIELD), legible(reason, LONGEST_REASON))
            for field, reason in islice(errors, MOST_ERRORS)
        )
        self.retry_after = retry_after
        self.scan_id = legible(scan_id, LONGEST_SCAN_ID)

    def told(self, detail: str) -> str:
        """The detail as it is told to a caller, who may be anybody and whose words may be in it."""
        return legible(detail, LONGEST_DETAIL)

    @property
    def row(self) -> Row:
        """The table's row of this error."""
        return TABLE[self.code]


class RequestError(ScanstreamError):
    """The caller asked for something that cannot be had."""


class InvalidJson(RequestError):
    """Not JSON (or nested deeper than any request is)."""

    code = "invalid_json"


class InvalidMessage(RequestError):
    """JSON, but no message of the protocol."""

    code = "invalid_message"


class InvalidAddress(RequestError):
    """The host of an HTTP request is none, or the path that a proxy puts before it."""

    code = "invalid_address"


class InvalidRequest(RequestError):
    """A discover request with a field that is not valid; `errors` name them all."""

    code = "invalid_request"

    @classmethod
    def of(cls, field: str, reason: str) -> "InvalidRequest":
        """One field, one reason."""
        return cls.naming([FieldError(field, reason)])

    @classmethod
    def naming(cls, errors: Iterable[FieldError]) -> "InvalidRequest":
        """The first `MOST_ERRORS` of these; of more no more is looked at than that they are there."""
        found = list(islice(errors, MOST_ERRORS + 1))
        named = [
            f"{legible(field, LONGEST_FIELD)}: {legible(reason, LONGEST_REASON)}"
            for field, reason in found[:MOST_ERRORS]
        ]
        told = len(named)
        while told > 1 and len("; ".join(named[:told])) > LONGEST_DETAIL - len("; and more than 99 more"):
            told -= 1
        detail = "; ".join(named[:told])
        if len(found) > MOST_ERRORS:
            detail += f"; and more than {MOST_ERRORS - told} more"
        elif told < len(named):
            detail += f"; and {len(named) - told} more"
        return cls(detail, errors=found)


class TooLarge(RequestError):
    """A message over the size limit."""

    code = "too_large"


class MalformedRequest(RequestError):
    """What came is no request of HTTP, or no handshake of a WebSocket."""

    code = "malformed_request"


class HeadersTooLarge(RequestError):
    """A request line, headers or trailers over their limits."""

    code = "headers_too_large"


class RequestTimeout(RequestError):
    """A request that has begun and does not go on."""

    code = "timeout"


class UnsupportedMedia(RequestError):
    """A body in a content coding that is not undone here."""

    code = "unsupported_media"


class NoSuchRoute(RequestError):
    """Nothing is at this path."""

    code = "no_such_route"


class MethodNotAllowed(RequestError):
    """The path is there, and takes other methods; `Allow` names them."""

    code = "method_not_allowed"


class UpgradeRequired(RequestError):
    """A plain request where a WebSocket is."""

    code = "upgrade_required"


class NotFound(RequestError):
    """This id never existed, or is not yours."""

    code = "not_found"


class Expired(RequestError):
    """This scan existed, and is gone."""

    code = "expired"

    @classmethod
    def of(cls, scan_id: str | None) -> "Expired":
        """This one; None: whichever it was."""
        return cls("This scan has expired. Please initiate a new scan.", scan_id=scan_id or "")


class Unauthorized(RequestError):
    """No token, or one that is not valid."""

    code = "unauthorized"
    challenge: ClassVar[str] = 'Bearer error="invalid_token"'
    """What `WWW-Authenticate` says (RFC 6750, section 3)."""


class Forbidden(RequestError):
    """Not from this origin, or not for this caller."""

    code = "forbidden"


class RateLimited(RequestError):
    """Too many requests from this caller."""

    code = "rate_limited"


class TooManySubscriptions(RequestError):
    """One connection follows as many scans as it may."""

    code = "too_many_subscriptions"


class TooManyScans(RequestError):
    """As many scans are under way as may be."""

    code = "too_many_scans"


class ServerError(ScanstreamError):
    """Nothing was wrong with the request."""


class Overloaded(ServerError):
    """More at once than the server takes."""

    code = "overloaded"


class Shortage(Overloaded):
    """The machine is out of something for the moment: descriptors, memory, processes (shortage.py)."""

    def __init__(self, detail: str, *, lacking: str = "", retry_after: float = 5) -> None:
        """`lacking`: what it is out of, in words."""
        super().__init__(detail, retry_after=retry_after)
        self.lacking = lacking or "something that it does not name"


class StoreUnavailable(ServerError):
    """The store could not write: disk full, or away. Nothing that was acked is lost."""

    code = "store_unavailable"


class Restarting(ServerError):
    """The server is on its way down; reconnect with your cursors."""

    code = "restarting"


class Internal(ServerError):
    """A defect of ours."""


class Damaged(ServerError):
    """What the store holds of this scan cannot be read. Of the others it can."""

    code = "damaged"


class SetupError(ScanstreamError):
    """The server cannot start like this. Its operator is told all of it."""

    code = "invalid_setting"

    def told(self, detail: str) -> str:
        """The detail as it is."""
        return detail


class SettingError(SetupError):
    """A flag or environment variable with a value that is not valid."""


class DataLocked(SetupError):
    """The data directory belongs to another running server."""

    code = "data_locked"


class DataUnusable(SetupError):
    """The data directory is not writable, or its database is damaged."""

    code = "data_unusable"


class EngineUnusable(SetupError):
    """NATS cannot be reached, takes us for nobody, or is older than what we need. Never with a word of the login."""

    code = "engine_unusable"


class PortInUse(SetupError):
    """Somebody else listens there."""

    code = "port_in_use"


class MarketError(SetupError):
    """The market's data cannot be read; the message names file and line."""

    code = "invalid_market"

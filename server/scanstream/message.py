"""What goes over the wire: the messages of docs/protocol.md, sections 3 to 5, as Structs.

A receiver ignores fields it does not know, so these are open; only the discover request inside is closed.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from scanstream import model
from scanstream.errors import TABLE
from scanstream.model import MOST_NAMES, RISK_LEVELS, Document, Only, Opportunity, Progress, ScanId

MessageId: TypeAlias = Annotated[str, Meta(max_length=64)]
"""Chosen by the client; the reply repeats it."""

LONGEST_KEY = 255
"""Characters of an idempotency key."""
KEY_BOUNDS = {"minLength": 1, "maxLength": LONGEST_KEY}
CODES = [code for code, row in TABLE.items() if row.fault != "operator"]

LONGEST_NAME = 100
MOST_CAPITAL_USD = 1e15
"""More than there is; whatever is multiplied by it stays finite."""


def any_case(names: Iterable[str]) -> str:
    """The pattern of these names in any case of letters, maybe with blanks around them."""
    written = ("".join(f"[{sign.upper()}{sign}]" if sign.isalpha() else sign for sign in name) for name in names)
    return rf"^\s*(?:{'|'.join(written)})\s*$"


_SOME_NAMES = {"contains": {"pattern": r"\S"}}
_SOME_TEXT = {"pattern": r"[^\s,]"}
"""A list that names nothing is refused once it is trimmed: here is how JSON Schema says that."""

Name: TypeAlias = Annotated[str, Meta(max_length=LONGEST_NAME)]
Names: TypeAlias = (
    Annotated[list[Name], Meta(max_length=MOST_NAMES, extra_json_schema=_SOME_NAMES)]
    | Annotated[str, Meta(extra_json_schema=_SOME_TEXT)]
)
Level: TypeAlias = Annotated[
    str, Meta(max_length=LONGEST_NAME, extra_json_schema={"pattern": any_case(RISK_LEVELS), "examples": [*RISK_LEVELS]})
]


class DiscoverRequest(model.DiscoverRequest, frozen=True, kw_only=True, omit_defaults=True):
    """What to scan for, as a caller may ask: every field optional, and bounded.

    Bounded here and not where it is read back: a scan that was acknowledged before there were bounds stays one.
    """

    symbols: Names | None = None
    strategy_ids: Names | None = None
    asset_tiers: Names | None = None
    opportunity_type: Names | None = None
    filter_by_risk_level: Level | None = None
    preferred_timeframes: Names | None = None
    capital_usd: Annotated[float, Meta(gt=0, le=MOST_CAPITAL_USD)] | None = None
    parameters: dict[Name, dict[Name, Any] | None] | None = None

    def plain(self) -> model.DiscoverRequest:
        """As the scan has it."""
        return model.DiscoverRequest(**{name: getattr(self, name) for name in self.__struct_fields__})


class Discover(Struct, frozen=True, kw_only=True, tag="discover"):
    """Register a scan, acknowledge it, start it, follow it."""

    id: MessageId | UnsetType = UNSET
    request: Raw | UnsetType = UNSET
    """Decoded apart, so that an error names the field inside the request."""
    idempotency_key: Annotated[str, Meta(extra_json_schema=KEY_BOUNDS)] | None = None
    """The same key is the same scan, as with the header `Idempotency-Key`."""


class Subscribe(Struct, frozen=True, kw_only=True, tag="subscribe"):
    """Follow a scan, from a cursor on where one is given."""

    id: MessageId | UnsetType = UNSET
    scan_id: str
    since: str | None = None
    only: Only | None = None


class Unsubscribe(Struct, frozen=True, kw_only=True, tag="unsubscribe"):
    """Follow a scan no more."""

    id: MessageId | UnsetType = UNSET
    scan_id: str


class Cancel(Struct, frozen=True, kw_only=True, tag="cancel"):
    """Ask for a scan's end; the outcome arrives as state."""

    id: MessageId | UnsetType = UNSET
    scan_id: str


class Ping(Struct, frozen=True, kw_only=True, tag="ping"):
    """Are you there?"""

    id: MessageId | UnsetType = UNSET


class Authenticate(Struct, frozen=True, kw_only=True, tag="authenticate"):
    """This connection goes on with another credential of the same caller."""

    id: MessageId | UnsetType = UNSET
    token: str

    def __repr__(self) -> str:
        """Without the credential: it may be told somewhere."""
        return f"Authenticate(id={self.id!r})"


ClientMessage: TypeAlias = Discover | Subscribe | Unsubscribe | Cancel | Authenticate | Ping


class Follow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the scans that a `POST /opportunities/follow` follows."""

    scan_id: str
    since: str | None = None
    only: Only | None = None


MOST_FOLLOWED = 256
"""Scans over one answer of `follow`, and over one WebSocket."""
LONGEST_WAIT_SECONDS = 60
WAIT_SECONDS = 25
"""How long a `follow` waits unless it says."""


class FollowRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Many scans over one answer."""

    follow: Annotated[list[Follow], Meta(min_length=1, max_length=MOST_FOLLOWED)]
    wait: Annotated[int, Meta(ge=0, le=LONGEST_WAIT_SECONDS)] | None = None

    @property
    def seconds(self) -> int:
        """How long the long poll waits for news."""
        return WAIT_SECONDS if self.wait is None else self.wait


MOST_SHARED_SECONDS = 366 * 86_400
SHARED_SECONDS = 3600
"""How long a shared token is good unless it is said."""
SharedRight: TypeAlias = Literal["read", "cancel"]


class ShareRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a token that is handed on may give, and for how long."""

    rights: Annotated[list[SharedRight], Meta(min_length=1, max_length=2)] = field(default_factory=lambda: ["read"])
    expires_in_seconds: Annotated[int, Meta(ge=1, le=MOST_SHARED_SECONDS)] = SHARED_SECONDS


class SharedLinks(Struct, frozen=True, kw_only=True):
    """Addresses of a scan for whoever has the token that is in them."""

    page: str
    status: str
    results: str
    events: str


class Shared(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A token for one scan, to be handed on."""

    success: Literal[True]
    scan_id: ScanId
    token: str
    rights: list[SharedRight]
    expires_at: str
    links: SharedLinks | UnsetType = UNSET
    """Where it may be read."""


LONGEST_URL = 2048
"""Characters of an address that is to be told of a scan's end."""


class NotifyRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is to be told when a scan has ended."""

    url: Annotated[str, Meta(min_length=1, max_length=LONGEST_URL)]

    def __repr__(self) -> str:
        """Without the address: its path may be a secret."""
        return "NotifyRequest()"


class NotifyAccepted(Struct, frozen=True, kw_only=True):
    """It will be told, and knows by this that it was us."""

    success: Literal[True]
    scan_id: ScanId
    notification_id: str
    """`webhook-id` of the message: the same for the same scan and address."""
    url: str
    """The address as it is asked for."""
    signing_secret: str
    """`whsec_` and base64: what its signature is checked with. The same for all of one's scans and this receiver."""


POLLING_INTERVAL_SECONDS = 1
"""How often to ask about a scan that runs: said in the ack, and as `Retry-After`."""


class AckBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a discover: the scan is registered, and every question about it has a true answer from now on."""

    success: Literal[True]
    scan_id: ScanId
    status: str
    cursor: str
    message: str
    poll_url: str
    results_url: str
    events_url: str
    polling_interval_seconds: int
    progress: Progress
    estimated_completion_seconds: float | UnsetType = UNSET
    """Absent where nothing has been measured that says it."""
    filters: dict[str, Any]
    reused: Literal["running", "fresh"] | UnsetType = UNSET
    scan_token: str | UnsetType = UNSET
    """Where a credential is asked for: opens this one scan for as long as it answers."""


class Ack(AckBody, frozen=True, kw_only=True, omit_defaults=True, tag="ack"):
    """The same on a WebSocket, with the id of the message it answers."""

    id: str | UnsetType = UNSET


class Done(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="ack"):
    """The ack of an `unsubscribe` or a `cancel`."""

    id: str | UnsetType = UNSET
    scan_id: ScanId


class Renewed(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="ack"):
    """The ack of an `authenticate`."""

    id: str | UnsetType = UNSET


class Snapshot(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="snapshot"):
    """Discard what you have; this is the state."""

    scan_id: ScanId
    cursor: str
    state: Document
    opportunities: list[Opportunity] | UnsetType = UNSET
    offset: int | UnsetType = UNSET
    more: bool = False


class Update(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="update"):
    """Merge the patch, append the opportunities at `offset`, keep the cursor."""

    scan_id: ScanId
    cursor: str
    patch: Document
    opportunities: list[Opportunity] | UnsetType = UNSET
    offset: int | UnsetType = UNSET
    more: bool = False
    skipped: int | UnsetType = UNSET
    """Revisions folded into this one beyond the first."""


class End(Struct, frozen=True, kw_only=True, tag="end"):
    """Nothing more will come for this scan."""

    scan_id: ScanId
    cursor: str
    status: str


class FieldProblem(Struct, frozen=True):
    """One field of a request that is not valid."""

    field: str
    reason: str


class Error(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="error"):
    """A refusal. The connection stays open unless a close frame follows."""

    id: str | UnsetType = UNSET
    scan_id: str | UnsetType = UNSET
    code: Annotated[str, Meta(description="More may come", extra_json_schema={"enum": CODES})]
    detail: str
    errors: list[FieldProblem] | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET


class Pong(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="pong"):
    """I am here."""

    id: str | UnsetType = UNSET


ServerMessage: TypeAlias = Ack | Done | Renewed | Snapshot | Update | End | Error | Pong

"""What the plain HTTP answers hold beside the messages: Structs, so that the contract is made from what is sent."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from scanstream.errors import MOST_ERRORS
from scanstream.message import CODES, FieldProblem
from scanstream.model import Document, Milliseconds, Opportunity, ScanId, StrategyState
from scanstream.panel import Input


class ProblemDetails(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why something was refused, as RFC 9457 has it; docs/errors.md explains the codes."""

    type: str
    title: str
    status: int
    detail: str
    message: str
    """The same as `detail`."""
    code: Annotated[str, Meta(description="More may come", extra_json_schema={"enum": CODES})]
    errors: Annotated[list[FieldProblem], Meta(max_length=MOST_ERRORS)] | UnsetType = UNSET


class AbsentScan(Struct, frozen=True, kw_only=True):
    """The answer for a scan that is not there, as polling clients know it."""

    success: Literal[False] = False
    status: str
    """`not_found` or `expired`."""
    scan_id: str
    message: str


class Envelope(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a status answer holds beside the state."""

    cursor: str
    rank: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    """The scan's place in the queue."""
    partial_results: list[Opportunity] | UnsetType = UNSET
    """The best so far, while the scan runs."""
    opportunities: list[Opportunity] | UnsetType = UNSET
    """With `since`: those that are new to the caller."""
    offset: int | UnsetType = UNSET
    more: bool | UnsetType = UNSET


class Results(Struct, frozen=True, kw_only=True):
    """Everything that was found, the most confident first."""

    success: Literal[True] = True
    scan_id: ScanId
    status: Literal["complete", "failed", "cancelled"]
    opportunities: list[Opportunity]
    total_opportunities: int
    strategy_performance: dict[str, StrategyState]
    execution_time_ms: Milliseconds
    last_updated: str
    cursor: str


class Gap(Struct, frozen=True):
    """A run of absent bars."""

    first: str
    last: str
    bars: int


class MarketBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is scanned."""

    market: str
    symbols: list[str]
    timeframe: str
    bars: int
    first: str
    last: str
    has: dict[Input, bool]
    scanned: str
    """The last bar that most symbols have."""
    ahead: dict[str, int]
    """Symbol → how many later bars of it are left out."""
    behind: dict[str, int]
    """Symbol → how many bars before that one it ends."""
    gaps: dict[str, list[Gap]]
    """By symbol; `*` are the bars that no symbol has."""
    older_gaps: dict[str, int] | UnsetType = UNSET
    """Symbol → how many more gaps there are."""
    venues: list[str] | UnsetType = UNSET
    quoted: list[str] | UnsetType = UNSET
    failed: dict[str, str] | UnsetType = UNSET
    """What a live market could not give, and why."""


class CandlesBody(Struct, frozen=True, kw_only=True):
    """The newest bars of one symbol."""

    success: Literal[True] = True
    symbol: str
    timeframe: str
    first: str
    """The first bar that was looked at, …"""
    last: str
    """… and the last. A bar between them that is absent below is one that the symbol lacks."""
    candles: list[Annotated[list[str | float], Meta(min_length=5, max_length=6)]]
    """Of each the opening time, open, high, low, close, and volume where the market tells it; the oldest first."""


class CatalogueEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One installed strategy."""

    id: str
    name: str
    opportunity_type: str
    opportunity_types: list[str] | UnsetType = UNSET
    description: str
    source: str
    parameters: Document
    """JSON Schema."""


class Condition(Struct, frozen=True):
    """How the server is."""

    status: Literal["ok", "ready"]

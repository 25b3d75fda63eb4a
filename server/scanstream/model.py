"""The words of scanstream: what a scan is asked, what it finds, and the state that every reader sees.

Plain data, and the clock that stamps it. One Struct is at once the schema, the validation and the codec. A field
without a value yet is absent (`UNSET`), never null; see docs/protocol.md, section 2.
"""

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, NewType, TypeAlias, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType

ScanId = NewType("ScanId", str)
"""`scan_` + UUIDv7 in hex + 10 characters of a MAC: opaque to clients."""

Principal = NewType("Principal", str)
"""Who asks. Without authentication every caller is `ANYONE`."""

ANYONE = Principal("anyone")

Milliseconds: TypeAlias = int
"""A point in time (since 1970, UTC) or a length of time, whole milliseconds."""

ScanStatus: TypeAlias = Literal["scanning", "complete", "failed", "cancelled"]
Phase: TypeAlias = Literal["init", "queued", "running", "cancelling", "done"]
StrategyStatus: TypeAlias = Literal["pending", "running", "complete", "failed", "timed_out", "cancelled"]
Side: TypeAlias = Literal["long", "short", "neutral"]
RiskLevel: TypeAlias = Literal["low", "medium", "high", "very_high"]
Tier: TypeAlias = Literal["large", "mid", "small"]
Only: TypeAlias = Literal["state"]
"""What a reader may confine itself to: with `state` its frames bring no opportunities."""

RISK_LEVELS: tuple[RiskLevel, ...] = get_args(RiskLevel)
"""The least first."""
TIERS: tuple[Tier, ...] = get_args(Tier)
"""The largest first."""

Document: TypeAlias = dict[str, Any]
"""A state, or a patch on one, as plain JSON-like data."""


STATUS_PATH = "/opportunities/status/"
RESULTS_PATH = "/opportunities/results/"
EVENTS_PATH = "/opportunities/events/"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> Milliseconds:
    """The wall clock: the time that entries and findings carry. It may be set; nothing is measured by it."""
    return time.time_ns() // 1_000_000


def uptime() -> float:
    """Seconds since the machine started, those in which it slept among them (where the kernel counts them)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def timestamp(at: Milliseconds) -> str:
    """RFC 3339 in UTC with exactly three decimals: `2026-11-23T14:00:00.000Z`."""
    moment = _EPOCH + timedelta(milliseconds=at)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class IdempotencyKey(NamedTuple):
    """The caller's own name for a scan: the same key is the same scan."""

    value: str
    field: str
    """Where it came in, so that an error names it as its caller does."""


MOST_NAMES = 10_000
"""Names in one list of a request: no market has more symbols."""
LONGEST_SYMBOL = 64
"""Characters of a symbol that a market has, or a finding names."""

Names: TypeAlias = list[str] | str
"""A list, or its names with commas between; in any case of letters where that is unambiguous."""

Parameters: TypeAlias = dict[str, dict[str, Any] | None]
"""Strategy id → parameter → value; a null is the same as absent."""


class DiscoverRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What to scan for; every field optional. Lists are trimmed and without repetitions once canonical.

    Without bounds: what a scan was once registered with stays its request. Those of new ones are in message.py.
    """

    symbols: Names | None = None
    strategy_ids: Names | None = None
    asset_tiers: Names | None = None
    opportunity_type: Names | None = None
    min_profit_potential: float | None = None
    """US dollars on `capital_usd`; what promises less is left out."""
    max_required_capital: float | None = None
    """US dollars; what needs more is left out."""
    filter_by_risk_level: str | None = None
    """The highest level accepted: one of `RISK_LEVELS`."""
    preferred_timeframes: Names | None = None
    """`<n>s`, `<n>m`, `<n>h` or `<n>d`; what takes longer than the longest of them is left out."""
    capital_usd: float | None = None
    force_refresh: bool | None = None
    parameters: Parameters | None = None
    """Strategy id → parameter → value."""


DEFAULT_CAPITAL_USD = 1000.0
LONGEST_BUDGET_SECONDS = 366 * 86_400.0
"""What a strategy may ask for: a year is as good as without end, and can be written down."""


class Opportunity(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing found. Deterministic in its input, so that a shard which runs twice finds nothing twice."""

    id: str
    strategy_id: str
    strategy_name: str
    opportunity_type: str
    symbol: str
    symbols: list[str]
    exchange: str
    side: Side
    entry_price: float | UnsetType = UNSET
    exit_price: float | UnsetType = UNSET
    stop_price: float | UnsetType = UNSET
    quote_currency: str | UnsetType = UNSET
    """Absent where the symbol names none: it is never made up."""
    expected_return: float
    profit_potential_usd: float
    required_capital_usd: float
    confidence_score: float
    """0 to 100 for every strategy."""
    hit_rate: float | UnsetType = UNSET
    hit_rate_n: int | UnsetType = UNSET
    risk_level: RiskLevel
    estimated_timeframe: str
    metadata: dict[str, Any]
    discovered_at: str


class Problem(Struct, frozen=True):
    """Why a scan or one of its strategies failed."""

    code: str
    detail: str


class Progress(Struct, frozen=True, kw_only=True):
    """How far a scan is. Completed means: has an outcome, whatever it is."""

    strategies_completed: int = 0
    total_strategies: int
    shards_completed: int = 0
    total_shards: int = 0
    opportunities_found_so_far: int = 0
    percentage: int = 0


class StrategyState(Struct, frozen=True, kw_only=True):
    """How far one strategy of a scan is."""

    status: StrategyStatus = "pending"
    shards_completed: int = 0
    total_shards: int = 0
    opportunities_found: int = 0
    elapsed_ms: Milliseconds = 0
    note: str | UnsetType = UNSET
    error: Problem | UnsetType = UNSET


class ScanState(Struct, frozen=True, kw_only=True):
    """The state of a scan, the same object on every transport (docs/protocol.md, section 2)."""

    success: bool = True
    scan_id: ScanId
    status: ScanStatus = "scanning"
    phase: Phase = "init"
    message: str
    market: str
    filters: dict[str, Any]
    progress: Progress
    strategies: dict[str, StrategyState]
    total_opportunities: int = 0
    created_at: str
    started_at: str | UnsetType = UNSET
    finished_at: str | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    estimated_time_remaining_seconds: float | UnsetType = UNSET
    error: Problem | UnsetType = UNSET
    poll_url: str
    results_url: str


def document(state: ScanState) -> Document:
    """The state as plain data: what snapshots carry and patches apply to."""
    plain: Document = msgspec.to_builtins(msgspec.structs.replace(state, filters={}))
    plain["filters"] = state.filters  # plain already, never changed, and maybe long: all states share it
    return plain


def confidence_order(opportunity: Opportunity) -> tuple[float, str]:
    """The order of results: confidence descending, then id."""
    return (-opportunity.confidence_score, opportunity.id)


def is_finite(value: object) -> bool:
    """Whether every number in a plain value is finite: JSON has no way to write the others."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_finite, value))
    return True

"""Entries: the facts of a scan's log, each with its time.

An entry says what happened, never what the state is: `fold` alone knows that. Stored as JSON, so that a log can be read
with any tool.
"""

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from scanstream.errors import StoreUnavailable
from scanstream.model import LONGEST_BUDGET_SECONDS, DiscoverRequest, Milliseconds, Opportunity, Principal, ScanId

FOLD_VERSION = 2
"""Raised when the fold would read old entries in a new way. 2: the notes of all shards are told, not one."""

LATEST: Milliseconds = 250_000_000_000_000
"""In the year 9892: a time after that is none, and could not be written as one."""
LONGEST: Milliseconds = 10**12
"""Some thirty years."""

PART_OPPORTUNITIES = 500
"""The most opportunities in one `ShardFound`, and in one frame."""

PART_BYTES = 512 * 1024
"""The most bytes in one `ShardFound`: engines have limits on the size of an entry."""


class NewerError(StoreUnavailable):
    """A later version of scanstream has written this, and its nodes can tell what it means."""


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact with a time. The time is the writer's clock; the fold keeps it from going back."""

    at: Annotated[Milliseconds, Meta(ge=0, le=LATEST)]
    by: str = ""
    """The node that wrote it, where that is known; nothing depends on it."""


class Registered(Entry, frozen=True, kw_only=True, omit_defaults=False, tag="registered"):
    """The scan exists: registry, lookup and placeholder at once, with all that the fold needs to know."""

    scan_id: ScanId
    principal: Principal
    slot: str
    """The cache_key: identical requests of one principal on the same data meet here."""
    market: str
    digest: str
    """Names the market's data; the same digest is the same input."""
    request: DiscoverRequest
    filters: dict[str, Any]
    """What the caller gave, as the state shows it."""
    budgets: dict[str, float]
    """Strategy id → seconds it may take. Its keys are the scan's strategies."""
    budget: float
    """Seconds that the whole scan may run."""
    retention: Annotated[Milliseconds, Meta(ge=0, le=LONGEST)]
    """How long the scan answers after its end."""
    prefix: str = ""
    """The path that the server stood below for whoever asked; the state's addresses begin with it."""
    fold: int = FOLD_VERSION


def newer(entry: "AnyEntry") -> str:
    """What to say of a registration that a later version has written, whose fold is not ours; empty if it is not so."""
    if not isinstance(entry, Registered) or entry.fold <= FOLD_VERSION:
        return ""
    return newer_words(f"fold {entry.fold}, and this one knows {FOLD_VERSION}")


def newer_words(what: str) -> str:
    """What to say of a scan that a later version has written."""
    return f"A newer version of scanstream has written this scan ({what}); a node of that version answers for it"


def lean(scan: Registered) -> Registered:
    """The same entry, whose filters hold the request's own values in place of equal ones: a list may be long."""
    filters = lean_filters(scan.request, scan.filters)
    return scan if filters is scan.filters else replace(scan, filters=filters)


def lean_filters(request: DiscoverRequest, filters: dict[str, Any]) -> dict[str, Any]:
    """These filters, or equal ones that hold the request's own values."""
    held = {name: getattr(request, name, None) for name in filters}
    if all(held[name] is value or held[name] != value for name, value in filters.items()):
        return filters
    return {name: held[name] if held[name] == value else value for name, value in filters.items()}


class Queued(Entry, frozen=True, kw_only=True, omit_defaults=True, tag="queued"):
    """The permission to start: whoever asked has the ack, or is gone."""

    waits: bool = False
    """Whether the scan has yet to wait for its turn among those of all principals: another one without this lets it in.

    Only where several nodes let scans in. A version before has one permission for all, and takes no notice of this."""


class Cut(Struct, frozen=True, omit_defaults=True):
    """One strategy's part of the plan: `units` of work (symbols, pairs, …) in shards of `chunk` units."""

    units: int
    chunk: int = 1
    note: str | UnsetType = UNSET
    """Why there is nothing to do."""
    release: str = ""
    """The release of the strategy's package that has cut it: another one may cut it otherwise. Empty: any."""

    @property
    def shards(self) -> int:
        """How many shards the units make; none where a version before wrote down what cannot be cut."""
        return -(-max(0, self.units) // max(1, self.chunk))


class Planned(Entry, frozen=True, kw_only=True, omit_defaults=True, tag="planned"):
    """The one plan of the scan: from now on the totals are known. A second one changes nothing."""

    cuts: dict[str, Cut]


class ShardStarted(Entry, frozen=True, kw_only=True, omit_defaults=True, tag="shard_started"):
    """A worker took the shard up."""

    strategy_id: str
    shard: int


class ShardFound(Entry, frozen=True, kw_only=True, omit_defaults=True, tag="shard_found"):
    """A part of what a shard found, at most `PART_OPPORTUNITIES` and `PART_BYTES`."""

    strategy_id: str
    shard: int
    opportunities: list[Opportunity]


class ShardDone(Entry, frozen=True, kw_only=True, omit_defaults=True, tag="shard_done"):
    """The shard's outcome: it ran to its end."""

    strategy_id: str
    shard: int
    elapsed_ms: Milliseconds
    note: str | UnsetType = UNSET


class ShardFailed(Entry, frozen=True, kw_only=True, omit_defaults=True, tag="shard_failed"):
    """The shard's outcome: it did not run to its end."""

    strategy_id: str
    shard: int
    reason: Literal["failed", "timed_out"]
    code: str
    detail: str
    note: str | UnsetType = UNSET


class CancelRequested(Entry, frozen=True, kw_only=True, omit_defaults=True, tag="cancel_requested"):
    """Somebody who may asked for the end."""


class Cancelled(Entry, frozen=True, kw_only=True, omit_defaults=True, tag="cancelled"):
    """The shards of a cancelled scan are stopped."""


class ScanFailed(Entry, frozen=True, kw_only=True, omit_defaults=True, tag="scan_failed"):
    """The scan cannot be run at all."""

    code: str
    detail: str


class NotifyAsked(Entry, frozen=True, kw_only=True, omit_defaults=True, tag="notify_asked"):
    """Somebody who may wants to be told there when the scan has ended."""

    id: str
    """The same for the same address: whoever is told knows a repetition by it."""
    url: str
    """Its path may be a secret: of it no more than the host is shown anywhere."""
    put: bool = False
    """Whether it is in the queue of what is told: said behind the end only, where nobody else remembers that."""


AnyEntry: TypeAlias = (
    Registered
    | Queued
    | Planned
    | ShardStarted
    | ShardFound
    | ShardDone
    | ShardFailed
    | CancelRequested
    | Cancelled
    | ScanFailed
    | NotifyAsked
)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyEntry)


def encode(entry: AnyEntry) -> bytes:
    """An entry as it is stored."""
    return _encoder.encode(entry)


def decode(stored: bytes) -> AnyEntry:
    """A stored entry.

    :raises msgspec.ValidationError: if it is none
    """
    try:
        entry: AnyEntry = _decoder.decode(stored)
    except msgspec.ValidationError:
        if b'"budgets"' not in stored:
            raise
        entry = _of_before(stored)
    if isinstance(entry, Registered) and not all(0 < one <= LONGEST_BUDGET_SECONDS for one in entry.budgets.values()):
        bounded = {name: min(max(0.001, one), LONGEST_BUDGET_SECONDS) for name, one in entry.budgets.items()}
        return replace(entry, budgets=bounded)
    return entry


def _of_before(stored: bytes) -> AnyEntry:
    """A registration of a version that took endless times: of budgets JSON has null for what is not finite."""
    plain = msgspec.json.decode(stored, type=dict[str, Any])
    if not isinstance(budgets := plain.get("budgets"), dict):
        return msgspec.convert(plain, Registered)
    finite = {name: LONGEST_BUDGET_SECONDS if one is None else one for name, one in budgets.items()}
    retention = min(kept, LONGEST) if isinstance(kept := plain.get("retention"), int) else kept
    return msgspec.convert({**plain, "budgets": finite, "retention": retention}, Registered)


def parts(strategy_id: str, shard: int, found: list[Opportunity], at: Milliseconds) -> list[ShardFound]:
    """What a shard found, cut into entries that every engine takes."""
    empty = ShardFound(at=at, strategy_id=strategy_id, shard=shard, opportunities=[])
    envelope = len(encode(empty))
    entries: list[ShardFound] = []
    part: list[Opportunity] = []
    size = envelope
    for opportunity in found:
        weight = len(_encoder.encode(opportunity)) + len(",")
        if part and (len(part) == PART_OPPORTUNITIES or size + weight > PART_BYTES):
            entries.append(replace(empty, opportunities=part))
            part, size = [], envelope
        part.append(opportunity)
        size += weight
    return [*entries, replace(empty, opportunities=part)] if part else entries

"""What is told of a scan's life: what happened when, how long it took, and what it waits for now."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from scanstream.model import Milliseconds, ScanId


class Wait(Struct, frozen=True, kw_only=True):
    """Something that the scan waits for now."""

    what: Literal["ack", "place", "plan", "worker", "shards", "strategy", "store", "machine", "stop"]
    why: str
    """In words, with what would help."""


class Moment(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of its log."""

    at: str
    what: str
    """The entry: `registered`, `queued`, `planned`, `shard_started`, `shard_done`, …; `ended` for the end.

    `let_in` where a scan that was queued on one of several nodes had to wait for its turn, and then had it."""
    took_ms: Milliseconds | UnsetType = UNSET
    """Of a shard what it ran for; of the others the time since the one before."""
    strategy_id: str | UnsetType = UNSET
    shard: int | UnsetType = UNSET
    """Counted from 0."""
    by: str | UnsetType = UNSET
    """The node that wrote it, for those who look after the server."""
    detail: str | UnsetType = UNSET


class ShardLife(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One shard that has an outcome."""

    shard: int
    outcome: str
    """`done`, or the code of its problem."""
    at: str
    took_ms: Milliseconds | UnsetType = UNSET
    by: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class StrategyLife(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One strategy's shards, in all."""

    status: str
    total_shards: int = 0
    done: int = 0
    failed: int = 0
    """Those that are not done, timed out ones included."""
    missing: int = 0
    running_here: int = 0
    opportunities_found: int = 0
    began_after_ms: Milliseconds | UnsetType = UNSET
    """From the plan to its first shard."""
    took_ms: Milliseconds | UnsetType = UNSET
    """From its first shard to its last outcome."""
    busy_ms: Milliseconds = 0
    """Of its shards together."""
    slowest: list[ShardLife] = []
    failures: list[ShardLife] = []
    """The first of them."""


class Explanation(Struct, frozen=True, kw_only=True):
    """A scan's life, until now."""

    scan_id: ScanId
    status: str
    phase: str
    waits_for: list[Wait]
    """Empty when it has ended."""
    timeline: list[Moment]
    """In the order of the log."""
    left_out: int
    """Entries on single shards that are not in the timeline, as they are many: `strategies` sums them up."""
    strategies: dict[str, StrategyLife]
    success: Literal[True] = True

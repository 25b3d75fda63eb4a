"""Scans' histories: entries by hand for examples, and hypothesis strategies that make up whole logs for laws."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from scanstream.log.entry import (
    AnyEntry,
    Cancelled,
    CancelRequested,
    Cut,
    NotifyAsked,
    Planned,
    Queued,
    Registered,
    ScanFailed,
    ShardDone,
    ShardFailed,
    ShardFound,
    ShardStarted,
)
from scanstream.log.fold import Folded, Step, begin, fold
from scanstream.model import ANYONE, DiscoverRequest, Milliseconds, Opportunity, Principal, ScanId

T = TypeVar("T")

NOON: Milliseconds = 1_795_442_400_000
"""2026-11-23T14:00:00.000Z."""

SCAN = ScanId("scan_1")


def registered(
    *names: str, at: Milliseconds = NOON, scan_id: ScanId = SCAN, principal: Principal = ANYONE
) -> Registered:
    """A scan of these strategies, kept for a minute."""
    return Registered(
        at=at,
        scan_id=scan_id,
        principal=principal,
        slot="slot",
        market="synthetic",
        digest="digest",
        request=DiscoverRequest(),
        filters={"symbols": ["BTC/USDT"]},
        budgets=dict.fromkeys(names, 60.0),
        budget=900.0,
        retention=60_000,
    )


def planned(at: Milliseconds = NOON, **shards: int) -> Planned:
    """The plan: strategy → shards; one without any has nothing to look at."""
    cuts = {name: Cut(units) if units else Cut(0, note="No quotes") for name, units in shards.items()}
    return Planned(at=at, cuts=cuts)


def started(name: str, shard: int = 0, at: Milliseconds = NOON) -> ShardStarted:
    """A worker takes the shard up."""
    return ShardStarted(at=at, strategy_id=name, shard=shard)


def opportunity(identity: str) -> Opportunity:
    """The same for the same id, as every opportunity is."""
    return Opportunity(
        id=identity,
        strategy_id="a",
        strategy_name="A",
        opportunity_type="momentum",
        symbol="BTC/USDT",
        symbols=["BTC/USDT"],
        exchange="synthetic",
        side="long",
        quote_currency="USDT",
        expected_return=0.033,
        profit_potential_usd=33.0,
        required_capital_usd=1000.0,
        confidence_score=71.4,
        risk_level="medium",
        estimated_timeframe="21h",
        metadata={},
        discovered_at="2026-11-23T14:00:00.000Z",
    )


def found(name: str, *ids: str, shard: int = 0, at: Milliseconds = NOON) -> ShardFound:
    """A part of what the shard found."""
    return ShardFound(at=at, strategy_id=name, shard=shard, opportunities=[opportunity(identity) for identity in ids])


def done(name: str, shard: int = 0, at: Milliseconds = NOON, *, elapsed: int = 10, note: str = "") -> ShardDone:
    """The shard ran to its end."""
    return ShardDone(at=at, strategy_id=name, shard=shard, elapsed_ms=elapsed, note=note or UNSET)


def failed(
    name: str, shard: int = 0, at: Milliseconds = NOON, *, detail: str = "division by zero", note: str = ""
) -> ShardFailed:
    """The shard raised."""
    code = "strategy_error"
    return ShardFailed(
        at=at, strategy_id=name, shard=shard, reason="failed", code=code, detail=detail, note=note or UNSET
    )


def timed_out(name: str, shard: int = 0, at: Milliseconds = NOON) -> ShardFailed:
    """The shard was over its budget."""
    return ShardFailed(at=at, strategy_id=name, shard=shard, reason="timed_out", code="timed_out", detail="over 60 s")


def steps(entries: Sequence[AnyEntry]) -> list[tuple[Folded, Step]]:
    """What each entry after the registration met, and what it did."""
    first, *rest = entries
    assert isinstance(first, Registered)
    folded, held = begin(first), set[str]()
    taken: list[tuple[Folded, Step]] = []
    for entry in rest:
        step = fold(folded, entry, held)
        taken.append((folded, step))
        folded = step.after
        held.update(new.id for new in step.opportunities)
    return taken


def folded(*entries: AnyEntry) -> Folded:
    """The log of these entries, folded."""
    first = entries[0]
    assert isinstance(first, Registered)
    return steps(entries)[-1][1].after if len(entries) > 1 else begin(first)


def notify_asked(name: str, at: Milliseconds = NOON) -> NotifyAsked:
    """Somebody wants to be told of the end."""
    return NotifyAsked(at=at, id=f"msg_{name}", url=f"https://{name}.example.org/secret-{name}")


class Race(NamedTuple):
    """One plan, run in two ways that must end equal."""

    calm: list[AnyEntry]
    """Each shard run once, one after the other."""
    wild: list[AnyEntry]
    """Each shard run by up to three workers at once, and entries that come again."""


@st.composite
def races(draw: st.DrawFn) -> Race:
    """Shards, the runs of their twin workers interleaved in any way, and entries repeated at will; one clock."""
    shards = draw(st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), min_size=1))
    opening: list[AnyEntry] = [registered(*shards), Queued(at=NOON), planned(**shards)]
    once = [draw(_runs(name, shard)) for name, count in shards.items() for shard in range(count)]
    twins = [run for run in once for _ in range(draw(st.integers(1, 3)))]
    wild = list(opening)
    for entry in draw(_interleaved(twins)):
        wild.append(entry)
        wild += draw(st.lists(st.sampled_from(tuple(wild)), max_size=1))
    return Race([*opening, *(entry for run in once for entry in run)], wild)


@st.composite
def _runs(draw: st.DrawFn, name: str, shard: int) -> list[AnyEntry]:
    """What one worker appends for a shard. Shards of one strategy may find the same opportunity."""
    ids = st.integers(0, 9).map(lambda number: f"{name}:{number}")
    parts = draw(st.lists(st.lists(ids, min_size=1, max_size=5, unique=True), max_size=2))
    outcome = draw(
        st.sampled_from([done(name, shard), done(name, shard, note=f"shard {shard} saw gaps")])
        | st.sampled_from([done(name, shard, note="it saw gaps"), done(name, shard, note=f"{shard}" * 3000)])
        | st.sampled_from([failed(name, shard, detail=f"shard {shard} fell"), timed_out(name, shard)])
        | st.just(failed(name, shard, note="it saw gaps"))
    )
    return [started(name, shard), *(found(name, *part, shard=shard) for part in parts), outcome]


@st.composite
def _interleaved(draw: st.DrawFn, runs: Sequence[Sequence[T]]) -> list[T]:
    """All runs at once: each keeps its own order, nothing else is certain."""
    turns = draw(st.permutations([number for number, run in enumerate(runs) for _ in run]))
    waiting = [iter(run) for run in runs]
    return [next(waiting[number]) for number in turns]


_STRAYS: tuple[AnyEntry, ...] = (
    Queued(at=NOON),
    Queued(at=NOON, waits=True),
    planned(a=5, b=5, c=5),
    registered("a", "z"),
    started("z"),
    found("a", "a:stray", shard=-1),
    found("z", "z:stray"),
    done("b", 99),
    failed("a", -1),
    CancelRequested(at=NOON),
    Cancelled(at=NOON),
    ScanFailed(at=NOON, code="invalid_market", detail="The file is gone"),
    notify_asked("a"),
    notify_asked("b"),
)


@st.composite
def histories(draw: st.DrawFn) -> list[AnyEntry]:
    """Any log that a store may ever hold: a race, strays anywhere in it, and clocks that disagree."""
    entries = list(draw(races()).wild)
    for stray in draw(st.lists(st.sampled_from(_STRAYS), max_size=3)):
        entries.insert(draw(st.integers(1, len(entries))), stray)
    clocks = draw(st.lists(st.integers(0, 60_000), min_size=len(entries), max_size=len(entries)))
    return [replace(entry, at=NOON + clock) for entry, clock in zip(entries, clocks, strict=True)]

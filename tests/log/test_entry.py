"""Entries: stored and read again unchanged, and cut so that every engine takes them."""

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from scanstream import message
from scanstream.jobs import Shard
from scanstream.log import entry as entry_module
from scanstream.log.entry import (
    PART_BYTES,
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
    decode,
    encode,
    parts,
)
from scanstream.model import ANYONE, LONGEST_BUDGET_SECONDS, RISK_LEVELS, DiscoverRequest, Opportunity, ScanId
from scanstream.scans.work.finding import accepts
from scanstream.scans.work.planning import PlanJob
from support.histories import NOON, done, found, opportunity, registered

TEXT = st.text()
COUNT = st.integers(0, 2**53)
TIME = st.integers(0, entry_module.LATEST)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
NOTE = st.just(UNSET) | TEXT
LISTED = st.none() | TEXT | st.lists(TEXT)
PLAIN = st.recursive(
    st.none() | st.booleans() | COUNT | FLOAT | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=5,
)
OBJECT = st.dictionaries(TEXT, PLAIN, max_size=3)

REQUESTS = st.builds(
    DiscoverRequest,
    symbols=LISTED,
    asset_tiers=LISTED,
    min_profit_potential=st.none() | FLOAT,
    filter_by_risk_level=st.sampled_from([None, *RISK_LEVELS]),
    capital_usd=st.none() | st.floats(0, exclude_min=True, allow_infinity=False),
    force_refresh=st.none() | st.booleans(),
    parameters=st.none() | st.dictionaries(TEXT, OBJECT, max_size=2),
)
OPPORTUNITIES: st.SearchStrategy[Opportunity] = st.builds(
    lambda identity, **fields: replace(opportunity(identity), **fields),
    TEXT,
    side=st.sampled_from(["long", "short", "neutral"]),
    entry_price=st.just(UNSET) | FLOAT,
    hit_rate_n=st.just(UNSET) | COUNT,
    metadata=OBJECT,
)
SHARD: dict[str, Any] = {"at": TIME, "strategy_id": TEXT, "shard": COUNT}

ENTRIES: dict[type[AnyEntry], st.SearchStrategy[AnyEntry]] = {
    Registered: st.builds(
        Registered,
        at=TIME,
        scan_id=TEXT.map(ScanId),
        principal=st.just(ANYONE),
        slot=TEXT,
        market=TEXT,
        digest=TEXT,
        request=REQUESTS,
        filters=OBJECT,
        budgets=st.dictionaries(TEXT, st.floats(0.001, LONGEST_BUDGET_SECONDS)),
        budget=FLOAT,
        retention=st.integers(0, entry_module.LONGEST),
        fold=COUNT,
    ),
    Queued: st.builds(Queued, at=TIME),
    Planned: st.builds(
        Planned,
        at=TIME,
        cuts=st.dictionaries(TEXT, st.builds(Cut, units=COUNT, chunk=COUNT, note=NOTE)),
    ),
    ShardStarted: st.builds(ShardStarted, **SHARD),
    ShardFound: st.builds(ShardFound, **SHARD, opportunities=st.lists(OPPORTUNITIES, max_size=3)),
    ShardDone: st.builds(ShardDone, **SHARD, elapsed_ms=COUNT, note=NOTE),
    ShardFailed: st.builds(
        ShardFailed, **SHARD, reason=st.sampled_from(["failed", "timed_out"]), code=TEXT, detail=TEXT, note=NOTE
    ),
    NotifyAsked: st.builds(NotifyAsked, at=TIME, id=TEXT, url=TEXT),
    CancelRequested: st.builds(CancelRequested, at=TIME),
    Cancelled: st.builds(Cancelled, at=TIME),
    ScanFailed: st.builds(ScanFailed, at=TIME, code=TEXT, detail=TEXT),
}


def test_every_entry_is_here() -> None:
    assert ENTRIES.keys() == set(get_args(AnyEntry))


@pytest.mark.parametrize("kind", ENTRIES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_an_entry_is_read_as_it_was_written(kind: type[AnyEntry], data: st.DataObject) -> None:
    entry = data.draw(ENTRIES[kind])

    assert decode(encode(entry)) == entry


@pytest.mark.parametrize(
    ("entry", "stored"),
    [
        (Queued(at=NOON), b'{"type":"queued","at":1795442400000}'),
        (done("a", 2), b'{"type":"shard_done","at":1795442400000,"strategy_id":"a","shard":2,"elapsed_ms":10}'),
    ],
)
def test_the_stored_form_is_fixed(entry: AnyEntry, stored: bytes) -> None:
    assert encode(entry) == stored


@pytest.mark.parametrize(
    "stored",
    [
        b'{"type":"queued","at":-1}',
        b'{"type":"queued","at":300000000000000}',  # no such year can be written
        b'{"type":"planned","at":1,"cuts":{"a":[0]}}',
    ],
)
def test_what_the_fold_could_make_no_state_of_is_no_entry(stored: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(stored)


def test_the_fold_version_is_stored() -> None:
    assert msgspec.json.decode(encode(registered("a")))["fold"] == entry_module.FOLD_VERSION


@pytest.mark.parametrize(
    "stored", [b"{}", b'{"type":"unheard_of","at":1}', b'{"type":"queued"}', b'{"type":"queued","at":null}']
)
def test_what_is_no_entry_is_refused(stored: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(stored)


@pytest.mark.parametrize(
    ("units", "chunk", "shards"), [(0, 1, 0), (1, 1, 1), (7, 1, 7), (7, 3, 3), (9, 3, 3), (2, 5, 1)]
)
def test_units_are_cut_into_shards(units: int, chunk: int, shards: int) -> None:
    assert Cut(units, chunk).shards == shards


def heavy(number: int, weight: int) -> Opportunity:
    """An opportunity of exactly so many bytes, once stored."""
    bare = replace(opportunity(f"a:{number}"), metadata={"ballast": ""})
    return replace(bare, metadata={"ballast": "x" * (weight - len(msgspec.json.encode(bare)))})


def sizes(found: list[Opportunity]) -> list[int]:
    """How many opportunities go into each part; together they are all there, in order."""
    entries = parts("a", 3, found, NOON)
    assert all((part.at, part.strategy_id, part.shard) == (NOON, "a", 3) for part in entries)
    assert [one for part in entries for one in part.opportunities] == found
    return [len(part.opportunities) for part in entries]


@pytest.mark.parametrize(
    ("count", "expected"), [(0, []), (1, [1]), (500, [500]), (501, [500, 1]), (1201, [500, 500, 201])]
)
def test_a_part_has_500_opportunities_at_most(count: int, expected: list[int]) -> None:
    assert sizes([opportunity(f"a:{number}") for number in range(count)]) == expected


def test_a_part_has_512_kib_at_most() -> None:
    assert sizes([heavy(number, 200_000) for number in range(5)]) == [2, 2, 1]
    assert sizes([heavy(0, 10_000), heavy(1, PART_BYTES + 1), heavy(2, 10_000)]) == [1, 1, 1]


@given(st.lists(st.integers(500, 2_000)))
@example([2_000, 2_000])
def test_no_part_is_larger_than_engines_take(weights: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(entry_module, "PART_BYTES", 4_000)
        entries = parts("a", 0, [heavy(number, weight) for number, weight in enumerate(weights)], NOON)

    assert [entry for entry in entries if len(encode(entry)) > 4_000] == []


def test_a_part_is_an_entry_like_those_of_a_store() -> None:
    assert parts("a", 0, [opportunity("a:1")], NOON) == [found("a", "a:1")]


WIDE: dict[str, dict[str, Any]] = {
    "a list of any length": {"preferred_timeframes": [f"{hours}h" for hours in range(1, 95_001)]},
    "a name of any length": {"preferred_timeframes": ["0" * 150 + "3d"], "symbols": ["X" * 5000]},
    "a capital of any size": {"capital_usd": 1e30},
    "parameters of any name": {"parameters": {"a": {"p" * 500: 1}}},
}
"""Requests that versions before took and acknowledged, and no door takes any more."""


@pytest.mark.parametrize("kind", WIDE)
def test_a_registration_of_before_there_were_bounds_is_read_and_run(kind: str) -> None:
    entry = replace(registered("a"), request=DiscoverRequest(**WIDE[kind]), filters=WIDE[kind])
    assert decode(encode(entry)) == entry
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(WIDE[kind], message.DiscoverRequest)
    plan = PlanJob(scan_id=entry.scan_id, digest="", request=entry.request, strategy_ids=["a"])
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(plan), type=PlanJob) == plan
    shard = Shard(
        scan_id=entry.scan_id,
        strategy_id="a",
        number=0,
        start=0,
        stop=1,
        digest="",
        request=entry.request,
        budget_seconds=1.0,
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(shard), type=Shard) == shard
    if entry.request.preferred_timeframes is not None:
        assert not accepts(entry.request, replace(opportunity("a:1"), estimated_timeframe="999999d"))


def test_a_registration_with_an_endless_retention_is_read() -> None:
    stored = encode(registered("a")).replace(b'"retention":', b'"retention":99999999')
    entry = decode(stored)
    assert isinstance(entry, Registered)
    assert entry.retention == entry_module.LONGEST
    assert decode(encode(entry)) == entry


@pytest.mark.parametrize("budget", ["null", "-5.0", "0", "1e300"])
def test_a_registration_with_a_budget_that_no_strategy_may_have_is_read(budget: str) -> None:
    """Versions before took any; JSON has null for what is endless, or no number."""
    stored = encode(registered("a", "b")).replace(b'"a":60.0', b'"a":' + budget.encode())
    entry = decode(stored)
    assert isinstance(entry, Registered)
    assert 0 < entry.budgets["a"] <= LONGEST_BUDGET_SECONDS
    assert entry.budgets["b"] == 60.0
    assert decode(encode(entry)) == entry


@pytest.mark.parametrize(("units", "chunk"), [(-1, 8), (-4000, 8), (5, 0), (0, 0), (5, -3)])
def test_a_plan_that_cannot_be_cut_is_read_and_has_no_endless_shards(units: int, chunk: int) -> None:
    stored = encode(Planned(at=NOON, cuts={"a": Cut(1)})).replace(
        b'"units":1', f'"units":{units},"chunk":{chunk}'.encode()
    )
    plan = decode(stored)
    assert isinstance(plan, Planned)
    assert 0 <= plan.cuts["a"].shards <= max(units, 0)

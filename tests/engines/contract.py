"""What every engine must do: one suite, inherited by each engine's own test file.

A subclass gives the fixture `engine`. Where what was written outlives the store object, inherit from `DurableContract`.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import cycle
from typing import ClassVar

import anyio
import pytest

from scanstream.errors import NotFound
from scanstream.log.cursor import epoch_of
from scanstream.log.entry import (
    AnyEntry,
    Cancelled,
    CancelRequested,
    Cut,
    Planned,
    Queued,
    Registered,
    ScanFailed,
    ShardDone,
    ShardFailed,
    ShardFound,
)
from scanstream.log.store import Store
from scanstream.model import ANYONE, Opportunity, Principal, ScanId
from support.stores import consuming, fact, registration

Engine = Callable[[str], AbstractAsyncContextManager[Store]]
"""`async with engine("here") as store`; the same word again opens the same place again."""

A, B, C = ScanId("scan_a"), ScanId("scan_b"), ScanId("scan_c")
RACERS = 150
APPENDERS = 200

OPPORTUNITY = Opportunity(
    id="tsmom:ÅÖ/BTC:2026-11-23T13:00:00.000Z",
    strategy_id="tsmom",
    strategy_name="Time-series momentum",
    opportunity_type="momentum",
    symbol="ÅÖ/BTC",
    symbols=["ÅÖ/BTC"],
    exchange="synthetic",
    side="long",
    entry_price=0.1 + 0.2,
    quote_currency="BTC",
    expected_return=1e-300,
    profit_potential_usd=33.0,
    required_capital_usd=1000.0,
    confidence_score=71.4,
    risk_level="medium",
    estimated_timeframe="21h",
    metadata={"z": -0.0, "nested": {"empty": [], "text": "line\nbreak \u2028 \U0001f600"}},
    discovered_at="2026-11-23T14:00:01.250Z",
)
EVERY_KIND: Sequence[AnyEntry] = (
    Queued(at=1),
    Planned(at=2, cuts={"tsmom": Cut(3, 8), "pairs": Cut(0, note="no pairs")}),
    fact(0),
    ShardFound(at=3, strategy_id="tsmom", shard=0, opportunities=[OPPORTUNITY]),
    ShardDone(at=4, strategy_id="tsmom", shard=0, elapsed_ms=17, note="a gap"),
    ShardFailed(at=5, strategy_id="tsmom", shard=1, reason="timed_out", code="timed_out", detail="too slow"),
    CancelRequested(at=6),
    Cancelled(at=7),
    ScanFailed(at=8, code="invalid_market", detail="it is gone"),
)


async def race(racers: Sequence[Registered], replaces: ScanId | None, *stores: Store) -> ScanId:
    """Register all at once, over these stores in turn; the one winner, which all of them must have been told."""
    told: list[ScanId] = []

    async def register(store: Store, scan: Registered) -> None:
        told.append(await store.register(scan, replaces))

    async with anyio.create_task_group() as tasks:
        for racer, store in zip(racers, cycle(stores), strict=False):
            tasks.start_soon(register, store, racer)
    assert len(told) == len(racers)
    (winner,) = set(told)
    assert winner in {racer.scan_id for racer in racers}
    return winner


@pytest.mark.anyio
class StoreContract:
    """What holds while a store is open."""

    async def test_a_registration_returns_its_own_id_and_is_fed_at_seq_1(self, engine: Engine) -> None:
        scan = registration(A)
        async with engine("here") as store, consuming(store) as consumer:
            assert await store.register(scan, None) == A
            await store.barrier()
            assert consumer.taken == [(A, 1, scan)]

    async def test_a_held_slot_answers_with_its_holder_and_nothing_is_written(self, engine: Engine) -> None:
        async with engine("here") as store, consuming(store) as consumer:
            await store.register(registration(A, "slot"), None)
            assert await store.register(registration(B, "slot"), None) == A
            assert await store.register(registration(C, "slot"), B) == A  # not the holder either
            await store.barrier()
            assert {scan_id for scan_id, _, _ in consumer.taken} == {A}
            assert await store.history(B) is None
            assert await store.history(C) is None

    async def test_a_registration_may_replace_the_holder_that_it_has_seen(self, engine: Engine) -> None:
        async with engine("here") as store, consuming(store) as consumer:
            await store.register(registration(A, "slot"), None)
            assert await store.register(registration(B, "slot"), A) == B
            assert await store.register(registration(C, "slot"), A) == B  # A was the holder, and is it no more
            await store.barrier()
            assert consumer.log(B) == [registration(B, "slot")]
            assert await store.history(A) == [registration(A, "slot")]  # the older one keeps its log

    async def test_the_holder_of_a_slot_is_named_after_all_registrations_asked_for_before(self, engine: Engine) -> None:
        async with engine("here") as store, consuming(store):
            assert await store.holder("slot") is None
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.register, registration(A, "slot"), None)
                await anyio.wait_all_tasks_blocked()
                assert await store.holder("slot") == A
            await store.register(registration(B, "slot"), A)
            assert await store.holder("slot") == B
            assert await store.holder("other") is None

    async def test_of_racers_for_a_slot_exactly_one_wins_and_all_hear_which(self, engine: Engine) -> None:
        async with engine("here") as store, consuming(store) as consumer:
            for number in range(10):
                holder: ScanId | None = None
                for attempt in ("new", "over"):
                    racers = [registration(f"{attempt}{number}.{racer}", f"slot{number}") for racer in range(RACERS)]
                    holder = await race(racers, holder, store)
            await store.barrier()
            registered = [entry.slot for _, _, entry in consumer.taken if isinstance(entry, Registered)]
            assert sorted(registered) == sorted(2 * [f"slot{number}" for number in range(10)])

    async def test_every_kind_of_entry_comes_back_as_it_was(self, engine: Engine) -> None:
        scan = registration(A)
        async with engine("here") as store, consuming(store) as consumer:
            await store.register(scan, None)
            await store.append(A, *EVERY_KIND)
            await store.barrier()
            assert consumer.log(A) == [scan, *EVERY_KIND]
            assert await store.history(A) == [scan, *EVERY_KIND]

    async def test_concurrent_appends_are_contiguous_and_each_in_order(self, engine: Engine) -> None:
        async with engine("here") as store, consuming(store) as consumer:
            await store.register(registration(A), None)

            async def write(writer: int) -> None:
                await store.append(A, fact(0, f"{writer}"), fact(1, f"{writer}"))
                await store.append(A, fact(2, f"{writer}"))

            async with anyio.create_task_group() as tasks:
                for writer in range(APPENDERS):
                    tasks.start_soon(write, writer)
            await store.barrier()
            _, *written = consumer.log(A)
            assert await store.history(A) == [registration(A), *written]
            assert len(written) == 3 * APPENDERS
            for writer in range(APPENDERS):
                expected = [fact(number, f"{writer}") for number in range(3)]
                assert [entry for entry in written if getattr(entry, "strategy_id", "") == f"{writer}"] == expected

    async def test_an_append_is_all_or_nothing(self, engine: Engine) -> None:
        unwritable = ScanFailed(at=1, code="x", detail=object())  # type: ignore[arg-type]
        async with engine("here") as store, consuming(store) as consumer:
            await store.register(registration(A), None)
            with pytest.raises(TypeError):
                await store.append(A, fact(0), unwritable)
            await store.append(A, fact(1))
            await store.barrier()
            assert consumer.log(A) == await store.history(A) == [registration(A), fact(1)]

    async def test_an_append_to_an_unknown_scan_fails_alone(self, engine: Engine) -> None:
        async with engine("here") as store, consuming(store) as consumer:
            await store.register(registration(A), None)
            refused: list[NotFound] = []

            async def write_into_nothing() -> None:
                with pytest.raises(NotFound) as caught:
                    await store.append(B, fact(0))
                refused.append(caught.value)

            async with anyio.create_task_group() as tasks:
                for number in range(50):
                    tasks.start_soon(store.append, A, fact(number))
                    tasks.start_soon(write_into_nothing)
            await store.barrier()
            assert len(consumer.log(A)) == 51
            assert [error.scan_id for error in refused] == [B] * 50
            assert consumer.log(B) == []
            assert await store.history(B) is None

    async def test_only_settled_scans_expire_and_only_when_their_time_is_over(self, engine: Engine) -> None:
        async with engine("here") as store:
            for scan_id, expires_at in ((A, 2_000), (B, 3_000), (C, None)):
                await store.register(registration(scan_id), None)
                if expires_at is not None:
                    await store.settle(scan_id, expires_at)
                    await store.settle(scan_id, expires_at)
            assert [await store.settled(scan_id) for scan_id in (A, B, C)] == [True, True, False]
            assert await store.expired(1_999) == []
            assert await store.expired(2_000) == [A]
            assert await store.expired(9_000) == [A, B]
            assert await store.history(A) == [registration(A)]  # expiry alone deletes nothing

    async def test_a_purged_scan_is_gone_and_purging_again_changes_nothing(self, engine: Engine) -> None:
        async with engine("here") as store:
            await store.register(registration(A), None)
            await store.append(A, fact(0))
            await store.register(registration(B), None)
            await store.settle(A, 2_000)
            for _ in range(2):
                await store.purge([A])
                assert await store.history(A) is None
                assert await store.settled(A)
                assert await store.expired(9_000) == []
                with pytest.raises(NotFound):
                    await store.append(A, fact(1))
            await store.settle(A, 2_000)  # too late: it must not come back
            assert await store.expired(9_000) == []
            await store.append(B, fact(0))
            await store.purge([B])  # unfinished, and written to a moment ago
            with pytest.raises(NotFound):
                await store.append(B, fact(1))
            assert await store.history(B) is None

    async def test_a_purge_frees_the_slot_only_of_the_scan_that_holds_it(self, engine: Engine) -> None:
        async with engine("here") as store:
            await store.register(registration(A, "slot"), None)
            await store.register(registration(B, "slot"), A)
            await store.purge([A])
            assert await store.register(registration(C, "slot"), None) == B
            await store.purge([B])
            assert await store.register(registration(C, "slot"), None) == C

    async def test_many_are_purged_at_once_and_whoever_writes_meanwhile_is_answered(self, engine: Engine) -> None:
        names = [f"{number:04}" for number in range(2_500)]
        async with engine("here") as store:
            async with anyio.create_task_group() as tasks:
                for name in names:
                    tasks.start_soon(store.register, registration(name), None)
            for name in names[:10]:
                await store.append(ScanId(name), *EVERY_KIND)
            await store.register(registration(A), None)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.purge, [*map(ScanId, names), ScanId("never there"), ScanId(names[0])])
                for number in range(50):
                    tasks.start_soon(store.append, A, fact(number))
            assert await store.newest(ANYONE, 10) == [A]
            assert await store.history(ScanId(names[0])) is None
            assert len(await store.history(A) or ()) == 51
            await store.purge([])

    async def test_the_newest_scans_of_a_principal_come_first_and_page_by_page(self, engine: Engine) -> None:
        """Registration is the order: the clock was set back between some of these, and stood still between others."""
        other = Principal("somebody else")
        async with engine("here") as store:
            for name, at in (("b", 9_000), ("a", 1), ("d", 3), ("c", 3)):
                await store.register(registration(name, at=at), None)
            await store.register(registration("z", at=9, principal=other), None)
            await store.register(registration("loser", "slot of a", at=9), None)
            await store.settle(ScanId("b"), 2_000)
            assert await store.newest(ANYONE, 10) == ["c", "d", "a", "b"]
            assert await store.newest(ANYONE, 3) == ["c", "d", "a"]
            assert await store.newest(ANYONE, 2, ScanId("d")) == ["a", "b"]
            assert await store.newest(ANYONE, 2, ScanId("b")) == []
            assert await store.newest(other, 10) == ["z"]
            assert await store.newest(Principal("nobody"), 10) == []
            await store.purge([ScanId("d")])
            assert await store.newest(ANYONE, 10) == ["c", "a", "b"]
            with pytest.raises(NotFound):  # where it stood nobody knows: an empty page would be a lie
                await store.newest(ANYONE, 10, ScanId("d"))

    async def test_scans_whose_time_is_over_are_left_out_before_they_are_purged(self, engine: Engine) -> None:
        async with engine("here") as store:
            for scan_id in (A, B, C):
                await store.register(registration(scan_id), None)
            await store.settle(A, 2_000)
            await store.settle(B, 3_000)
            assert await store.newest(ANYONE, 10, at=1_999) == [C, B, A]
            assert await store.newest(ANYONE, 10, at=2_000) == [C, B]
            assert await store.newest(ANYONE, 1, B, at=2_000) == []
            assert await store.newest(ANYONE, 10, at=9_000) == [C]

    async def test_what_is_remembered_is_recalled_the_last_of_each_name(self, engine: Engine) -> None:
        async with engine("here") as store:
            identity, key = store.identity, store.key
            assert await store.recall("pace") is None
            for name, value in (("pace", b"1"), ("pace", b""), ("pace", bytes(range(256))), ("identity", b"2")):
                await store.remember(name, value)
                assert await store.recall(name) == value
            assert await store.recall("pace") == bytes(range(256))
            assert (store.identity, store.key) == (identity, key)

    async def test_stores_differ_in_identity_and_key(self, engine: Engine) -> None:
        async with engine("here") as one, engine("there") as other:
            assert one.identity != other.identity
            assert one.key != other.key
            assert len(one.key) >= 32
            assert epoch_of(one.identity, A) != epoch_of(other.identity, A)
            assert epoch_of(one.identity, A) != epoch_of(one.identity, B)


@pytest.mark.anyio
class DurableContract(StoreContract):
    """What holds when a store is opened again where it was."""

    replays_settled: ClassVar[bool] = False
    """Whether the feed begins with the logs of settled scans, too."""

    async def test_the_feed_begins_with_whole_unfinished_logs_and_goes_on_live(self, engine: Engine) -> None:
        logs: dict[ScanId, list[AnyEntry]] = {scan_id: [registration(scan_id), *EVERY_KIND] for scan_id in (A, B, C)}
        async with engine("here") as store:
            for scan_id in logs:
                await store.register(registration(scan_id), None)
                await store.append(scan_id, *EVERY_KIND)
            await store.settle(B, 2_000)
        async with engine("here") as store, consuming(store) as consumer:
            assert consumer.log(B) == (logs[B] if self.replays_settled else [])
            for scan_id in (A, C):
                assert consumer.log(scan_id) == logs[scan_id]
                await store.append(scan_id, fact(7))
                await store.barrier()
                assert consumer.log(scan_id) == await store.history(scan_id) == [*logs[scan_id], fact(7)]
            assert await store.history(B) == logs[B]
            assert await store.expired(2_000) == [B]

    async def test_the_order_of_registration_outlives_the_store(self, engine: Engine) -> None:
        async with engine("here") as store:
            for name in ("y", "x"):
                await store.register(registration(name, at=5_000), None)
            await store.purge([ScanId("x")])  # the newest: its place must not be given away
        async with engine("here") as store, consuming(store) as consumer:
            await store.register(registration("a", at=1), None)
            await store.barrier()
            assert [scan_id for scan_id, _, _ in consumer.taken] == ["y", "a"]
            assert await store.newest(ANYONE, 10) == ["a", "y"]

    async def test_slots_and_purges_outlive_the_store(self, engine: Engine) -> None:
        async with engine("here") as store:
            await store.register(registration(A, "slot"), None)
            await store.register(registration(B), None)
            await store.purge([B])
        async with engine("here") as store, consuming(store) as consumer:
            assert await store.register(registration(C, "slot"), None) == A
            assert consumer.log(B) == []
            assert await store.history(B) is None
            assert await store.register(registration(C, "slot"), A) == C

    async def test_what_is_remembered_outlives_the_store(self, engine: Engine) -> None:
        async with engine("here") as store:
            await store.remember("pace", b"1")
            await store.remember("identity", b"not the store's own")
        async with engine("here") as store:
            assert await store.recall("pace") == b"1"
            assert store.identity != "not the store's own"

    async def test_identity_and_key_outlive_the_store_so_cursors_and_ids_stay_valid(self, engine: Engine) -> None:
        async with engine("here") as store:
            before = store.identity, store.key
        async with engine("here") as store:
            assert (store.identity, store.key) == before

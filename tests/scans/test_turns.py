"""The places in the loop: shared by scans and strategies, whatever some of them do with theirs."""

from collections import Counter, defaultdict

import anyio
import pytest

from scanstream.jobs import Shard
from scanstream.model import ANYONE, DiscoverRequest, Principal, ScanId
from scanstream.scans.turns import Turn, Turns

pytestmark = pytest.mark.anyio


def shards(scan: str, strategies: int, each: int) -> list[Shard]:
    """As the planner puts them: the strategies in turn."""
    return [
        Shard(
            scan_id=ScanId(scan),
            strategy_id=f"s{strategy}",
            number=number,
            start=number,
            stop=number + 1,
            digest="digest",
            request=DiscoverRequest(),
            budget_seconds=30.0,
        )
        for number in range(each)
        for strategy in range(strategies)
    ]


async def taken(turns: Turns, count: int) -> list[Turn]:
    """The next ones to have a place."""
    leases = turns.leases()
    with anyio.fail_after(5):
        return [await anext(leases) for _ in range(count)]


async def nobody(turns: Turns) -> bool:
    """Whether none may have a place now."""
    with anyio.move_on_after(0.05):
        await anext(turns.leases())
        return False
    return True


async def test_a_scan_has_no_more_places_than_it_may() -> None:
    turns = Turns(3)
    await turns.put(shards("a", 1, 10))
    held = await taken(turns, 3)
    assert await nobody(turns)
    assert turns.depth() == 7
    held[0].leave()
    [another] = await taken(turns, 1)
    assert another.shard.number == 3


async def test_the_places_of_a_server_go_around_the_scans_and_their_strategies() -> None:
    """32 scans of 14 strategies: each scan has as many as any other, each strategy of it one."""
    turns = Turns(32)
    for scan in range(32):
        await turns.put(shards(f"scan {scan}", 14, 20))
    held = await taken(turns, 256)
    places = Counter(turn.shard.scan_id for turn in held)
    assert set(places.values()) == {8}
    assert set(Counter((turn.shard.scan_id, turn.shard.strategy_id) for turn in held).values()) == {1}


async def test_every_strategy_has_its_turn_early() -> None:
    """With fewer places than strategies, and each place free again: nobody comes twice before all others came once."""
    turns = Turns(2)
    await turns.put(shards("a", 14, 5))
    first: list[str] = []
    for _ in range(14):
        [turn] = await taken(turns, 1)
        first.append(turn.shard.strategy_id)
        turn.leave()
    assert len(set(first)) == 14


async def test_one_that_hangs_fills_only_what_the_others_leave() -> None:
    turns = Turns(4)
    await turns.put(shards("a", 2, 50))
    leases = turns.leases()
    done: defaultdict[str, int] = defaultdict(int)
    hanging = 0
    for _ in range(100):
        with anyio.move_on_after(0.1) as patience:
            turn = await anext(leases)
        if patience.cancelled_caught:
            break
        if turn.shard.strategy_id == "s0":
            hanging += 1  # and never leaves
        else:
            done["s1"] += 1
            turn.leave()
    assert done["s1"] == 50
    assert hanging == 4


async def test_a_scan_that_hangs_leaves_the_others_their_turns() -> None:
    turns = Turns(8)
    await turns.put(shards("hangs", 1, 100))
    hung = await taken(turns, 8)
    await turns.put(shards("late", 1, 3))
    assert [turn.shard.scan_id for turn in await taken(turns, 3)] == ["late"] * 3
    assert await nobody(turns)
    assert len(hung) == 8


async def test_a_dropped_scan_is_forgotten_once_its_places_are_free() -> None:
    turns = Turns(8)
    await turns.put(shards("a", 1, 3))
    held = await taken(turns, 2)
    await turns.drop(ScanId("a"))
    assert turns.depth() == 0
    await held[0].give_back()  # of no use any more
    assert turns.depth() == 0
    for turn in held:
        turn.leave()
    assert turns._scans == {}
    await turns.put(shards("a", 1, 3))
    assert len(await taken(turns, 3)) == 3


async def test_what_is_given_back_comes_again_as_another_attempt() -> None:
    turns = Turns(8)
    await turns.put(shards("a", 1, 1))
    await turns.put(shards("a", 1, 1))  # changes nothing
    [turn] = await taken(turns, 1)
    turn.leave()
    await turn.give_back()
    [again] = await taken(turns, 1)
    assert (again.shard, again.attempt) == (turn.shard, 2)


async def test_many_scans_are_not_walked_over_for_each_place() -> None:
    turns = Turns(2)
    for number in range(300):
        await turns.put(shards(f"scan_{number}", 1, 4))
    held = await taken(turns, 600)
    assert Counter(turn.shard.scan_id for turn in held) == Counter({f"scan_{number}": 2 for number in range(300)})
    assert await nobody(turns)
    held[250].leave()
    held[7].leave()
    assert [turn.shard.scan_id for turn in await taken(turns, 2)] == ["scan_7", "scan_250"]
    for turn in held:
        await turns.drop(turn.shard.scan_id)
    assert len(turns._principals.members[ANYONE].scans._offers) <= 2 * 300 + 64


async def test_principals_have_equal_places_however_many_scans_they_have() -> None:
    turns = Turns(32, lambda scan_id: Principal(scan_id[0]))
    for number in range(50):
        await turns.put(shards(f"a{number}", 2, 10))
    flooded = await taken(turns, 20)
    await turns.put(shards("b0", 2, 20))
    later = await taken(turns, 20)
    assert [turn.shard.scan_id for turn in later] == ["b0"] * 20
    assert len({turn.shard.scan_id for turn in flooded}) == 20
    more = Counter(turn.shard.scan_id[0] for turn in await taken(turns, 20))
    assert more == {"a": 10, "b": 10}

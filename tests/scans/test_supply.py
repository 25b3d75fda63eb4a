"""What is missing of a scan goes into the queue as its window has room, the strategies in turn."""

from collections.abc import Iterable

import pytest

from scanstream.jobs import ShardName
from scanstream.log.entry import AnyEntry
from scanstream.log.fold import Folded
from scanstream.scans import supply
from scanstream.scans.shards import shard_of
from scanstream.scans.supply import Supply
from support.histories import SCAN, done, folded, planned, registered

pytestmark = pytest.mark.anyio


class Queue:
    """The jobs port, as far as it takes shards."""

    def __init__(self) -> None:
        self.put_in: list[tuple[str, int]] = []

    async def put(self, shards: Iterable[ShardName]) -> None:
        self.put_in += [(shard.strategy_id, shard.number) for shard in shards]

    def taken(self) -> list[tuple[str, int]]:
        """What has come since the last look."""
        self.put_in, taken = [], self.put_in
        return taken


@pytest.fixture
def queue() -> Queue:
    return Queue()


def of(log: Folded, queue: Queue, most: int | None, most_waiting: int | None = None) -> Supply:
    return Supply(log, queue, lambda waits: most_waiting if waits else most)  # type: ignore[arg-type]  # enough of it


async def test_without_a_window_all_that_is_missing_is_put_at_once(queue: Queue) -> None:
    log = folded(registered("a", "b"), planned(a=3, b=5), done("a", 1), done("b", 4))
    await of(log, queue, None).refill(log)
    assert queue.taken() == [("a", 0), ("b", 0), ("a", 2), ("b", 1), ("b", 2), ("b", 3)]


async def test_with_a_window_an_outcome_lets_the_next_one_in(queue: Queue) -> None:
    history: list[AnyEntry] = [registered("a"), planned(a=5)]
    log = folded(*history)
    some = of(log, queue, 2)
    for outcomes, expected in (([], [0, 1]), ([], []), ([1], [2]), ([0, 2], [3, 4]), ([3, 4], [])):
        history += [done("a", number) for number in outcomes]
        log = folded(*history)
        await some.refill(log)
        assert [number for _, number in queue.taken()] == expected


async def test_a_strategy_whose_shards_hang_leaves_the_others_their_turns(queue: Queue) -> None:
    history: list[AnyEntry] = [registered("hangs", "quick"), planned(hangs=9, quick=6)]
    log = folded(*history)
    some = of(log, queue, 4)
    await some.refill(log)
    for number in range(6):
        history.append(done("quick", number))
        await some.refill(folded(*history))
    put = queue.taken()
    assert put[:4] == [("hangs", 0), ("quick", 0), ("hangs", 1), ("quick", 1)]
    assert [name for name, _ in put[4:8]] == ["quick"] * 4
    assert [name for name, _ in put[8:]] == ["hangs"] * 2


async def test_each_kind_has_a_window_of_its_own(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supply, "waits", lambda name: name == "waits")
    log = folded(registered("waits", "computes"), planned(waits=9, computes=9))
    await of(log, queue, 1, most_waiting=3).refill(log)
    assert sorted(queue.taken()) == [("computes", 0), ("waits", 0), ("waits", 1), ("waits", 2)]


async def test_what_got_lost_is_put_again_and_nothing_else(queue: Queue) -> None:
    log = folded(registered("a"), planned(a=9))
    some = of(log, queue, 3)
    await some.refill(log)
    queue.taken()
    await some.again(folded(registered("a"), planned(a=9), done("a", 1)))
    assert queue.taken() == [("a", 0), ("a", 2)]


async def test_nothing_is_put_of_what_has_ended_or_has_an_outcome_by_then(queue: Queue) -> None:
    log = folded(registered("a"), planned(a=3))
    some = of(log, queue, 1)
    await some.refill(log)
    await some.refill(folded(registered("a"), planned(a=3), done("a", 0), done("a", 1)))
    assert queue.taken() == [("a", 0), ("a", 2)]
    ended = folded(registered("a"), planned(a=1), done("a"))
    await of(ended, queue, 9).refill(ended)
    assert queue.taken() == []


def test_a_shard_is_what_the_plan_says_of_its_name() -> None:
    log = folded(registered("a"), planned(a=3))
    shard = shard_of(log, ShardName(scan_id=SCAN, strategy_id="a", number=2))
    assert (shard.start, shard.stop, shard.digest) == (2, 3, log.registered.digest)
    assert (shard.request, shard.budget_seconds) == (log.registered.request, log.registered.budgets["a"])

"""What concerns thousands of scans at once is done some at a time: others have turns between, and the order is kept."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from scanstream.engines import group_commit
from scanstream.engines.sqlite import open_store
from scanstream.log import refold
from scanstream.log.entry import CancelRequested, Queued
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import ScanId
from scanstream.scans import ages
from scanstream.scans.ages import Ages
from scanstream.scans.sweeper import Sweeper, Tell
from support.histories import NOON, registered

pytestmark = pytest.mark.anyio

MANY = 200


class Turns:
    """Counts the turns that others have."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        while True:
            await checkpoint()
            self.count += 1


@pytest.fixture
def _endless_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every slice is over at once: turns are counted, not time."""
    monkeypatch.setattr(refold, "SLICE_SECONDS", 0.0)


def scan(number: int, *, queued: bool = True) -> ScanLog:
    """One of many."""
    log = ScanLog(registered("a", scan_id=ScanId(f"scan_{number}")), "epoch")
    if queued:
        log.apply(2, Queued(at=NOON))
    return log


@pytest.mark.usefixtures("_endless_turns")
async def test_the_acks_that_got_lost_are_made_up_for_in_turns() -> None:
    released: list[str] = []
    sweeper = Sweeper(cast(Store, None), cast(Hub, None), released.append, cast(Tell, None))
    for number in range(MANY):
        sweeper.notice(scan(number, queued=False))
    turns = Turns()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turns.run)
        await checkpoint()
        turns.count = 0
        await sweeper._start(older_than=0)
        tasks.cancel_scope.cancel()
    assert released == [f"scan_{number}" for number in range(MANY)]
    assert turns.count >= MANY


async def test_of_a_crowd_that_ended_long_ago_a_few_are_forgotten_at_a_time() -> None:
    at = 0.0
    known = Ages(60, lambda: at)

    def end(number: int) -> None:
        log = scan(number)
        log.apply(3, CancelRequested(at=NOON))
        known.notice(log)

    for number in range(MANY):
        end(number)
    at = 100.0
    end(MANY)
    assert len(known._ended) == MANY + 1 - ages.FORGOTTEN_AT_ONCE
    for number in range(MANY + 1, MANY + MANY):
        end(number)
    assert len(known._ended) == MANY


@pytest.mark.parametrize("what", ["registrations", "appends", "barriers", "reads"])
async def test_of_many_that_are_durable_together_few_go_on_in_one_turn(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refold, "SLICE_SECONDS", 60.0)
    monkeypatch.setattr(refold, "TURN_SECONDS", 0.0)  # each turn takes too long
    turns = Turns()
    went_on: list[int] = []

    async def ask(call: Callable[[], Any]) -> None:
        await call()
        went_on.append(turns.count)

    async def take(store: Store) -> None:
        async for _ in store.feed():
            pass

    async with open_store(None) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(take, store)
        await store.register(registered("a"), None)
        calls: dict[str, Callable[[int], Any]] = {
            "registrations": lambda n: store.register(registered("a", scan_id=ScanId(f"scan_a{n}")), "any"),
            "appends": lambda _: store.append(ScanId("scan_1"), Queued(at=NOON)),
            "barriers": lambda _: store.barrier(),
            "reads": lambda _: store.history(ScanId("scan_1")),
        }
        tasks.start_soon(turns.run)
        async with anyio.create_task_group() as asking:
            for number in range(MANY):
                asking.start_soon(ask, partial(calls[what], number))
        tasks.cancel_scope.cancel()
    together = max(went_on.count(turn) for turn in set(went_on))
    assert len(went_on) == MANY
    assert together <= 2 * refold.FEWEST_IN_A_TURN  # of two batches in one turn


def test_more_go_on_after_short_turns_and_fewer_after_long_ones() -> None:
    crowd = refold.Crowd()
    for _ in range(20):
        crowd.took(0.0)
    assert crowd.most == refold.MOST_IN_A_TURN
    crowd.took(refold.TURN_SECONDS * 0.75)
    assert crowd.most == refold.MOST_IN_A_TURN
    for _ in range(20):
        crowd.took(1.0)
    assert crowd.most == refold.FEWEST_IN_A_TURN


async def test_the_store_is_closed_in_its_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Connection:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def close(self) -> None:
            closed.append(threading.current_thread().name)
            self._inner.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    commit = group_commit.GroupCommit.__init__

    def watched(self: Any, connection: Any, **options: Any) -> None:
        commit(self, cast(Any, Connection(connection)), **options)

    monkeypatch.setattr(group_commit.GroupCommit, "__init__", watched)
    async with open_store(None):
        pass
    assert closed == ["scanstream-store"]

"""The hub: folds what a store feeds, calls those who watch, and keeps finished scans while memory lasts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from scanstream.errors import Damaged, Restarting
from scanstream.log import finished, refold
from scanstream.log.cursor import Position
from scanstream.log.entry import AnyEntry, CancelRequested, Queued
from scanstream.log.hub import OVER_FOR, Hub
from scanstream.log.scanlog import BYTES_AN_ENTRY, BYTES_BESIDE, GapError, ScanLog
from scanstream.log.store import Store
from scanstream.model import ScanId
from support.histories import NOON, SCAN, done, found, planned, registered, started

pytestmark = pytest.mark.anyio

CANCEL = CancelRequested(at=NOON)
A, B, C = ScanId("scan_a"), ScanId("scan_b"), ScanId("scan_c")


class FakeStore:
    """Logs in memory. What is kept is durable; the feed brings it when it is shown."""

    identity = "store"

    def __init__(self) -> None:
        self.logs: dict[ScanId, list[AnyEntry]] = {}
        self.histories_read = 0
        self.shown: list[tuple[ScanId, int, AnyEntry]] = []
        self._taken = 0
        self._moved = anyio.Event()

    def keep(self, scan_id: ScanId, *entries: AnyEntry) -> None:
        """Make entries durable."""
        self.logs.setdefault(scan_id, []).extend(entries)

    def show(self, scan_id: ScanId, most: int | None = None) -> None:
        """Feed what is kept of the scan and was not fed, `most` entries of it."""
        fed = sum(scan_id == other for other, _, _ in self.shown)
        entries = list(enumerate(self.logs[scan_id], start=1))[fed:]
        self.shown += [(scan_id, seq, entry) for seq, entry in entries[:most]]
        self._move()

    def _move(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()

    async def feed(self) -> AsyncIterator[tuple[ScanId, int, AnyEntry]]:
        for position in count():
            self._taken = position
            self._move()
            while position == len(self.shown):
                await self._moved.wait()
            yield self.shown[position]

    async def append(self, scan_id: ScanId, *entries: AnyEntry) -> None:
        """Durable and fed, and the hub has taken it."""
        self.keep(scan_id, *entries)
        self.show(scan_id)
        await self.barrier()

    async def history(self, scan_id: ScanId) -> list[AnyEntry] | None:
        await checkpoint()
        self.histories_read += 1
        return list(self.logs[scan_id]) if scan_id in self.logs else None

    async def barrier(self) -> None:
        for scan_id in self.logs:
            self.show(scan_id)
        while self._taken < len(self.shown):
            await self._moved.wait()


@asynccontextmanager
async def folding(store: FakeStore) -> AsyncIterator[Hub]:
    """A hub that folds the store's feed."""
    hub = Hub(cast(Store, store))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hub.run)
        yield hub
        tasks.cancel_scope.cancel()


class Calls:
    """A watcher that remembers the scans and seqs it was called with."""

    def __init__(self) -> None:
        self.seen: list[tuple[ScanId, int]] = []

    def __call__(self, log: ScanLog) -> None:
        self.seen.append((log.scan_id, log.seq))


async def test_the_feed_is_folded() -> None:
    store = FakeStore()
    async with folding(store) as hub:
        await store.append(SCAN, registered("a"), planned(a=1), started("a"))

        log = hub.get(SCAN)
        assert log is not None
        assert (log.seq, log.folded.state.phase) == (3, "running")
        assert (hub.live(), hub.unfinished()) == ([log], 1)


async def test_a_finished_scan_is_live_no_more_and_still_held() -> None:
    store = FakeStore()
    async with folding(store) as hub:
        await store.append(SCAN, registered("a"), planned(a=1), done("a"))

        log = hub.get(SCAN)
        assert log is not None
        assert (log.ended, hub.live(), hub.unfinished()) == (True, [], 0)
        assert await hub.fetch(SCAN) is log
        assert store.histories_read == 0


async def test_the_live_scan_that_was_registered_first_comes_first_whatever_the_clock_said() -> None:
    store = FakeStore()
    async with folding(store) as hub:
        await store.append(A, registered("a", scan_id=A, at=NOON + 1))
        await store.append(C, registered("a", scan_id=C))
        await store.append(B, registered("a", scan_id=B))

        assert [log.scan_id for log in hub.live()] == [A, C, B]


async def test_watchers_are_called_after_changes_only() -> None:
    store, one, all_scans = FakeStore(), Calls(), Calls()
    async with folding(store) as hub:
        with hub.watching(SCAN, one), hub.watching_all(all_scans):
            await store.append(SCAN, registered("a"), Queued(at=NOON), Queued(at=NOON), planned(a=1))
            await store.append(B, registered("a", scan_id=B))
        await store.append(SCAN, done("a"))

    assert one.seen == [(SCAN, 1), (SCAN, 2), (SCAN, 4)]
    assert all_scans.seen == [*one.seen, (B, 1)]


async def test_a_watcher_that_leaves_does_not_take_the_others_with_it() -> None:
    store, staying, leaving = FakeStore(), Calls(), Calls()
    async with folding(store) as hub:
        with hub.watching(SCAN, staying):
            with hub.watching(SCAN, leaving):
                await store.append(SCAN, registered("a"))
            await store.append(SCAN, CANCEL)

    assert (leaving.seen, staying.seen) == ([(SCAN, 1)], [(SCAN, 1), (SCAN, 2)])


async def test_until_waits_for_what_it_wants() -> None:
    store = FakeStore()
    async with folding(store) as hub:
        await store.append(SCAN, registered("a"))
        reached = anyio.Event()

        async def wait() -> None:
            await hub.until(SCAN, lambda log: log.ended)
            reached.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await store.append(SCAN, planned(a=1))
            await anyio.wait_all_tasks_blocked()
            assert not reached.is_set()
            await store.append(SCAN, done("a"))

        await hub.until(SCAN, lambda log: log.ended)


@asynccontextmanager
async def asking(hub: Hub) -> AsyncIterator[list[ScanLog]]:
    """Somebody waits for a scan that nobody knows yet, and has its log when the block ends."""
    known: list[ScanLog] = []

    async def wait() -> None:
        known.append(await hub.until_known(SCAN))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert not known
        yield known


async def test_until_known_waits_for_the_feed() -> None:
    store = FakeStore()
    async with folding(store) as hub:
        async with asking(hub) as one, asking(hub) as other:
            await store.append(SCAN, registered("a"))

        assert one == other == [hub.get(SCAN)]


async def test_until_known_of_a_scan_that_ends_in_the_same_breath() -> None:
    store = FakeStore()
    async with folding(store) as hub:
        async with asking(hub) as known:
            await store.append(SCAN, registered("a"), CANCEL)

        assert known == [hub.get(SCAN)]


async def test_a_scan_that_is_durable_and_not_fed_yet_is_waited_for() -> None:
    store = FakeStore()
    async with folding(store) as hub:
        store.keep(SCAN, registered("a"))

        log = await hub.until_known(SCAN)

        assert hub.live() == [log]


async def test_a_finished_scan_is_folded_again_from_its_history() -> None:
    store = FakeStore()
    store.keep(SCAN, registered("a"), planned(a=1), done("a"))
    hub = Hub(cast(Store, store))

    log = await hub.fetch(SCAN)

    assert log is not None
    assert (log.seq, log.ended, hub.live()) == (3, True, [])
    assert await hub.fetch(SCAN) is log
    assert store.histories_read == 1


async def test_a_scan_of_the_past_whose_record_has_no_end_is_damaged_and_not_gone() -> None:
    """Say a number in its plan or its outcomes is another than was written."""
    store = FakeStore()
    async with folding(store) as hub:
        await hub.fetch(SCAN)  # the feed goes on from here
        store.keep(SCAN, registered("a"), planned(a=1), done("a", 7))
        store.shown = []

        async def barrier() -> None:
            """The feed has nothing of it."""

        store.barrier = barrier  # type: ignore[method-assign]
        with pytest.raises(Damaged, match="does not say how the scan ended"):
            await hub.fetch(SCAN)
        assert hub.live() == []

        store.logs[SCAN].append(done("a"))
        log = await hub.fetch(SCAN)
        assert log is not None
        assert log.ended


async def test_all_changes_are_told_also_of_a_scan_that_was_fetched_before_the_feed_brought_it() -> None:
    store, calls = FakeStore(), Calls()
    async with folding(store) as hub:
        store.keep(SCAN, registered("a"), CANCEL)
        fetched = await hub.fetch(SCAN)
        assert fetched is not None
        assert fetched.ended
        with hub.watching_all(calls):
            await store.barrier()

    assert calls.seen[-1:] == [(SCAN, 2)]


async def test_a_scan_that_was_fetched_at_its_end_never_goes_back_while_the_feed_catches_up() -> None:
    store = FakeStore()
    async with folding(store) as hub:
        store.keep(SCAN, registered("a"), CANCEL)
        await hub.fetch(SCAN)
        store.show(SCAN, most=1)
        await anyio.wait_all_tasks_blocked()

        log = await hub.fetch(SCAN)
        assert log is not None
        assert (log.ended, hub.live()) == (True, [])


@pytest.fixture
def two_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for two finished scans that nobody asks for."""
    monkeypatch.setattr(finished, "FINISHED_BYTES", round(2.5 * (BYTES_BESIDE + 2 * BYTES_AN_ENTRY)))
    monkeypatch.setattr(finished, "ROOM", 1000)


@pytest.mark.usefixtures("two_fit")
async def test_the_finished_scans_that_nobody_asks_for_are_bounded_the_oldest_goes_first() -> None:
    store = FakeStore()
    async with folding(store) as hub:
        for scan_id in (A, B, C):
            await store.append(scan_id, registered("a", scan_id=scan_id), CANCEL)

        assert [hub.get(scan_id) is not None for scan_id in (A, B, C)] == [False, True, True]


@pytest.mark.usefixtures("two_fit")
async def test_a_finished_scan_that_somebody_asks_for_is_kept_beside_the_others() -> None:
    store = FakeStore()
    async with folding(store) as hub:
        await store.append(A, registered("a", scan_id=A), CANCEL)
        await hub.fetch(A)
        for scan_id in (B, C, SCAN):
            await store.append(scan_id, registered("a", scan_id=scan_id), CANCEL)

        assert [hub.get(scan_id) is not None for scan_id in (A, B, C, SCAN)] == [True, False, True, True]


@pytest.mark.usefixtures("two_fit")
async def test_a_finished_scan_that_somebody_follows_is_kept() -> None:
    store = FakeStore()
    async with folding(store) as hub:
        with hub.watching(A, Calls()):
            for scan_id in (A, B, C, SCAN):
                await store.append(scan_id, registered("a", scan_id=scan_id), CANCEL)

            assert [hub.get(scan_id) is not None for scan_id in (A, B, C, SCAN)] == [True, False, True, True]


async def test_one_scan_heavier_than_all_room_is_not_read_again_while_somebody_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finished, "FINISHED_BYTES", 1000)
    monkeypatch.setattr(finished, "ASKED_BYTES", 1000)
    store = FakeStore()
    store.keep(SCAN, registered("a"), planned(a=1), found("a", *map(str, range(50))), done("a"))
    hub = Hub(cast(Store, store))
    for _ in range(20):
        log = await hub.fetch(SCAN)
        assert log is not None
        assert len(log.opportunities) == 50
    assert store.histories_read == 1


async def test_a_long_history_is_folded_in_slices_once_for_all_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refold, "SLICE_SECONDS", 0.0)
    store = FakeStore()
    shards = 100
    store.keep(SCAN, registered("a"), planned(a=shards), *(done("a", shard) for shard in range(shards)))
    hub = Hub(cast(Store, store))
    turns, logs = 0, list[ScanLog | None]()

    async def ask() -> None:
        logs.append(await hub.fetch(SCAN))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)
        while not logs:
            await checkpoint()
            turns += 1
    assert turns >= shards  # the loop went on between any two entries
    assert store.histories_read == 1
    assert len(logs) == 10
    assert all(log is logs[0] is not None for log in logs)


async def test_whoever_waits_for_a_reading_that_is_cancelled_reads_itself() -> None:
    store = FakeStore()
    store.keep(SCAN, registered("a"), CANCEL)
    hub = Hub(cast(Store, store))
    logs = list[ScanLog | None]()

    async def ask() -> None:
        logs.append(await hub.fetch(SCAN))

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as first:
            first.cancel()
            tasks.start_soon(ask)
            await hub.fetch(SCAN)
    assert [log is hub.get(SCAN) is not None for log in logs] == [True]


async def test_a_damaged_history_is_read_once_for_all_who_ask() -> None:
    store = FakeStore()
    asked = told = 0

    async def history(scan_id: ScanId) -> list[AnyEntry] | None:
        nonlocal asked
        asked += 1
        await anyio.wait_all_tasks_blocked()
        raise Damaged("It is damaged")

    async def ask() -> None:
        nonlocal told
        with pytest.raises(Damaged):
            await hub.fetch(SCAN)
        told += 1

    store.history = history  # type: ignore[method-assign]
    hub = Hub(cast(Store, store))
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
    assert (asked, told) == (1, 5)


async def test_a_scan_that_was_read_again_is_as_light_as_a_frozen_one() -> None:
    store = FakeStore()
    entries = (registered("a"), planned(a=1), found("a", *map(str, range(250))), done("a"))
    async with folding(store) as hub:
        await store.append(SCAN, *entries)
        held = hub.get(SCAN)
        assert held is not None
        state, opportunities = held.document, list(held.opportunities)
        await hub.freeze(SCAN)
        again = await Hub(cast(Store, store)).fetch(SCAN)
        assert again is not None
        for log in (held, again):
            assert (log.document, list(log.opportunities)) == (state, opportunities)
            assert (log.head, log.changed, log.ended) == (Position(4, 250), 4, True)
            assert log.read(Position(2, 0)).position == log.head
            assert log.weight < 250 * 600
        assert again.weight == held.weight


async def test_a_forgotten_scan_is_gone_and_its_watchers_are_told_once_more() -> None:
    store, expired = FakeStore(), list[bool]()
    async with folding(store) as hub:
        with hub.watching(SCAN, lambda log: expired.append(log.expired)):
            await store.append(SCAN, registered("a"), CANCEL)
            store.logs.clear()
            hub.forget(SCAN)

        assert await hub.fetch(SCAN) is None
    assert expired == [False, False, True]


async def test_what_has_expired_leaves_memory_whoever_deletes_it() -> None:
    store = FakeStore()
    async with folding(store) as hub:
        for name in (A, B):
            await store.append(name, registered("a", scan_id=name), CANCEL)
        expires_at = hub_log(hub, A).folded.expires_at
        assert expires_at is not None
        await hub.expire_all(expires_at)
        assert hub_log(hub, A).expired
        await hub.expire_all(expires_at + OVER_FOR)
        assert [hub.get(name) for name in (A, B)] == [None, None]
        assert hub.finished_bytes() == 0


def hub_log(hub: Hub, scan_id: ScanId) -> ScanLog:
    """The log of a scan that is in memory."""
    log = hub.get(scan_id)
    assert log is not None
    return log


async def test_a_gap_ends_the_hub() -> None:
    store = FakeStore()
    store.keep(SCAN, registered("a"), planned(a=1), done("a"))
    store.show(SCAN)
    del store.shown[1]

    with pytest.raises(GapError):
        await Hub(cast(Store, store)).run()


class EndingStore(FakeStore):
    """Its feed breaks when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = anyio.Event()

    async def feed(self) -> AsyncIterator[tuple[ScanId, int, AnyEntry]]:
        for scan_id, seq, entry in tuple(self.shown):
            yield scan_id, seq, entry
        await self.broken.wait()
        raise OSError("the disk is gone")


async def test_with_the_feed_every_wait_ends_and_says_why() -> None:
    store = EndingStore()
    store.keep(SCAN, registered("a"))
    store.show(SCAN)
    hub = Hub(cast(Store, store))
    told: list[str] = []

    async def wait(what: str) -> None:
        try:
            if what == "until":
                await hub.until(SCAN, lambda log: log.ended)
            else:
                await hub.until_known(ScanId("scan_that_never_comes"))
        except Restarting:
            told.append(what)

    with pytest.raises(ExceptionGroup):  # noqa: PT012  # the feed's own end
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hub.run)
            while hub.get(SCAN) is None:
                await checkpoint()
            async with anyio.create_task_group() as waits:
                waits.start_soon(wait, "until")
                waits.start_soon(wait, "known")
                await checkpoint()
                await checkpoint()
                store.broken.set()
    for what in ("until", "known"):  # whoever comes later does not wait at all
        await wait(what)
    assert sorted(told) == ["known", "known", "until", "until"]

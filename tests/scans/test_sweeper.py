"""A round of the sweeper looks at what is due, and not at all scans there are."""

from collections import OrderedDict
from typing import Any, cast

import anyio
import pytest
from msgspec.structs import replace

from scanstream.about import node_name
from scanstream.errors import StoreUnavailable
from scanstream.log.entry import AnyEntry, CancelRequested, NotifyAsked, Queued
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import ANYONE, Principal, ScanId
from scanstream.scans import sweeper as module
from scanstream.scans.sweeper import OTHERS_AFTER_SECONDS, UNRELEASED_AFTER_SECONDS, Sweeper, Tell
from support.histories import NOON, notify_asked, registered
from support.until import until

pytestmark = pytest.mark.anyio


class Hands:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    hands = Hands()
    monkeypatch.setattr(module, "time", hands)
    return hands


def waiting(number: int, principal: Principal = ANYONE) -> ScanLog:
    """A scan that was registered and may not start yet."""
    return ScanLog(replace(registered("a", scan_id=ScanId(f"scan_{number}")), principal=principal), "epoch")


async def test_only_those_are_started_that_have_waited_long_enough(hands: Hands) -> None:
    released: list[str] = []
    store, hub = cast(Store, None), cast(Hub, None)  # it walks over nothing of the hub's
    sweeper = Sweeper(store, hub, released.append, cast(Tell, None))
    logs = [waiting(number) for number in range(3)]
    sweeper.notice(logs[0])
    sweeper.notice(logs[1])
    logs[1].apply(2, Queued(at=NOON))
    sweeper.notice(logs[1])
    hands.at += UNRELEASED_AFTER_SECONDS - 1
    sweeper.notice(logs[2])
    await sweeper._start(UNRELEASED_AFTER_SECONDS)
    assert released == []
    hands.at += 1
    await sweeper._start(UNRELEASED_AFTER_SECONDS)
    assert released == ["scan_0"]
    hands.at += UNRELEASED_AFTER_SECONDS
    await sweeper._start(UNRELEASED_AFTER_SECONDS)
    assert released == ["scan_0", "scan_2"]


async def test_nothing_waits_until_much_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was acknowledged by a node that died is started in time, and whose time is over is told."""

    class Deleting:
        shared = True
        settled = 0
        expired_at = 0

        def now(self) -> int:
            return NOON

        async def expired(self, _: int) -> list[ScanId]:
            return [ScanId("scan_old")]

        async def purge(self, _: list[ScanId]) -> None:
            await anyio.sleep_forever()

        async def settle(self, *_: Any) -> None:
            self.settled += 1
            raise StoreUnavailable("not now", retry_after=1)

        async def expire_all(self, at: int) -> None:
            self.expired_at = at

    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(module, "UNRELEASED_AFTER_SECONDS", 0.1)
    store, released = Deleting(), list[str]()
    sweeper = Sweeper(cast(Store, store), cast(Hub, store), released.append, cast(Tell, None))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sweeper.run)
        await anyio.wait_all_tasks_blocked()
        sweeper.notice(waiting(1))
        ended = waiting(2)
        ended.apply(2, CancelRequested(at=NOON))
        sweeper.notice(ended)
        await until(lambda: released and store.settled > 1)
        tasks.cancel_scope.cancel()
    assert (released, store.expired_at) == (["scan_1"], NOON)


async def test_a_round_touches_none_of_those_that_are_not_due(hands: Hands) -> None:
    touched: list[Any] = []

    class Watched(OrderedDict[Any, Any]):
        def items(self) -> Any:
            for item in super().items():
                touched.append(item)
                yield item

    sweeper = Sweeper(cast(Store, None), cast(Hub, None), lambda _: None, cast(Tell, None))
    sweeper._unreleased = Watched()
    for number in range(1000):
        sweeper.notice(waiting(number))
    for _ in range(10):
        await sweeper._start(UNRELEASED_AFTER_SECONDS)
    assert len(touched) == 10


class Settling:
    """A store that is told which scans have ended; and who is to be told of that, in the same order."""

    def __init__(self, *, shared: bool = True, failures: int = 0) -> None:
        self.shared = shared
        self.done: list[Any] = []
        self.by_another: set[ScanId] = set()
        self._failures = failures

    async def settle(self, scan_id: ScanId, expires_at: int) -> None:
        self.done.append(("settled", scan_id, expires_at))

    async def settled(self, scan_id: ScanId) -> bool:
        return scan_id in self.by_another

    async def freeze(self, _: ScanId) -> None: ...

    async def tell(self, scan_id: ScanId, _: Principal, targets: tuple[NotifyAsked, ...], expires_at: int) -> None:
        self.done.append((scan_id, [target.id for target in targets], expires_at))
        if len(self.done) <= self._failures:
            raise StoreUnavailable("not now", retry_after=1)

    def sweeper(self) -> Sweeper:
        return Sweeper(cast(Store, self), cast(Hub, self), lambda _: None, self.tell)


def ended(number: int, by: str, *targets: str, principal: Principal = ANYONE) -> ScanLog:
    """A scan that this node has ended, and of whose end these are to be told."""
    log = waiting(number, principal)
    entries: list[AnyEntry] = [*map(notify_asked, targets), CancelRequested(at=NOON, by=by)]
    for seq, entry in enumerate(entries, start=2):
        log.apply(seq, entry)
    return log


TOLD = ("scan_1", ["msg_a", "msg_b"], NOON + 60_000)
SETTLED = ("settled", "scan_1", NOON + 60_000)


async def test_who_is_to_be_told_is_put_into_the_queue_before_the_scan_is_settled_and_again_if_that_failed() -> None:
    store = Settling(failures=2)
    sweeper = store.sweeper()
    sweeper.notice(ended(1, node_name(), "a", "b"))
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await sweeper._settle()
    await sweeper._settle()
    await sweeper._settle()
    assert store.done == [TOLD, TOLD, TOLD, SETTLED]


async def test_of_several_nodes_the_one_that_has_ended_it_tells_and_another_if_that_one_does_not(hands: Hands) -> None:
    for settled_by_then in (True, False):
        store = Settling()
        sweeper = store.sweeper()
        sweeper.notice(ended(1, "another:7", "a", "b"))
        sweeper.notice(ended(2, "another:7"))
        await sweeper._settle()
        assert store.done == [("settled", "scan_2", NOON + 60_000)], "where nobody is to be told nobody waits"
        hands.at += OTHERS_AFTER_SECONDS - 0.01
        sweeper.notice(ended(1, "another:7", "a", "b"))
        await sweeper._settle()
        assert len(store.done) == 1
        if settled_by_then:
            store.by_another.add(ScanId("scan_1"))
        hands.at += OTHERS_AFTER_SECONDS + 0.01
        await sweeper._settle()
        assert store.done[1:] == ([SETTLED] if settled_by_then else [TOLD, SETTLED])


async def test_where_there_is_one_node_nothing_is_left_to_others() -> None:
    store = Settling(shared=False)
    sweeper = store.sweeper()
    sweeper.notice(ended(1, "this:1, before it was started again", "a", "b"))
    await sweeper._settle()
    assert store.done == [TOLD, SETTLED]


async def test_where_very_many_of_one_have_ended_another_s_is_among_the_first_to_be_told() -> None:
    store = Settling(shared=False)
    sweeper = store.sweeper()
    for number in range(200):
        sweeper.notice(ended(number, node_name(), "a", principal=Principal("ann")))
    sweeper.notice(ended(200, node_name(), "a", principal=Principal("bob")))
    await sweeper._settle()
    told = [scan_id for scan_id, *_ in store.done if scan_id != "settled"]
    assert len(told) == len(set(told)) == 201
    assert told.index("scan_200") == 1
    assert not sweeper._unsettled

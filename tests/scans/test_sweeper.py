"""A round of the sweeper looks at what is due, and not at all scans there are."""

from collections import OrderedDict
from typing import Any, cast

import anyio
import pytest

from scanstream.errors import StoreUnavailable
from scanstream.log.entry import AnyEntry, CancelRequested, NotifyAsked, Queued
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import ScanId
from scanstream.scans import sweeper as module
from scanstream.scans.sweeper import UNRELEASED_AFTER_SECONDS, Sweeper, Tell
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


def waiting(number: int) -> ScanLog:
    """A scan that was registered and may not start yet."""
    return ScanLog(registered("a", scan_id=ScanId(f"scan_{number}")), "epoch")


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


async def test_who_is_to_be_told_is_put_into_the_queue_before_the_scan_is_settled_and_again_if_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[Any] = []

    class Settling:
        shared = True

        def now(self) -> int:
            return NOON

        async def expired(self, _: int) -> list[ScanId]:
            return []

        async def settle(self, scan_id: ScanId, expires_at: int) -> None:
            done.append(("settled", scan_id, expires_at))

        async def expire_all(self, _: int) -> None: ...

        async def freeze(self, _: ScanId) -> None: ...

    async def tell(scan_id: ScanId, targets: tuple[NotifyAsked, ...], expires_at: int) -> None:
        done.append((scan_id, [target.id for target in targets], expires_at))
        if len(done) < 3:
            raise StoreUnavailable("not now", retry_after=1)

    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.01)
    store = Settling()
    sweeper = Sweeper(cast(Store, store), cast(Hub, store), lambda _: None, tell)
    ended = waiting(1)
    entries: list[AnyEntry] = [notify_asked("a"), notify_asked("b"), CancelRequested(at=NOON)]
    for seq, entry in enumerate(entries, start=2):
        ended.apply(seq, entry)
    sweeper.notice(ended)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sweeper.run)
        await until(lambda: len(done) >= 4)
        tasks.cancel_scope.cancel()
    told = ("scan_1", ["msg_a", "msg_b"], NOON + 60_000)
    assert done == [told, told, told, ("settled", "scan_1", NOON + 60_000)]

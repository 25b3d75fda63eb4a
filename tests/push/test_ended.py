"""Scans that have ended: what becomes of one that is dropped, gone or unreadable when its turn comes."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from scanstream.core import open_core
from scanstream.errors import Expired, StoreUnavailable
from scanstream.log.cursor import START
from scanstream.log.scanlog import ScanLog
from scanstream.model import ANYONE, DiscoverRequest, ScanId
from scanstream.push.codec import JSON
from scanstream.push.ended import Ended, Place
from scanstream.settings import Settings

pytestmark = pytest.mark.anyio

HERE = Place(START, None)
GONE = ScanId("gone")


async def with_ended(test: Callable[[Ended, ScanId, list[Exception], anyio.Event], Awaitable[None]]) -> None:
    """One scan that was cancelled, and a find that waits for an event, then fails as long as it is told to."""
    async with open_core(Settings(port=0, data=":memory:", workers=0)) as core:
        ack = await core.desk.register(ANYONE, DiscoverRequest())
        await core.desk.cancel(ANYONE, ack.scan_id)
        failures: list[Exception] = []
        found = anyio.Event()

        async def find(scan_id: ScanId) -> ScanLog:
            await found.wait()
            if failures:
                raise failures.pop()
            return await core.desk.find(ANYONE, scan_id)

        ended = Ended(find, core.fanout, JSON)
        ended.park(ack.scan_id, HERE)
        await test(ended, ack.scan_id, failures, found)
        assert core.fanout.readers() == 0


async def test_one_that_is_dropped_while_it_is_fetched_is_told_no_more_and_not_held() -> None:
    async def test(ended: Ended, scan_id: ScanId, _: list[Exception], found: anyio.Event) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ended.take_up, scan_id)
            await anyio.wait_all_tasks_blocked()
            ended.drop(scan_id)
            found.set()
        assert ended.next(scan_id) is None
        assert not ended

    await with_ended(test)


async def test_one_that_is_followed_anew_while_it_is_taken_up_is_told_from_its_new_place() -> None:
    async def test(ended: Ended, scan_id: ScanId, _: list[Exception], found: anyio.Event) -> None:
        found.set()
        await ended.take_up(scan_id)
        first = ended.next(scan_id)
        assert first is not None
        ended.drop(scan_id)
        ended.park(scan_id, HERE)
        assert ended.next(scan_id) is None, "its log was let go"
        await ended.take_up(scan_id)
        again = ended.next(scan_id)
        assert again is not None
        assert again.frame == first.frame
        last = ended.next(scan_id)
        assert last is not None
        assert (last.type, len(ended)) == ("end", 0)

    await with_ended(test)


async def test_one_that_expired_is_refused_and_the_next_is_told() -> None:
    async def test(ended: Ended, scan_id: ScanId, failures: list[Exception], found: anyio.Event) -> None:
        found.set()
        failures.append(Expired("It has expired", scan_id=GONE))
        ended.park(GONE, HERE)
        await ended.take_up(GONE)
        refused = ended.next(GONE)
        assert refused is not None
        assert (refused.type, '"expired"' in str(refused.payload)) == ("error", True)
        assert list(ended) == [scan_id]
        await ended.take_up(scan_id)
        assert [message.type for message in (ended.next(scan_id), ended.next(scan_id)) if message] == [
            "snapshot",
            "end",
        ]

    await with_ended(test)


async def test_one_that_cannot_be_read_now_stays() -> None:
    async def test(ended: Ended, scan_id: ScanId, failures: list[Exception], found: anyio.Event) -> None:
        found.set()
        failures.append(StoreUnavailable("Not now", retry_after=1))
        with pytest.raises(StoreUnavailable):
            await ended.take_up(scan_id)
        assert list(ended) == [scan_id]

    await with_ended(test)

"""Whose turn it is among many scans, what a follower makes the server hold, and what is encoded once for all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest

from scanstream.core import Core, open_core
from scanstream.log.cursor import START
from scanstream.log.entry import Queued
from scanstream.log.scanlog import ScanLog
from scanstream.model import ANYONE, DiscoverRequest, ScanId
from scanstream.push.codec import JSON, MESSAGEPACK
from scanstream.push.round import Round
from scanstream.push.subscription import Subscription
from scanstream.settings import Settings

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def core() -> AsyncIterator[Core]:
    """A core that runs nothing."""
    async with open_core(Settings(port=0, data=":memory:", workers=0)) as running:
        yield running


async def live(running: Core, number: int) -> ScanLog:
    """A scan that is registered and not released."""
    ack = await running.desk.register(ANYONE, DiscoverRequest(capital_usd=1.0 + number))
    return await running.desk.find(ANYONE, ack.scan_id)


async def ended(running: Core, number: int) -> ScanLog:
    """A scan that was cancelled before it began."""
    log = await live(running, 100 + number)
    await running.desk.cancel(ANYONE, log.scan_id)
    assert log.ended
    return log


async def test_of_ended_scans_one_is_held_at_a_time_and_told_to_its_end() -> None:
    async with core() as running:
        logs = [await ended(running, number) for number in range(4)]
        finds: list[ScanId] = []

        async def find(scan_id: ScanId) -> ScanLog:
            finds.append(scan_id)
            return await running.desk.find(ANYONE, scan_id)

        scans = Round(find, running.fanout)
        for log in logs:
            scans.add(log, START, None)
        told = []
        with scans.opened():
            assert running.fanout.readers() == 0
            while message := await scans.next():
                told.append(message.type)
                assert running.fanout.readers() <= 1
        assert told == ["snapshot", "end"] * 4
        assert finds == [log.scan_id for log in logs]
        assert scans.over
        assert running.fanout.readers() == 0


async def test_live_and_ended_scans_have_their_turns() -> None:
    async with core() as running:
        scans = Round(partial(running.desk.find, ANYONE), running.fanout)
        for number in range(3):
            scans.add(await ended(running, number), START, None)
            scans.add(await live(running, number), START, None)
        with scans.opened():
            told = [message.payload for message in [await scans.next() for _ in range(6)] if message]
            assert ["init" in str(payload) for payload in told] == [True, False] * 3


async def test_a_scan_that_ends_meanwhile_is_told_to_its_end() -> None:
    async with core() as running:
        log = await live(running, 0)
        scans = Round(partial(running.desk.find, ANYONE), running.fanout)
        scans.add(log, START, "state")
        with scans.opened(), anyio.fail_after(20):
            assert len(await scans.all(10_000)) == 1
            assert await scans.all(10_000) == []
            await running.desk.cancel(ANYONE, log.scan_id)
            await scans.woken(20)
            [update] = await scans.all(10_000)
            [end] = await scans.all(10_000)
            assert (b'"update"' in update, b'"end"' in end) == (True, True)
            assert scans.over


async def test_a_frame_is_encoded_once_for_all_who_want_the_same() -> None:
    async with core() as running:
        log = await live(running, 0)
        readers = [
            (Subscription(log, START, only), codec) for only in (None, "state") for codec in (JSON, MESSAGEPACK, JSON)
        ]
        for reader, _ in readers:
            reader.open(running.fanout, anyio.Event().set)
        frames = [reader.next(codec) for reader, codec in readers]
        assert len({id(frame) for frame in frames}) == 4
        assert frames[0] is frames[2]
        assert frames[3] is frames[5]
        await running.store.append(log.scan_id, Queued(at=log.folded.at))
        assert readers[3][0].next(JSON) is not frames[3]
        for reader, _ in readers:
            reader.close()

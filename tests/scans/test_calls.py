"""Scans are let in, in one process: in their order, and no more at once than may run."""

from collections.abc import AsyncIterator

import anyio
import pytest

from scanstream.log.entry import Cancelled, CancelRequested, Queued
from scanstream.log.scanlog import ScanLog
from scanstream.model import ScanId
from scanstream.scans.calls import LocalCall, LocalCalls
from support.histories import NOON, planned, registered

pytestmark = pytest.mark.anyio


def scan(number: int, *entries: object) -> ScanLog:
    """One that may start."""
    log = ScanLog(registered("a", scan_id=ScanId(f"scan_{number}")), "epoch")
    for seq, entry in enumerate((Queued(at=NOON), *entries), start=2):
        log.apply(seq, entry)  # type: ignore[arg-type]  # one of the entries
    return log


async def given(granted: AsyncIterator[LocalCall]) -> LocalCall:
    with anyio.fail_after(10):
        return await anext(granted)


async def test_no_more_than_may_run_and_each_once_and_in_order() -> None:
    calls = LocalCalls(2)
    granted = calls.granted()
    logs = [scan(number) for number in range(4)]
    for log in (*logs, *logs):
        calls.notice(log)
    first, second = await given(granted), await given(granted)
    assert [first.scan_id, second.scan_id] == ["scan_0", "scan_1"]
    assert calls._next() is None
    calls.notice(logs[0])
    await second.done()
    assert (await given(granted)).scan_id == "scan_2"
    await first.give_back()
    assert (await given(granted)).scan_id == "scan_3"


async def test_who_is_cancelled_while_waiting_is_not_let_in() -> None:
    calls = LocalCalls(1)
    for log in (scan(1, CancelRequested(at=NOON)), scan(2)):
        calls.notice(log)
    assert (await given(calls.granted())).scan_id == "scan_2"


async def test_a_plan_of_before_a_restart_that_was_cancelled_since_waits_for_no_place() -> None:
    calls = LocalCalls(1)
    granted = calls.granted()
    running, waiting, stopping = scan(0), scan(1, planned(a=1)), scan(2, planned(a=1))
    for log in (running, waiting, stopping):
        calls.notice(log)
    assert (await given(granted)).scan_id == "scan_0"
    stopping.apply(4, CancelRequested(at=NOON))
    calls.notice(stopping)
    call = await given(granted)
    assert call.scan_id == "scan_2"
    stopping.apply(5, Cancelled(at=NOON))
    calls.notice(stopping)
    await call.done()
    assert calls._next() is None  # it had no place to give

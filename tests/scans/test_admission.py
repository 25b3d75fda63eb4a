"""However many scans one principal asks for at once, another's is registered among the next; the logs' order judges."""

import asyncio
from contextlib import suppress

import anyio
import pytest

from scanstream.errors import RateLimited, TooManyScans
from scanstream.limits import ABREAST as ABREAST_OF_ONE
from scanstream.log.entry import CancelRequested, Queued
from scanstream.log.scanlog import ScanLog
from scanstream.model import Principal, ScanId
from scanstream.scans.admission import Admission, Bounds
from scanstream.scans.owners import Owners
from scanstream.settings import Settings
from support.histories import NOON, registered

pytestmark = pytest.mark.anyio

A, B = Principal("a"), Principal("b")
ABREAST = 3


class Logs:
    """What a node reads of the scans of all nodes, and what it makes of that."""

    def __init__(self, *, scans: int = 1000, at: int = NOON, **bounds: int | None) -> None:
        self._owners = Owners()
        self.admission = Admission(Bounds(scans, **bounds), self._owners, lambda: at)
        self._logs: dict[str, ScanLog] = {}

    def register(self, name: str, principal: Principal = A) -> bool:
        """A registration is read; whether it stays."""
        log = self._logs[name] = ScanLog(registered("x", scan_id=ScanId(name), principal=principal), "epoch")
        self._heard(log)
        return self.admission.beyond(log.scan_id) is None

    def release(self, name: str) -> None:
        """It may start."""
        self._logs[name].apply(2, Queued(at=NOON))
        self._heard(self._logs[name])

    def end(self, name: str) -> None:
        """It ends."""
        self._logs[name].apply(self._logs[name].seq + 1, CancelRequested(at=NOON))
        self._heard(self._logs[name])

    def _heard(self, log: ScanLog) -> None:
        self._owners.notice(log)
        self.admission.notice(log)


class Door:
    """Those who ask, and who of them is being registered, in the order in which they have come to it."""

    def __init__(self, **bounds: int) -> None:
        self.admission = Logs(abreast=ABREAST, **bounds).admission
        self.under_way: list[str] = []
        self.refused: list[str] = []
        self._over: dict[str, anyio.Event] = {}

    async def ask(self, principal: Principal, name: str) -> None:
        """Be registered until `end`."""
        if await self.admission.enter(principal, ScanId(name)) is not None:
            self.refused.append(name)
            return
        self.under_way.append(name)
        over = self._over[name] = anyio.Event()
        await over.wait()
        self.admission.leave(principal, ScanId(name))

    async def end(self, *names: str) -> None:
        """They are registered."""
        for name in names:
            self._over[name].set()
        await anyio.wait_all_tasks_blocked()


async def test_one_has_so_many_under_way_and_the_rest_in_their_order_and_keeps_nobody_waiting() -> None:
    door = Door()
    async with anyio.create_task_group() as asking:
        for number in range(8):
            asking.start_soon(door.ask, A, f"a{number}")
        await anyio.wait_all_tasks_blocked()
        assert door.under_way == ["a0", "a1", "a2"]
        asking.start_soon(door.ask, B, "b0")
        await anyio.wait_all_tasks_blocked()
        assert door.under_way == ["a0", "a1", "a2", "b0"]
        await door.end("a1")
        await door.end("a0", "b0")
        assert door.under_way[4:] == ["a3", "a4"]
        for number in (2, 3, 4, 5, 6, 7):
            await door.end(f"a{number}")
    assert door.under_way == ["a0", "a1", "a2", "b0", *(f"a{number}" for number in range(3, 8))]
    assert not door.admission._turns, "nobody is remembered"


async def test_who_gives_up_as_it_waits_or_in_its_turn_costs_no_place() -> None:
    door = Door()
    async with anyio.create_task_group() as asking:
        for number in range(ABREAST):
            asking.start_soon(door.ask, A, f"a{number}")
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as impatient:
            for number in range(5):
                impatient.start_soon(door.ask, A, f"gone{number}")
            await anyio.wait_all_tasks_blocked()
            door._over["a0"].set()  # whose place is the first one's, which is cancelled before it has seen that
            impatient.cancel_scope.cancel()
        await anyio.wait_all_tasks_blocked()
        asking.start_soon(door.ask, A, "next")
        await anyio.wait_all_tasks_blocked()
        assert door.under_way == ["a0", "a1", "a2", "next"]
        await door.end("a1", "a2", "next")
    assert not door.admission._turns


async def test_who_is_refused_has_had_a_turn_and_no_place() -> None:
    door = Door(a_minute=2)
    async with anyio.create_task_group() as asking:
        for number in range(9):
            asking.start_soon(door.ask, A, f"a{number}")
        await anyio.wait_all_tasks_blocked()
        assert (len(door.under_way), len(door.refused)) == (2, 7)
        await door.end("a0", "a1")
    assert not door.admission._turns
    assert not door.admission._asking


async def test_where_principals_are_not_told_apart_nobody_waits() -> None:
    admission = Logs().admission
    assert [await admission.enter(A, ScanId(f"scan_{number}")) for number in range(500)] == [None] * 500
    full = Logs(scans=1, abreast=ABREAST)
    full.register("first")
    assert isinstance(await full.admission.enter(A, ScanId("second")), TooManyScans)


async def test_nobody_is_remembered_who_was_given_a_place_and_was_gone_by_then() -> None:
    admission = Logs(abreast=1).admission
    await admission.enter(A, ScanId("first"))
    waits = asyncio.ensure_future(admission.enter(A, ScanId("second")))
    await anyio.wait_all_tasks_blocked()
    admission.leave(A, ScanId("first"))
    waits.cancel()  # as whoever uses asyncio by itself would: anyio lets what is decided be
    with suppress(asyncio.CancelledError):
        await waits
    assert not admission._turns


def test_it_is_so_where_credentials_tell_principals_apart() -> None:
    assert [Settings().new_work(told_apart=apart).abreast for apart in (True, False)] == [ABREAST_OF_ONE, None]


def test_of_registrations_of_many_nodes_those_stay_that_are_within_the_limits_in_the_order_of_the_logs() -> None:
    logs = Logs(scans=5, own=3)
    assert [logs.register(f"a{number}") for number in range(5)] == [True, True, True, False, False]
    logs.end("a3")
    logs.end("a4")
    assert [logs.register(f"b{number}", B) for number in range(3)] == [True, True, False], "no place for a sixth"
    logs.end("b2")
    assert not logs.register("a5")
    logs.end("a5")
    logs.release("a0")
    logs.end("a0")
    assert logs.register("a6")
    assert not logs.admission._beyond, "nothing is remembered of those that were taken back"


async def test_what_others_have_started_counts_in_what_may_be_started_in_a_minute() -> None:
    logs = Logs(a_minute=3)
    assert [logs.register(f"a{number}") for number in range(2)] == [True, True]
    assert await logs.admission.enter(A, ScanId("here")) is None
    assert isinstance(await logs.admission.enter(A, ScanId("beyond")), RateLimited), "one may come to be in a moment"
    assert logs.register("a2"), "another node's is read first"
    assert not logs.register("here")
    assert isinstance(logs.admission.beyond(ScanId("here")), RateLimited)
    assert logs.register("b", B)
    old = Logs(a_minute=1, at=NOON + 61_000)
    assert [old.register(f"a{number}") for number in range(3)] == [True] * 3, "what a start reads is of long ago"


def test_what_a_node_left_behind_beyond_a_limit_starts_when_there_is_a_place_and_in_order() -> None:
    logs = Logs(own=2)
    for name in ("a0", "a1", "left0", "left1"):
        logs.register(name)
    logs.register("b0", B)
    assert logs.admission.startable() == {"a0", "a1", "b0"}
    for name in ("a0", "a1"):
        logs.release(name)
    assert logs.admission.startable() == {"b0"}
    logs.end("a0")
    assert logs.admission.startable() == {"left0", "b0"}
    logs.release("left0")
    assert logs.admission.startable() == {"b0"}
    full = Logs(scans=1)
    for name in ("a0", "left0"):
        full.register(name)
    assert full.admission.startable() == {"a0"}

"""However many scans one principal asks for at once, another's is registered among the next."""

import asyncio
from contextlib import suppress

import anyio
import pytest

from scanstream.errors import TooManyScans
from scanstream.limits import ABREAST as ABREAST_OF_ONE
from scanstream.model import Principal
from scanstream.scans.admission import Admission, Bounds
from scanstream.settings import Settings

pytestmark = pytest.mark.anyio

A, B = Principal("a"), Principal("b")
ABREAST = 3


class Door:
    """Those who ask, and who of them is being registered, in the order in which they have come to it."""

    def __init__(self, **bounds: int) -> None:
        self.admission = Admission(Bounds(scans=1000, abreast=ABREAST, **bounds), lambda: 0)
        self.under_way: list[str] = []
        self.refused: list[str] = []
        self._over: dict[str, anyio.Event] = {}

    async def ask(self, principal: Principal, name: str) -> None:
        """Be registered until `end`."""
        if await self.admission.enter(principal) is not None:
            self.refused.append(name)
            return
        self.under_way.append(name)
        over = self._over[name] = anyio.Event()
        await over.wait()
        self.admission.leave(principal, new=True)

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
    admission = Admission(Bounds(scans=1000), lambda: 0)
    assert [await admission.enter(A) for _ in range(500)] == [None] * 500
    full = Admission(Bounds(scans=1, abreast=ABREAST), lambda: 1)
    assert isinstance(await full.enter(A), TooManyScans)


async def test_nobody_is_remembered_who_was_given_a_place_and_was_gone_by_then() -> None:
    admission = Admission(Bounds(scans=1000, abreast=1), lambda: 0)
    await admission.enter(A)
    waits = asyncio.ensure_future(admission.enter(A))
    await anyio.wait_all_tasks_blocked()
    admission.leave(A, new=True)
    waits.cancel()  # as whoever uses asyncio by itself would: anyio lets what is decided be
    with suppress(asyncio.CancelledError):
        await waits
    assert not admission._turns


def test_it_is_so_where_credentials_tell_principals_apart() -> None:
    assert [Settings().new_work(told_apart=apart).abreast for apart in (True, False)] == [ABREAST_OF_ONE, None]

"""The way out tells everybody, and gives way to those who leave while it tells the others."""

import time

import anyio
import anyio.lowlevel
import pytest

from scanstream.log.refold import SLICE_SECONDS
from scanstream.push.drain import Drain

pytestmark = pytest.mark.anyio

READERS = 20


async def test_everybody_is_told_once_and_others_have_their_turns_meanwhile() -> None:
    drain, told, left = Drain(), list[int](), list[int]()

    def reader(number: int) -> None:
        def wake() -> None:
            told.append(number)
            until = time.perf_counter() + 2 * SLICE_SECONDS
            while time.perf_counter() < until:
                pass
            tasks.start_soon(leave)

        async def leave() -> None:
            left.append(len(told))
            drain.depart(wake)

        drain.attend(wake)

    async with anyio.create_task_group() as tasks:
        for number in range(READERS):
            reader(number)
        with anyio.fail_after(10):
            await drain.run()
    assert sorted(told) == list(range(READERS))
    assert left[0] < READERS, "the first one leaves before the last one is told"


async def test_whoever_has_left_meanwhile_is_not_told() -> None:
    drain, told = Drain(), list[str]()

    def wake(name: str, other: str) -> None:
        told.append(name)
        drain.depart(wakes[other])

    wakes = {"one": lambda: wake("one", "other"), "other": lambda: wake("other", "one")}
    for each in wakes.values():
        drain.attend(each)
    with anyio.move_on_after(0.05):
        await drain.run()
    assert len(told) == 1

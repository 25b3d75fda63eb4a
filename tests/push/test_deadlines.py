"""What is due later is called once, not before its time, and not if it was taken back."""

import anyio
import pytest

from scanstream.push.deadlines import CALLS_IN_TURN, Deadlines

pytestmark = pytest.mark.anyio


async def until_over(deadlines: Deadlines) -> None:
    """All that is due by now has been called: what is due last is."""
    last = anyio.Event()
    deadlines.add(last.set, 0.4)
    with anyio.fail_after(30):
        await last.wait()


async def test_all_are_called_once_their_time_is_over_however_many_there_are() -> None:
    deadlines, called = Deadlines(), list[float]()
    begun = anyio.current_time()
    many = [lambda: called.append(anyio.current_time()) for _ in range(3 * CALLS_IN_TURN + 7)]
    for call in many:
        deadlines.add(call, 0.05)
    await until_over(deadlines)
    assert min(called) >= begun + 0.05
    assert (len(called), deadlines.waiting()) == (len(many), 0)


async def test_what_is_taken_back_is_not_called_also_by_one_that_is_due_with_it() -> None:
    deadlines, called = Deadlines(), list[int]()
    grains: dict[int, int] = {}

    class One:
        def __init__(self, number: int) -> None:
            self.number = number

        def call(self) -> None:
            called.append(self.number)
            for other in ones:
                deadlines.discard(other.call, grains[other.number])

    ones = [One(number) for number in range(10)]
    for one in ones:
        grains[one.number] = deadlines.add(one.call, 0.01)
    await until_over(deadlines)
    assert len({grains[number] for number in called}) == len(called) > 0
    deadlines.discard(ones[0].call, grains[0])
    assert deadlines.waiting() == 0

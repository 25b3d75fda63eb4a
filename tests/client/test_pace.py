"""Requests that must stay apart where they arrive, though nobody knows when that is until they are over."""

import time

import anyio
import pytest

from scanstream.client.backoff import HELD_UP_SECONDS, SHORTEST_SECONDS, THREE_SECONDS, Pace

pytestmark = pytest.mark.anyio


async def left(pace: Pace, at: float) -> None:
    """One is made, and nobody waits for its answer any more."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        with pace.under_way(pace.began(at)):
            await anyio.sleep_forever()


async def test_of_two_that_nobody_waits_for_nothing_is_known() -> None:
    pace = Pace()
    await left(pace, 1.0)
    assert pace.due(1.0) == 1.0 + SHORTEST_SECONDS
    await left(pace, 1.25)
    assert pace.due(1.25) == 1.0 + HELD_UP_SECONDS


async def test_an_answer_tells_by_when_those_before_it_have_arrived() -> None:
    pace = Pace()
    await left(pace, 1.0)
    pace.over(pace.began(1.25), 3.0)
    assert pace.due(3.0) == 3.0 + THREE_SECONDS


async def test_a_loss_tells_it_too_and_of_another_line_s_question_nothing_is_told() -> None:
    pace = Pace()
    began = anyio.current_time()
    pace.began(began - 10)
    with pytest.raises(ValueError, match="lost"), pace.under_way(pace.began(began - 5)):
        raise ValueError("lost")
    assert began + SHORTEST_SECONDS <= pace.due(began) < began + THREE_SECONDS


async def test_a_turn_that_comes_late_counts_from_when_it_came() -> None:
    pace = Pace()
    began = anyio.current_time()
    pace.began(began)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pace.turn)
        await anyio.wait_all_tasks_blocked()
        time.sleep(4 * SHORTEST_SECONDS)  # noqa: ASYNC251  # a loop that is held up
    assert pace.due(began) >= began + 5 * SHORTEST_SECONDS

"""Whoever has left is not worked for; and what is raised meanwhile is told as it is."""

import anyio
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from scanstream.push.presence import while_there

pytestmark = pytest.mark.anyio


async def silent() -> Message:
    """The other side says nothing."""
    await anyio.sleep_forever()
    raise AssertionError


async def leaving() -> Message:
    """The other side leaves."""
    return {"type": "http.disconnect"}


async def test_what_is_done_for_somebody_who_is_there_is_done() -> None:
    async with while_there(silent):
        await anyio.lowlevel.checkpoint()


async def test_what_is_done_for_somebody_who_leaves_is_given_up() -> None:
    with pytest.raises(ClientDisconnect), anyio.fail_after(20):
        async with while_there(leaving):
            await anyio.sleep_forever()


async def test_what_is_raised_meanwhile_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with while_there(silent):
            raise ZeroDivisionError


async def test_a_cancellation_from_outside_goes_through() -> None:
    with anyio.move_on_after(0.01) as scope:
        async with while_there(silent):
            await anyio.sleep_forever()
    assert scope.cancelled_caught

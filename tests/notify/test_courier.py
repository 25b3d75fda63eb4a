"""A courier that is told to leave while something comes: it is handed back, whole."""

from collections.abc import AsyncIterator
from typing import cast

import anyio
import pytest

from engines.deliveries_contract import delivery
from scanstream.deliveries import Deliveries
from scanstream.notify.courier import Courier, Find
from scanstream.notify.sending import Sender
from scanstream.notify.signing import Signing
from scanstream.notify.targets import Allowed

pytestmark = pytest.mark.anyio


class Late:
    """Deliveries of which one comes when it should not any more, and a store that takes its time."""

    def __init__(self) -> None:
        self.delivery, self.number = delivery("a"), 1
        self.begun, self.may, self.done = anyio.Event(), anyio.Event(), False

    async def due(self) -> AsyncIterator["Late"]:
        yield self
        await anyio.sleep_forever()

    async def waiting(self) -> int:
        return 1

    async def again(self, after: float = 0.0, *, tried: bool = True) -> None:
        assert (after, tried) == (0.0, False)
        self.begun.set()
        await self.may.wait()
        self.done = True


async def test_what_comes_to_one_who_leaves_is_handed_back_whatever_is_cancelled() -> None:
    late = Late()
    courier = Courier(
        cast(Deliveries, late),
        cast(Find, None),
        Signing(b""),
        Allowed([]),
        cast(Sender, None),
        lambda: 0,
        lambda: True,
        alone=True,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(courier.run)
        with anyio.fail_after(20):
            await late.begun.wait()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.wait_all_tasks_blocked()
            late.may.set()
    assert late.done

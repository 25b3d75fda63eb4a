"""Waiting for what no event tells: the state of another process."""

from collections.abc import Callable

import anyio


async def until(true: Callable[[], object], seconds: float = 30.0, look: float = 0.02) -> None:
    """Wait until this is true, looking every now and then.

    :raises TimeoutError: if it is not in time
    """
    with anyio.fail_after(seconds):
        while not true():  # noqa: ASYNC110  # see above
            await anyio.sleep(look)

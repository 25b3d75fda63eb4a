"""What goes on between cells: a notebook has no block that could hold it.

Everywhere else a task lives in a group, and ends with it. Here the kernel is what it lives in. So this is the one place
where tasks stand alone; each holds a group, in which all that it does lives and ends.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from contextvars import Context
from typing import Any

import anyio

from scanstream.client import AsyncClient
from scanstream.client.addresses import DEFAULT_URL
from scanstream.client.ladder import RUNGS, Transport
from scanstream.client.token import Secret

_STANDING: set["asyncio.Future[None]"] = set()
"""Held here, as a loop holds its tasks weakly."""


def stand(work: Coroutine[Any, Any, None]) -> None:
    """Let it go on after the cell.

    Not in the cell's context: what it shows later belongs to whichever cell runs then, else programs that run a
    notebook (nbclient, nbconvert) would leave it out.
    """
    task = Context().run(asyncio.ensure_future, work)
    _STANDING.add(task)
    task.add_done_callback(_STANDING.discard)


async def connect(
    url: str = DEFAULT_URL, *, token: Secret = None, transports: Sequence[Transport] = RUNGS
) -> AsyncClient:
    """A client that is open until `await client.aclose()`, or until the kernel ends; either leaves its scans running.

    :param url, token, transports: as of `AsyncClient`
    :raises ValueError: if `url` is no address, or a transport is not known
    """
    client = AsyncClient(url, token=token, transports=transports)
    opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def live() -> None:
        try:
            async with client:
                opened.set_result(None)
                await anyio.sleep_forever()
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)

    stand(live())
    await opened
    return client

"""Whether the other side of an HTTP request is still there: what is done for somebody who has left is given up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from starlette.requests import ClientDisconnect
from starlette.types import Receive


@asynccontextmanager
async def while_there(receive: Receive) -> AsyncIterator[None]:
    """Do what is inside as long as the other side is there: it is cancelled when that leaves.

    What is raised inside comes out as it is, and in no group: the refusals of a door have answers of their own.

    :param receive: of a request whose body was read, or is of no interest: what comes of it is thrown away
    :raises ClientDisconnect: if the other side left before the end; there is nobody to be answered
    """
    left = False
    raised: Exception | None = None
    listening = anyio.CancelScope()

    async def listen(inside: anyio.CancelScope) -> None:
        nonlocal left
        with listening:  # ended in here, it returns: of a task that ends by an error anyio keeps a circle
            while (await receive())["type"] != "http.disconnect":
                pass
            left = True
            inside.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen, tasks.cancel_scope)
        try:
            yield
        except Exception as error:  # raised again below, outside of the group
            raised = error
        listening.cancel()
    try:
        if raised is not None:
            raise raised
    finally:
        del raised  # which leads back here
    if left:
        raise ClientDisconnect

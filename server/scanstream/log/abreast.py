"""Many durable writes, so many at once: each waits for the disk, or the network, and the store takes them together."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

from scanstream.errors import StoreUnavailable

T = TypeVar("T")


async def abreast(most: int, things: Sequence[T], write: Callable[[T], Awaitable[None]]) -> None:
    """Write each of these, at most so many at once, in their order. Who is refused stops; the others go on.

    :raises StoreUnavailable: the first of them, when nobody goes on any more
    """
    left = iter(things)
    failures: list[StoreUnavailable] = []

    async def write_some() -> None:
        try:
            for thing in left:
                await write(thing)
        except StoreUnavailable as error:
            failures.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(min(most, len(things))):
            tasks.start_soon(write_some)
    if failures:
        raise failures[0]

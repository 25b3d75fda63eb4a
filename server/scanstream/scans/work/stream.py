"""What a shard in the loop has found, on its way into the log: in parts, as it comes."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio

from scanstream.log.entry import PART_OPPORTUNITIES
from scanstream.model import Opportunity

PAUSE_SECONDS = 0.25
"""From one part to the next; a part that is full goes at once."""
LAST_SECONDS = 2.0
"""In which the last part of a shard is appended: else it goes with the outcome, and of one that is stopped is lost."""

Keep: TypeAlias = Callable[[list[Opportunity]], Awaitable[None]]
"""Appends a part of what was found."""


class Stream:
    """Takes findings one by one, and keeps them in parts: the first at once."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._held: list[Opportunity] = []
        self._ended = False
        self._arrived, self._full, self._kept = anyio.Event(), anyio.Event(), anyio.Event()

    async def put(self, found: Opportunity) -> None:
        """Take one more; wait where a part is full and not kept yet."""
        self._held.append(found)
        self._arrived.set()
        while len(self._held) >= PART_OPPORTUNITIES:
            self._full.set()
            self._kept = anyio.Event()
            await self._kept.wait()

    async def run(self) -> None:
        """Keep what is there, until the end."""
        while not self._ended:
            if not self._held:
                self._arrived = anyio.Event()
                await self._arrived.wait()
                continue
            await self._keep_held()
            self._full = anyio.Event()
            with anyio.move_on_after(PAUSE_SECONDS):
                await self._full.wait()

    async def _keep_held(self) -> None:
        part = list(self._held)
        await self._keep(part)
        del self._held[: len(part)]  # only now: what is appended twice counts once, what never is is lost
        self._kept.set()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        for event in (self._arrived, self._full):
            event.set()

    async def save(self) -> None:
        """The shard is stopped: keep what it has found until now, if that can be had soon."""
        if self._held:
            with anyio.move_on_after(LAST_SECONDS, shield=True):
                await self._keep_held()

    def rest(self) -> list[Opportunity]:
        """What is not kept yet."""
        return self._held

"""Whether the server takes new work: a balancer asks, and sends none where it does not."""

from collections.abc import Callable

import anyio

from scanstream.errors import Restarting, StoreUnavailable
from scanstream.log.store import Store
from scanstream.scans.shortages import Shortages

ANSWER_SECONDS = 2.0
"""In which the store answers, or counts as away."""
HOLDS_SECONDS = 1.0
"""How long an answer is good for, however many ask."""


class Readiness:
    """The store writes, the machine has what scans need, and the server stays."""

    def __init__(self, store: Store, machine: Shortages, leaves: Callable[[], bool]) -> None:
        """`leaves`: whether the server is on its way out."""
        self._store = store
        self._machine = machine
        self._leaves = leaves
        self._asking = anyio.Lock()
        self._asked_at = float("-inf")
        self._problem = ""

    async def require(self) -> None:
        """Return if it is ready.

        :raises Restarting: if it stops
        :raises Shortage: if the machine lacks what a scan needs
        :raises StoreUnavailable: if the store cannot write, or does not answer
        """
        if self._leaves():
            raise Restarting("The server stops", retry_after=2)
        self._machine.refuse()
        async with self._asking:
            if anyio.current_time() - self._asked_at >= HOLDS_SECONDS:
                self._problem = await self._probed()
                self._asked_at = anyio.current_time()
        if self._problem:
            raise StoreUnavailable(self._problem, retry_after=5)

    async def _probed(self) -> str:
        """What is wrong with the store; empty if nothing is."""
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                await self._store.probe()
        except StoreUnavailable as error:
            return error.detail
        except TimeoutError:
            return f"The store has not answered for {ANSWER_SECONDS:g} s"
        return ""

"""One scan as somebody at a terminal follows it: through lost connections, down and up the ladder, and through Ctrl-C
with a cancel after it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import anyio

from scanstream.client import AsyncClient
from scanstream.client.condition import Connection
from scanstream.client.failures import Unreachable
from scanstream.client.mirror import Mirror
from scanstream.client.scan import Scan
from scanstream.model import Document
from scanstream.terminal.credential import token
from scanstream.terminal.patience import Gone, Patience

Look: TypeAlias = Callable[[AsyncIterator[object], Connection], Awaitable[None]]
"""Given whatever comes of a scan, each once it is in the mirror, up to its end, and how the connection is."""


class Following:
    """Where a reader of one scan is, and how it comes back.

    :param scan_id: its own, not `latest`
    :param heard: called with each message of the scan, as it came, once it is in the mirror
    """

    def __init__(
        self,
        url: str,
        scan_id: str,
        mirror: Mirror,
        patience: Patience,
        heard: Callable[[Document], None] | None = None,
    ) -> None:
        self.url = url
        self.scan_id = scan_id
        self.mirror = mirror
        self._patience = patience
        self._heard = heard
        self.cancelling = False
        """Whether the scan's end is wanted, and the server has not said yet that it knows."""

    @property
    def connected(self) -> bool:
        """Whether the server is there, as far as is known; only then is it known how the scan is."""
        return self._patience.connected

    def cancel(self) -> None:
        """Have the scan cancelled once it is followed again, however often the connection is lost before."""
        self.cancelling = True

    async def run(self, look: Look) -> None:
        """Follow the scan from where the mirror is, until it has ended, or whoever looks has seen enough.

        :raises Gone: if the server went away and did not come back
        :raises ScanstreamError: if there is no such scan (any more)
        """
        async with AsyncClient(self.url, token=token()) as client:
            scan = client.follow(self.scan_id, self.mirror, heard=self._heard)
            await _together(
                lambda: look(aiter(scan), client.connection),
                lambda: self._patience.attend(client.connection),
                lambda: self._cancel(scan),
            )

    async def _cancel(self, scan: Scan) -> None:
        """Ask for its end until the server has answered; it is asked again and again inside of each try.

        :raises Gone: if it does not answer in time
        """
        with anyio.move_on_after(self._patience.seconds) as given:
            while self.cancelling:
                try:
                    await scan.cancel()
                except Unreachable:
                    continue
                self.cancelling = False
        if given.cancelled_caught:
            raise Gone(f"The server has not answered within {self._patience.seconds:g} s")


async def _together(main: Callable[[], Awaitable[None]], *beside: Callable[[], Awaitable[None]]) -> None:
    """Until the main one ends. The first error of any ends all, and is raised by itself."""
    failed: list[Exception] = []

    async def guarded(work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # raised below
            failed.append(error)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for work in beside:
            tasks.start_soon(guarded, work)
        await guarded(main)
        tasks.cancel_scope.cancel()
    if failed:
        raise failed[0]

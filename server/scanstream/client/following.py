"""One scan, followed to its end through lost connections: each time on from the cursor."""

from collections.abc import AsyncGenerator
from typing import Any

from scanstream.client import questions
from scanstream.client.connection import Connection, Lost, Unreachable, connected
from scanstream.client.mirror import Mirror
from scanstream.client.patience import Patience


class Following:
    """Where a reader of one scan is, and how it comes back."""

    def __init__(self, url: str, scan_id: str, mirror: Mirror, patience: Patience) -> None:
        self.url = url
        self.scan_id = scan_id
        """As asked for; the real one after the first ack where that was `latest`."""
        self.mirror = mirror
        self._patience = patience
        self.connected = False
        """Whether the server is there, as far as is known; only then is it known how the scan is."""
        self.cancelling = False
        """Whether the scan's end is wanted, and the server has not said yet that it knows."""

    def cancel(self) -> None:
        """Have the scan cancelled with the next messages: however often the connection is lost before."""
        self.cancelling = True
        self._patience.renew()

    async def messages(self) -> AsyncGenerator[dict[str, Any], None]:
        """The first ack, and every message of the scan to its end, each once it is in the mirror.

        :raises Unreachable: if there is no server, or (`Gone`) it went away and did not come back
        :raises Refused: if there is no such scan (any more)
        """
        acked = False
        while True:
            try:
                async with connected(self.url) as connection:
                    ack = await connection.subscribe(self.scan_id, self.mirror.cursor)
                    self.scan_id = ack["scan_id"]
                    await self._cancel()
                    self.connected = True
                    self._patience.back()
                    if not acked:
                        acked = True
                        yield ack
                    async for message in mirrored(connection, self.mirror):
                        yield message
                    return
            except (Lost, Unreachable) as error:
                self.connected = False
                await self._patience.wait(error)

    async def _cancel(self) -> None:
        if self.cancelling:
            await questions.cancel(self.url, self.scan_id)
            self.cancelling = False


async def mirrored(connection: Connection, mirror: Mirror) -> AsyncGenerator[dict[str, Any], None]:
    """The messages of the one scan that a connection follows, each once it is in the mirror, to the scan's end.

    :raises Lost, Refused: see `Connection.frames`
    """
    async for message in connection.frames():
        mirror.apply(message)
        yield message
        if mirror.ended:
            return

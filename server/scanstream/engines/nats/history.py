"""One scan's log, read back from the stream.

Any server answers, and one that is behind does not say so. So the log is whole only if it reaches as far as this node
knows that it goes; else it is read again.
"""

import json

import anyio
from nats.errors import Error as NatsError

from scanstream.engines.nats.answers import RETRY_AFTER
from scanstream.engines.nats.connection import Connection
from scanstream.engines.nats.index import Scan
from scanstream.engines.nats.link import Link
from scanstream.errors import StoreUnavailable

AT_ONCE = 1000
"""Messages that are asked for at once; more of them come in parts."""
TRY_SECONDS = 1.0
PATIENCE_SECONDS = 5.0
PAUSE_SECONDS = 0.1
LOGGED = frozenset({"reg", "go", "ev"})
"""The kinds of messages that are a scan's log."""


class _Part:
    """What one answer brings."""

    def __init__(self, client: Link, number: int) -> None:
        """`number`: where the scan's registration stands."""
        self._client = client
        self._number = number
        self.messages: list[bytes] = []
        self.last = 0
        """The place in the stream of the last message."""
        self.left = 0
        """Messages that are not in this part."""
        self.missing = False
        self.over = anyio.Event()

    async def receive(self, _: str, __: str, data: bytes, raw: bytes | None) -> None:
        """One more message, or the word that it was the last; each names the one before it."""
        headers = await self._client.headers(raw)
        before = int(headers.get("Nats-Last-Sequence", 0))
        self.missing |= before not in (0, self.last)
        if "Status" in headers:
            self.left = int(headers.get("Nats-Num-Pending", 0))
            self.missing |= headers["Status"] not in {"204", "404"}
            self.over.set()
            return
        self.last = int(headers["Nats-Sequence"])
        kind = headers["Nats-Subject"].rpartition(".")[2]
        if kind in LOGGED and (kind != "reg" or self.last == self._number):  # one that was written twice counts once
            self.messages.append(data)


async def log_of(connection: Connection, stream: str, scan: Scan) -> list[bytes]:
    """The messages of the scan's log, in order; none if it is purged.

    :raises StoreUnavailable: if no server has it whole
    """
    until = anyio.current_time() + PATIENCE_SECONDS
    known = scan.last
    while True:
        found, last = await _read(connection, stream, scan)
        if last >= known:
            return found
        if anyio.current_time() >= until:
            if last == 0:  # purged, and the word of that is on its way
                return []
            raise StoreUnavailable("NATS does not give this scan's record whole", retry_after=RETRY_AFTER)
        await anyio.sleep(PAUSE_SECONDS)


async def _read(connection: Connection, stream: str, scan: Scan) -> tuple[list[bytes], int]:
    """What one reading brings, and how far in the stream it reaches; -1 if it does not even say that there is none."""
    found: list[bytes] = []
    first = scan.number
    while True:
        part = await _part(connection, stream, scan, first)
        if part is None:
            return [], -1
        found += part.messages
        if not part.left or not part.last:
            return found, max(part.last, first - 1) if found else 0
        first = part.last + 1


async def _part(connection: Connection, stream: str, scan: Scan, first: int) -> _Part | None:
    request = {"seq": first, "next_by_subj": connection.names.scan(scan.slot, scan.token, ">"), "batch": AT_ONCE}
    client = connection.client
    part = _Part(client, scan.number)
    inbox = client.new_inbox()
    try:
        async with client.hearing(inbox, part.receive):
            with anyio.move_on_after(TRY_SECONDS):
                await client.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode(), reply=inbox)
                await part.over.wait()
    except NatsError:
        return None
    return part if part.over.is_set() and not part.missing else None

"""The calls port on NATS JetStream: the permissions to start are messages, and one node has each until its scan ends.

The consumer `planner` lets in as many as `--max-running` says, over all nodes, in the order of the stream. A node that
dies loses what it had after a lease, and another goes on from what the log says.
"""

from collections.abc import AsyncIterator

from scanstream.engines.nats.connection import Connection
from scanstream.engines.nats.consumers import shared
from scanstream.engines.nats.pull import Held, Pull
from scanstream.engines.nats.streams import SCANS
from scanstream.model import ScanId

PLANNER = "planner"


class NatsCall:
    """A scan that this node conducts."""

    def __init__(self, calls: "NatsCalls", scan_id: ScanId, held: Held) -> None:
        self._calls = calls
        self._held = held
        self.scan_id = scan_id

    async def done(self) -> None:
        """See `Call.done`."""
        self._calls.conducted.pop(self.scan_id, None)
        await self._held.done()

    async def give_back(self) -> None:
        """See `Call.give_back`."""
        self._calls.conducted.pop(self.scan_id, None)
        await self._held.refuse()


class NatsCalls:
    """The calls port."""

    def __init__(self, connection: Connection) -> None:
        names, options = connection.names, connection.options
        self._names = names
        wanted = shared(names.stream(PLANNER), names.subject("scan.*.*.go"), options.lease, options.max_running)
        self.pull = Pull(connection, names.stream(SCANS), wanted)
        self.conducted: dict[ScanId, int] = {}
        """The scans that this node conducts, and which message each is."""

    async def granted(self) -> AsyncIterator[NatsCall]:
        """See `Calls.granted`."""
        while True:
            held = await self.pull.next()
            scan_id = ScanId(self._names.parts(held.subject)[2])
            known = self.conducted.get(scan_id)
            if known is None:
                self.conducted[scan_id] = held.seq
                yield NatsCall(self, scan_id, held)
            elif known == held.seq:  # the lease had run out, while this node stood still: what it does keeps it
                held.forget()
            else:  # a second permission
                await held.done()

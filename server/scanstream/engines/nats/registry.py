"""Who holds a slot: registrations are a compare-and-set over it, and all nodes hear of the same winner.

A registration is let in only if the slot's last one is still that which its writer knows; JetStream compares. Who loses
takes a barrier, and then knows to whom.
"""

from typing import Literal

import anyio

from scanstream.engines.nats.answers import RETRY_AFTER, ConflictError
from scanstream.engines.nats.barrier import PATIENCE_SECONDS as LEAST_SECONDS
from scanstream.engines.nats.barrier import Barrier
from scanstream.engines.nats.connection import PATIENCE_SECONDS
from scanstream.engines.nats.index import Index, Scan
from scanstream.engines.nats.names import token
from scanstream.engines.nats.writer import Writer
from scanstream.errors import StoreUnavailable
from scanstream.log.entry import Registered, encode
from scanstream.model import ScanId


class Registry:
    """The slots, and the scans in them."""

    def __init__(self, writer: Writer, index: Index, barrier: Barrier) -> None:
        self._writer = writer
        self._names = writer.connection.names
        self._index = index
        self._barrier = barrier

    async def register(self, scan: Registered, replaces: ScanId | Literal["any"] | None) -> ScanId:
        """See `Store.register`."""
        body = encode(scan)
        slot, name = self._names.slot(scan.slot), token(scan.scan_id)
        subject = self._names.scan(slot, name, "reg")
        if replaces == "any":
            await self._writer.write(subject, body, {"Nats-Msg-Id": f"{scan.scan_id}:reg"})
            return scan.scan_id
        until = anyio.current_time() + PATIENCE_SECONDS

        async def caught_up() -> int:
            """A barrier that waits as long as the write may: a change of leaders takes longer than readers wait."""
            return await self._barrier.passed(max(LEAST_SECONDS, until - anyio.current_time()))

        hint: int | None = None
        recent = False
        while self._index.get(name) is None:  # an earlier try may have succeeded, and nobody have said so
            holder = self._index.holder(slot)
            if holder is not None and holder.scan_id != replaces:
                if recent:
                    return holder.scan_id
                await caught_up()
            else:
                try:
                    await self._writer.write(subject, body, self._fence(slot, holder, hint))
                    break
                except ConflictError as conflict:
                    read = await caught_up()
                    unchanged = self._index.holder(slot) is holder  # else it is known now who has won, however late
                    if unchanged and anyio.current_time() >= until:
                        raise StoreUnavailable(f"NATS: {conflict}", retry_after=RETRY_AFTER) from conflict
                    hint = await self._last(slot, read) if unchanged else None
            recent = True
        return scan.scan_id

    def _fence(self, slot: str, holder: Scan | None, hint: int | None) -> dict[str, str]:
        """Headers that let a registration in only if the slot's last one is still this."""
        expected = (0 if holder is None else holder.number) if hint is None else hint
        return {
            "Nats-Expected-Last-Subject-Sequence": str(expected),
            "Nats-Expected-Last-Subject-Sequence-Subject": self._names.scan(slot, "*", "reg"),
        }

    async def _last(self, slot: str, read: int) -> int | None:
        """Where NATS says that the slot's last registration stands, if this node has read so far; 0: there is none.

        Asked where what was expected is not so, and this node knows of nothing newer: then a registration is purged,
        and the word of that is on its way. The server may be behind; it is but what is expected next.
        """
        last = await self._writer.connection.last(self._writer.stream, self._names.scan(slot, "*", "reg"))
        seq = 0 if last is None else last.seq
        return seq if seq <= read else None

    async def holder(self, slot: str) -> ScanId | None:
        """See `Store.holder`."""
        await self._barrier.passed()
        holder = self._index.holder(self._names.slot(slot))
        return None if holder is None else holder.scan_id
